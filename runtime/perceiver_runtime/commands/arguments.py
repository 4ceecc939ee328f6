"""Arguments that several subcommands share."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import Any

from perceiver_runtime.backends.selection import DEVICES
from perceiver_runtime.bundle.reader import open_bundle
from perceiver_runtime.common.amounts import memory_argument, thread_count
from perceiver_runtime.common.errors import UsageError
from perceiver_runtime.processing.image import MAX_SIDE, MIN_SIDE
from perceiver_runtime.tasks.loading import open_pipeline
from perceiver_runtime.tasks.pipeline import RuntimeOptions


def positive(text: str) -> int:
    """An argument that is a whole number of at least 1."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("give at least 1")
    return value


def threads(text: str) -> int:
    """An argument that is a number of threads."""
    try:
        return thread_count(positive(text))
    except UsageError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def memory(text: str) -> int:
    """An argument that is an amount of memory, 700MB or 700, in bytes."""
    try:
        return memory_argument(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def old_memory(old: str, new: str) -> Callable[[str], int]:
    """`memory` under a name that an option had; using it says the new one on stderr."""

    def read(text: str) -> int:
        print(f"{old} is now {new}", file=sys.stderr)
        return memory(text)

    return read


def image_size(text: str) -> tuple[int, int]:
    """An argument that is a size in pixels, 288 or 288x320: (height, width)."""
    sides = [int(side) for side in text.lower().split("x")]  # argparse reports a ValueError
    if len(sides) > 2 or min(sides) < MIN_SIDE or max(sides) > MAX_SIDE:
        raise argparse.ArgumentTypeError(f"give a size such as 288 or 288x320, of {MIN_SIDE} to {MAX_SIDE} pixels a side")
    return sides[0], sides[-1]


def add_bundle(parser: argparse.ArgumentParser) -> None:
    """BUNDLE and --json."""
    parser.add_argument("bundle", help="folder made by perceiver-export")
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object")


def add_device(parser: argparse.ArgumentParser) -> None:
    """--device, --threads and --max-memory."""
    parser.add_argument(
        "--device",
        default="auto",
        choices=DEVICES,
        help="auto: TensorRT for a bundle made for it, else CUDA, else the CPU, whichever is here",
    )
    parser.add_argument("--threads", type=threads, metavar="N", help="default: the cores this process may use")
    help_text = "what weights and values may take, such as 700MB, on ONNX Runtime and a CPU; smaller chunks and batches then"
    parser.add_argument("--max-memory", type=memory, metavar="MEMORY", help=f"{help_text} (default: no limit)")


def runtime_options(arguments: argparse.Namespace) -> RuntimeOptions:
    """What `add_device` asked for."""
    return RuntimeOptions(arguments.device, arguments.threads, arguments.max_memory)


def load_for(arguments: argparse.Namespace, task: str | None = None) -> Any:
    """The pipeline of the bundle of `add_bundle`, placed by `add_device`."""
    return open_pipeline(open_bundle(arguments.bundle), runtime_options(arguments), task=task)
