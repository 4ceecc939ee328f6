"""`perceiver-export`: a checkpoint to a verified bundle."""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import json
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType

from perceiver_deploy import __version__
from perceiver_deploy.export import DEFAULT_CHECKPOINTS, export_bundle
from perceiver_runtime import BackendError, PerceiverError, UsageError
from perceiver_runtime.manifest import Manifest

PUBLISHED = {"flow": "deepmind/optical-flow-perceiver"}


def build_parser() -> argparse.ArgumentParser:
    """The whole command line."""
    parser = argparse.ArgumentParser(
        prog="perceiver-export",
        description="Turn a Perceiver IO checkpoint into a bundle of ONNX graphs, verified against PyTorch.",
        epilog="Exit codes: 0 ok, 1 bad input, 2 usage, 3 verification failed, 5 not available on this machine or version.",
    )
    parser.add_argument("--task", required=True, metavar="TASK", help=f"one of: {', '.join(DEFAULT_CHECKPOINTS)}")
    parser.add_argument(
        "--checkpoint",
        metavar="PATH|HUB-ID|NAME",
        help="a folder written by save_pretrained or save_checkpoint, a hub id such as deepmind/optical-flow-perceiver, "
        "or a shipped checkpoint; default: the small one shipped for the task",
    )
    parser.add_argument("-o", "--output", metavar="DIR", help="the bundle to write (default: the task's name)")
    parser.add_argument("--target", default="ort", choices=["ort", "tensorrt"], help="what runs the graphs (default: ort)")
    parser.add_argument("--fp16", action="store_true", help="half precision (not in this version yet)")
    parser.add_argument("--revision", help="branch, tag or commit of a hub checkpoint")
    parser.add_argument("--allow-pickle", action="store_true", help="also read pytorch_model.bin, if you trust it")
    parser.add_argument("--force", action="store_true", help="replace a bundle that is already there")
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object")
    parser.add_argument("--version", action="version", version=f"perceiver-deploy {__version__}")
    return parser


def run(arguments: argparse.Namespace) -> Manifest:
    """Do what the command line asks for. Raises `PerceiverError`."""
    if arguments.task not in DEFAULT_CHECKPOINTS:
        nearest = difflib.get_close_matches(arguments.task, DEFAULT_CHECKPOINTS, n=1, cutoff=0.0)[0]
        available = ", ".join(DEFAULT_CHECKPOINTS)
        raise UsageError(f"unknown task {arguments.task!r}; did you mean {nearest!r}? available: {available}")
    if arguments.fp16:
        raise BackendError("--fp16 is not in this version yet: leave it out for an fp32 bundle")
    if arguments.target == "tensorrt":
        raise BackendError("--target tensorrt is not in this version yet: use --target ort")
    if not arguments.checkpoint:
        _say(
            f"using the small checkpoint shipped for {arguments.task}, {DEFAULT_CHECKPOINTS[arguments.task]}; "
            f"for the published one: --checkpoint {PUBLISHED[arguments.task]}"
        )
    return export_bundle(
        task=arguments.task,
        output=arguments.output,
        checkpoint=arguments.checkpoint,
        allow_pickle=arguments.allow_pickle,
        revision=arguments.revision,
        force=arguments.force,
        progress=_progress(),
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code; errors are one line on stderr."""
    arguments = build_parser().parse_args(argv)
    arguments.output = Path(arguments.output or arguments.task)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        manifest = run(arguments)
    except PerceiverError as error:
        return _failed(arguments, str(error), error.exit_code)
    except OSError as error:
        return _failed(arguments, f"{error.filename or 'a file'}: {error.strerror or error}", 1)
    except KeyboardInterrupt:
        return _failed(arguments, f"interrupted; nothing was written to {arguments.output}", 130)
    if arguments.json:
        print(json.dumps({"bundle": str(arguments.output), **dataclasses.asdict(manifest)}, indent=2))
        return 0
    summary = manifest.parity["summary"]
    size = sum(entry.size for entry in manifest.files) / 1e6
    print(
        f"wrote {arguments.output} ({size:.1f} MB, {manifest.precision}, for ONNX Runtime), equal to torch on "
        f"{summary['cases']} shapes: off by {summary['max_error_px']:.2g} px at most, {summary['allowed_px']:.2g} px allowed"
    )
    print(f"next: perceiver run {arguments.output} frame1.png frame2.png -o flow.png")
    return 0


def _interrupt(signum: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _failed(arguments: argparse.Namespace, message: str, code: int) -> int:
    if arguments.json:
        print(json.dumps({"error": message, "exit_code": code}, indent=2))
    print(f"perceiver-export: {message}", file=sys.stderr)
    return code


def _say(text: str) -> None:
    print(text, file=sys.stderr)


def _progress() -> Callable[[str], None]:
    start = time.monotonic()

    def report(text: str) -> None:
        if sys.stderr.isatty():
            _say(f"[{time.monotonic() - start:5.1f} s] {text}")

    return report


if __name__ == "__main__":
    sys.exit(main())
