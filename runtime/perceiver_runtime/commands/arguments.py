"""Arguments that several subcommands share."""

from __future__ import annotations

import argparse

from perceiver_runtime.onnx_backend import DEVICES


def positive(text: str) -> int:
    """An argument that is a whole number of at least 1."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("give at least 1")
    return value


def add_bundle(parser: argparse.ArgumentParser) -> None:
    """BUNDLE and --json."""
    parser.add_argument("bundle", help="folder made by perceiver-export")
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object")


def add_device(parser: argparse.ArgumentParser) -> None:
    """--device and --threads."""
    parser.add_argument("--device", default="auto", choices=DEVICES, help="auto: CUDA where available, else the CPU")
    parser.add_argument("--threads", type=positive, help="default: the cores this process may use")
