"""Arguments that several subcommands share."""

from __future__ import annotations

import argparse
from typing import Any

from perceiver_runtime.backends.selection import DEVICES, devices_argument
from perceiver_runtime.common.errors import UsageError
from perceiver_runtime.tasks.arguments import memory, threads
from perceiver_runtime.tasks.loading import load_pipeline
from perceiver_runtime.tasks.pipeline import RuntimeOptions


def device(text: str) -> str:
    """One of `DEVICES`, or several with commas."""
    try:
        return devices_argument(text)
    except UsageError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def add_bundle(parser: argparse.ArgumentParser) -> None:
    """BUNDLE and --json."""
    parser.add_argument("bundle", help="folder made by perceiver-export")
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object")


def add_device(parser: argparse.ArgumentParser) -> None:
    """--device, --threads and --max-memory."""
    parser.add_argument(
        "--device",
        default="auto",
        type=device,
        metavar="DEVICE",
        help=f"{', '.join(DEVICES)}; a GPU by its number, such as cuda:1. auto: TensorRT for a bundle made for it, else CUDA, "
        "else the CPU, whichever is here (default)",
    )
    parser.add_argument("--threads", type=threads, metavar="N", help="default: the cores this process may use")
    help_text = (
        "what weights and values may take, such as 700MB, on ONNX Runtime, a CPU or cuda; smaller chunks and batches then"
    )
    parser.add_argument("--max-memory", type=memory, metavar="MEMORY", help=f"{help_text} (default: no limit)")


def runtime_options(arguments: argparse.Namespace) -> RuntimeOptions:
    """What `add_device` asked for."""
    return RuntimeOptions(arguments.device, arguments.threads, arguments.max_memory)


def load_for(arguments: argparse.Namespace) -> Any:
    """The pipeline of the bundle of `add_bundle`, placed by `add_device`."""
    return load_pipeline(arguments.bundle, runtime_options(arguments))
