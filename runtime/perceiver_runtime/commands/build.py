"""`perceiver build BUNDLE -o DIR`: TensorRT engines of a bundle's graphs, for this machine's GPU."""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path
from typing import Any

from perceiver_runtime.bundle import Bundle, open_bundle
from perceiver_runtime.commands.arguments import add_bundle, positive
from perceiver_runtime.commands.outputs import progress_line
from perceiver_runtime.errors import InputError, UsageError
from perceiver_runtime.tensorrt.builder import BuildOptions, Span, build, spans
from perceiver_runtime.tensorrt.library import tensorrt


def add_parser(commands: Any) -> None:
    """Declare the subcommand."""
    parser = commands.add_parser(
        "build",
        help="build TensorRT engines of a bundle, on the device",
        description="Build a TensorRT engine of each graph of a bundle exported with --target tensorrt, for this machine's GPU "
        "and this TensorRT: engines are of no use elsewhere. perceiver does not run them yet; trtexec and your own code do.",
    )
    add_bundle(parser)
    parser.add_argument("-o", "--output", required=True, metavar="DIR", help="folder for GRAPH.engine; made if it is not there")
    parser.add_argument(
        "--profile",
        type=_span,
        nargs="+",
        default=[],
        metavar="NAME=MIN:OPT:MAX",
        help="sizes of an engine, such as H=240:368:368 (default: the manifest's, fastest at the largest)",
    )
    help_text = "memory for what is computed on the way (default: all there is; cap it on a Jetson)"
    parser.add_argument("--workspace", type=positive, metavar="MB", help=help_text)
    parser.add_argument("--optimization-level", type=int, choices=range(6), help="TensorRT's, 0 to 5")
    parser.add_argument("--gpu", nargs="+", default=[], metavar="SM86", help="with TensorRT for RTX: models to build for")
    parser.set_defaults(function=run, render=render)


def _span(text: str) -> tuple[str, Span]:
    name, _, numbers = text.rpartition("=")
    try:
        least, best, most = (int(number) for number in numbers.split(":"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=MIN:OPT:MAX") from None
    return name, Span(least, best, most)


def run(arguments: argparse.Namespace) -> dict[str, object]:
    """Build each graph; what is finished is in its place, what is not leaves nothing."""
    bundle = open_bundle(arguments.bundle)
    if bundle.manifest.target != "tensorrt":
        raise UsageError(f"{bundle.folder} is for ONNX Runtime: export it again with --target tensorrt")
    sizes = spans(bundle.manifest.ranges, dict(arguments.profile))
    trt = tensorrt()
    options = BuildOptions(arguments.workspace, arguments.optimization_level, tuple(arguments.gpu))
    folder = Path(arguments.output)
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file: give a folder")
    folder.mkdir(parents=True, exist_ok=True)
    engines = []
    for name in bundle.manifest.graphs:
        start = time.perf_counter()
        plan = _build(trt, bundle, name, sizes, options)
        path = folder / f"{name}.engine"
        _write(path, plan)
        engines.append({"path": str(path), "bytes": len(plan), "seconds": time.perf_counter() - start})
    return {"tensorrt": trt.__version__, "engines": engines}


def _build(trt: Any, bundle: Bundle, name: str, sizes: dict[str, Span], options: BuildOptions) -> bytes:
    entry = bundle.manifest.graphs[name]
    with progress_line() as report:
        return build(trt, bundle.path(entry.file), entry, sizes, options, lambda phase: report(f"{name}: {phase}"))


def _write(path: Path, data: bytes) -> None:
    """A temporary file, renamed when it is whole."""
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def render(result: dict[str, Any]) -> str:
    """The same for people."""
    lines = [f"TensorRT {result['tensorrt']}"]
    lines += [f"wrote {each['path']} ({each['bytes'] / 1e6:.1f} MB) in {each['seconds']:.1f} s" for each in result["engines"]]
    return "\n".join(lines)
