"""Types of arguments on command lines."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

from perceiver_runtime.common.amounts import memory_argument, thread_count
from perceiver_runtime.common.errors import UsageError
from perceiver_runtime.processing.image import MAX_SIDE, MIN_SIDE


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


def add_plain(parser: argparse.ArgumentParser, besides: str = "") -> None:
    """--plain."""
    help_text = f"read [MASK], [SEP] and the like as ordinary text{besides}"
    parser.add_argument("--plain", action="store_true", help=help_text)
