"""The pipeline from a checkpoint to a bundle: find, load, export, verify in a child process, describe, move into place."""

from __future__ import annotations

import json
import platform
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import onnx
import onnxruntime
import torch

from perceiver_deploy import flow
from perceiver_deploy.staging import check_destination, staged_folder
from perceiver_deploy.verify import RECEIPT_FILE
from perceiver_export import export_graphs
from perceiver_export.graph_spec import GraphSpec
from perceiver_io import SHIPPED, CheckpointError, to_json
from perceiver_io.checkpoint import CheckpointFiles, find_checkpoint, load_files
from perceiver_runtime import InputError, VerificationError
from perceiver_runtime.bundle import file_sha256, open_bundle
from perceiver_runtime.flow import FlowPipeline
from perceiver_runtime.known_answer import FILE as SAMPLE_FILE
from perceiver_runtime.known_answer import FlowSample, check_known_answer
from perceiver_runtime.manifest import SCHEMA_VERSION, FileEntry, GraphEntry, Manifest, Source, TensorSpec

VERIFY = [sys.executable, "-m", "perceiver_deploy.verify"]
DEFAULT_CHECKPOINTS = {"flow": "flow-small"}
_DTYPES = {torch.float32: "float32", torch.int64: "int64"}


def _silent(_: str) -> None:
    pass


def export_bundle(
    *,
    task: str,
    output: str | Path,
    checkpoint: str | Path | None = None,
    allow_pickle: bool = False,
    revision: str | None = None,
    force: bool = False,
    progress: Callable[[str], None] = _silent,
) -> Manifest:
    """Export a checkpoint (a folder, a hub id, a shipped name; the task's shipped one by default) to a bundle at `output`.

    Returns the bundle's manifest. Raises `InputError` for a checkpoint or destination that cannot be used and
    `VerificationError` if the graphs do not compute what torch computes; `output` is then left as it was.
    """
    output = Path(output)
    check_destination(output, force=force)
    name = str(checkpoint or DEFAULT_CHECKPOINTS[task])
    try:
        files = find_checkpoint(name, allow_pickle=allow_pickle, revision=revision)
        progress(f"loading {name}")
        model = load_files(files)
    except CheckpointError as error:
        raise InputError(str(error)) from error
    with staged_folder(output, force=force) as staging:
        specs = export_graphs(task, model, staging, progress=progress)
        progress("verifying against torch in a child process")
        _verify(files, staging, progress)
        receipt_file = staging / RECEIPT_FILE
        receipt = json.loads(receipt_file.read_text(encoding="utf-8"))
        receipt_file.unlink()
        source = _source(files, name)
        (staging / "README.md").write_text(_readme(task, source), encoding="utf-8")
        manifest = Manifest(
            schema_version=SCHEMA_VERSION,
            task=task,
            precision="fp32",
            target="ort",
            config=to_json(model.config),
            processor=flow.processor(model.config),
            graphs={spec.name: _graph_entry(spec) for spec in specs},
            ranges=flow.ranges(model.config),
            source=source,
            tools=_tools(),
            parity=receipt,
            files=tuple(FileEntry(path.name, *file_sha256(path)) for path in sorted(staging.iterdir())),
        )
        (staging / "manifest.json").write_text(manifest.to_json(), encoding="utf-8")
        progress("checking the finished bundle")
        _check_finished(staging, receipt["known_answer_tolerance_px"])
    return manifest


def _verify(files: CheckpointFiles, staging: Path, progress: Callable[[str], None]) -> None:
    request = staging / "request.json"
    request.write_text(
        json.dumps({"config": str(files.config), "weights": str(files.weights), "task": files.task, "folder": str(staging)}),
        encoding="utf-8",
    )
    with tempfile.TemporaryFile("w+", encoding="utf-8") as errors:
        with subprocess.Popen([*VERIFY, str(request)], stdout=subprocess.PIPE, stderr=errors, text=True) as child:
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


def _check_finished(folder: Path, tolerance: float) -> None:
    """Open the bundle as a device would and run its known answer."""
    bundle = open_bundle(folder)
    with FlowPipeline(bundle, device="cpu") as pipeline:
        check_known_answer(pipeline, FlowSample.read(bundle.path(SAMPLE_FILE)), tolerance)


def _source(files: CheckpointFiles, name: str) -> Source:
    known = name if files.revision or name in SHIPPED else Path(name).name
    return Source(known, file_sha256(files.weights)[1], _license(files.config.parent), files.revision or "")


def _license(folder: Path) -> str:
    """The `license:` of the model card's front matter."""
    card = folder / "README.md"
    if card.is_file():
        front_matter = re.match(r"---\n(.*?)\n---\n", card.read_text(encoding="utf-8", errors="replace"), re.DOTALL)
        found = re.search(r"^license:\s*(\S+)", front_matter.group(1), re.MULTILINE) if front_matter else None
        if found:
            return found.group(1)
    return "unknown"


def _graph_entry(spec: GraphSpec) -> GraphEntry:
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
        "onnxruntime": onnxruntime.__version__,
    }


def _readme(task: str, source: Source) -> str:
    return (
        f"# {task} bundle\n\n"
        f"Made by perceiver-export from `{source.checkpoint}` (licence of the weights: {source.license}).\n"
        "`manifest.json` says what is in it and how it was checked against PyTorch.\n\n"
        "```\n"
        "pip install 'perceiver-runtime[cpu,images]'\n"
        "perceiver verify .\n"
        "perceiver run . frame1.png frame2.png -o flow.png\n"
        "```\n"
    )
