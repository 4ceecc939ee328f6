"""The README.md of a bundle, made from its manifest; on the Hugging Face hub it is the model card."""

from __future__ import annotations

import re
from collections.abc import Sequence

from perceiver_export.targets import TARGETS
from perceiver_runtime.bundle.manifest import Manifest, TensorSpec
from perceiver_runtime.common.terminal import printable

# the hub's names of tasks, of which its pages and searches know more
PIPELINE_TAGS = {
    "audio-classification",
    "fill-mask",
    "image-classification",
    "object-detection",
    "question-answering",
    "text-classification",
    "token-classification",
    "video-classification",
}
_LICENCE = re.compile(r"[a-z0-9][a-z0-9.+-]{0,60}")
_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def model_card(manifest: Manifest, usage: str) -> str:
    """Task, inputs, outputs, sizes, precision, how it was checked, how to run it; `usage` is what follows the bundle there.

    The manifest lists the files so far, without this one.
    """
    source, runs_on = manifest.source, TARGETS[manifest.target].runs_on
    lines = [
        *_front_matter(manifest),
        "",
        f"# {manifest.task}, {manifest.precision}, for {runs_on}",
        "",
        "Perceiver IO as ONNX graphs: a bundle for perceiver-runtime, which runs it with numpy and an engine, without torch.",
        f"Made by perceiver-export from {_code(source.checkpoint)} (licence of the weights: {_code(source.license)}).",
        "",
        "```",
        "pip install 'perceiver-runtime[cpu,images]'",
        "perceiver verify .",
        f"perceiver run . {usage.replace('-o ', '-o ../')}",
        "```",
        "",
        "From a hub: `pip install 'perceiver-runtime[cpu,images,hub]'`, `perceiver pull USER/BUNDLE -o FOLDER` with this "
        "repository's name, and the same in that folder.",
        "",
        "## Inputs and outputs",
        "",
        *_table(
            ("graph", "inputs", "outputs"),
            [(name, _tensors(graph.inputs), _tensors(graph.outputs)) for name, graph in manifest.graphs.items()],
        ),
        "",
        *_table(("size", "from", "to"), [(name, str(span.min), str(span.max)) for name, span in manifest.ranges.items()]),
        "",
        "## Files",
        "",
        *_table(("file", "MB"), [(entry.path, f"{entry.size / 1e6:.3f}") for entry in manifest.files]),
        "",
        "## Checked against PyTorch",
        "",
        *_parity(manifest),
        "",
        "## Source",
        "",
        f"Revision {_code(source.revision or 'none')}, sha256 of the weights {_code(source.sha256)}; made with "
        + ", ".join(f"{name} {version}" for name, version in manifest.tools.items())
        + ". `manifest.json` has the whole report.",
    ]
    return "\n".join(lines) + "\n"


def _front_matter(manifest: Manifest) -> list[str]:
    licence = manifest.source.license
    lines = ["---", f"license: {licence if _LICENCE.fullmatch(licence) else 'other'}", "library_name: perceiver-runtime"]
    lines += [f"pipeline_tag: {manifest.task}"] if manifest.task in PIPELINE_TAGS else []
    lines += [f"base_model: {manifest.source.checkpoint}"] if _REPOSITORY.fullmatch(manifest.source.checkpoint) else []
    return [*lines, "tags:", "- perceiver-io", "- onnx", f"- {manifest.task}", f"- {manifest.precision}", "---"]


def _parity(manifest: Manifest) -> list[str]:
    summary, unit = manifest.parity["summary"], manifest.parity.get("unit") or ""
    rows = [
        (name, f"{own['max_error']:.2g}", f"{own['allowed']:.2g}", unit or "as the output")
        for name, own in summary["outputs"].items()
    ]
    figures = [f"{name.replace('_', ' ')} {value:.3g}" for name, value in summary.get("figures", {}).items()]
    known = f"On {summary['cases']} shapes, against {'the same in float32' if manifest.precision != 'fp32' else 'PyTorch'}"
    return [
        f"{known}{': ' * bool(figures)}{', '.join(figures)}.",
        "",
        *_table(("output", "largest error", "allowed", "unit"), rows),
    ]


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    cells = [[each.replace("|", "\\|") for each in row] for row in rows]
    return [f"| {' | '.join(row)} |" for row in (list(header), ["---"] * len(header), *cells)]


def _tensors(specs: Sequence[TensorSpec]) -> str:
    return ", ".join(f"{spec.name} {spec.dtype} ({', '.join(map(str, spec.shape))})" for spec in specs)


def _code(text: str) -> str:
    """A text from outside, in Markdown that shows it as it is."""
    return f"`{printable(text).replace('`', chr(39))}`"
