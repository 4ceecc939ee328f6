"""Writing a bundle: graphs, their verification in a child process, the manifest, and a last look at the whole."""

from __future__ import annotations

import dataclasses
import json
import platform
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import onnx
import torch

from perceiver_deploy.card import model_card
from perceiver_deploy.eight_bits.choice import Choice
from perceiver_deploy.staging import staged_folder
from perceiver_deploy.tasks.recipe import Recipe
from perceiver_deploy.verification.verify import REPORT_FILE
from perceiver_export.export import ExportedGraphs
from perceiver_export.graph_spec import GraphSpec
from perceiver_export.passes.precision.lower_precision import OverflowingWeights
from perceiver_runtime import InputError, VerificationError
from perceiver_runtime.backends.onnxruntime import onnxruntime
from perceiver_runtime.bundle.manifest import SCHEMA_VERSION, FileEntry, GraphEntry, Manifest, Source, TensorSpec
from perceiver_runtime.bundle.reader import file_sha256, open_bundle
from perceiver_runtime.common.children import own_module
from perceiver_runtime.tasks.known_answer import FILE as SAMPLE_FILE
from perceiver_runtime.tasks.known_answer import Sample, check_known_answer, tolerances
from perceiver_runtime.tasks.labels import FILE as LABELS_FILE
from perceiver_runtime.tasks.loading import open_pipeline
from perceiver_runtime.tasks.pipeline import RuntimeOptions

VERIFY = "perceiver_deploy.verification.verify"  # what runs as a process of its own
_DTYPES = {torch.float32: "float32", torch.int64: "int64"}
Progress = Callable[[str], None]


def write_bundle(
    output: Path,
    *,
    task: str,
    recipe: Recipe,
    graphs: Callable[[Path], ExportedGraphs],
    choice: Choice | None,
    request: Mapping[str, Any],
    config: Mapping[str, Any],
    source: Source,
    package: str | None,
    never: Iterable[Path],
    force: bool,
    progress: Progress,
) -> Manifest:
    """Write what `graphs` makes in a folder, verified, as a bundle at `output`; the manifest.

    `choice` says for the report what is in 8 bits, `request` to the child process what the reference is. It imports nothing
    from the folders `never`. Raises `InputError` and `VerificationError`; `output` is then left as it was.
    """
    options = recipe.options
    with staged_folder(output, force=force) as staging:
        try:
            exported = graphs(staging)
        except OverflowingWeights as error:
            raise InputError(
                f"{source.checkpoint} does not fit into {options.precision}: {error}. Export it in fp32"
            ) from error
        progress("verifying against torch in a child process")
        _verify({**request, "task": task, "folder": str(staging)}, staging, never, progress)
        report_file = staging / REPORT_FILE
        report = json.loads(report_file.read_text(encoding="utf-8"))
        report_file.unlink()
        if choice is not None:
            report["eight_bits"] = choice.report
            report["summary"] |= choice.summary
        if recipe.labels is not None:
            labels = json.dumps(list(recipe.labels), indent=0, ensure_ascii=False)
            (staging / LABELS_FILE).write_text(labels + "\n", encoding="utf-8")
        manifest = Manifest(
            schema_version=SCHEMA_VERSION,
            task=task,
            precision=options.precision,
            target=options.target,
            config=dict(config),
            processor=recipe.processor(),
            graphs={spec.name: graph_entry(spec) for spec in exported.specs},
            ranges=recipe.limited_ranges(),
            choices=exported.choices | ({"task_package": package} if package else {}),
            source=source,
            tools=_tools(),
            parity=report,
            files=_listed(staging),
        )
        (staging / "README.md").write_text(model_card(manifest, recipe.usage), encoding="utf-8")
        manifest = dataclasses.replace(manifest, files=_listed(staging))
        (staging / "manifest.json").write_text(manifest.to_json(), encoding="utf-8")
        progress("checking the finished bundle")
        _check_finished(staging)
    return manifest


def _verify(asked: Mapping[str, Any], staging: Path, never: Iterable[Path], progress: Progress) -> None:
    request = staging / "request.json"
    request.write_text(json.dumps(asked), encoding="utf-8")
    with tempfile.TemporaryFile("w+", encoding="utf-8") as errors:
        command = [*own_module(VERIFY, never=never), str(request)]
        with subprocess.Popen(command, cwd=staging, stdout=subprocess.PIPE, stderr=errors, text=True) as child:
            try:
                for line in child.stdout or ():
                    progress(line.rstrip())
            except BaseException:
                child.kill()
                raise
        code = child.returncode
        errors.seek(0)
        reason = errors.read().strip().splitlines()
    request.unlink()
    if code != 0:
        raise VerificationError(
            f"verification failed (exit code {code}): {reason[-1] if reason else 'the process died'}. No bundle was written"
        )


def _check_finished(folder: Path) -> None:
    """Open the bundle as a device would and run its known answer; in bfloat16 no CPU can."""
    bundle = open_bundle(folder)
    if bundle.manifest.precision == "bf16":
        return
    with open_pipeline(bundle, RuntimeOptions("cpu")) as pipeline:
        check_known_answer(pipeline, Sample.read(bundle.read(SAMPLE_FILE)), tolerances(bundle.manifest))


def graph_entry(spec: GraphSpec) -> GraphEntry:
    """What the manifest says of a graph."""
    inputs = []
    for name, example in spec.example.items():
        symbols = {axis: dimension.__name__ for axis, dimension in spec.dynamic.get(name, {}).items()}
        shape = tuple(symbols.get(axis, size) for axis, size in enumerate(example.shape))
        inputs.append(TensorSpec(name, _DTYPES[example.dtype], shape))
    outputs = tuple(TensorSpec(name, "float32", shape) for name, shape in spec.outputs.items())
    return GraphEntry(f"{spec.name}.onnx", tuple(inputs), outputs)


def _tools() -> dict[str, str]:
    return {
        "perceiver-deploy": metadata.version("perceiver-deploy"),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "onnx": onnx.__version__,
        "onnxruntime": onnxruntime().__version__,
    }


def _listed(folder: Path) -> tuple[FileEntry, ...]:
    return tuple(FileEntry(path.name, *file_sha256(path)) for path in sorted(folder.iterdir()))
