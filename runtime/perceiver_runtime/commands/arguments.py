"""Arguments that several subcommands share."""

from __future__ import annotations

import argparse
from typing import Any

from perceiver_runtime.backends.selection import DEVICES, devices_argument
from perceiver_runtime.bundle.origin.trust import Trust
from perceiver_runtime.bundle.reader import WHOLE
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


def add_trust(parser: argparse.ArgumentParser) -> None:
    """--public-key and --manifest-sha256."""
    help_text = "refuse a bundle that was not signed with this key's private half: a file in PEM"
    parser.add_argument("--public-key", metavar="PEM", help=help_text)
    help_text = "refuse any bundle but the one whose manifest has this sha256, as perceiver inspect prints it"
    parser.add_argument("--manifest-sha256", metavar="SHA256", help=help_text)


def trust_of(arguments: argparse.Namespace) -> Trust:
    """What `add_trust` asked for. Raises `UsageError`, `InputError`."""
    return Trust.of(arguments.manifest_sha256, arguments.public_key)


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
    parser.add_argument(
        "--threads",
        type=threads,
        metavar="N",
        help="default: the cores this process may use, or fewer where a CPU quota or OMP_NUM_THREADS says",
    )
    help_text = (
        "what weights and values may take, such as 700MB, on ONNX Runtime, a CPU or cuda; smaller chunks and batches then"
    )
    parser.add_argument("--max-memory", type=memory, metavar="MEMORY", help=f"{help_text} (default: no limit)")


def runtime_options(arguments: argparse.Namespace) -> RuntimeOptions:
    """What `add_device` asked for."""
    return RuntimeOptions(arguments.device, arguments.threads, arguments.max_memory)


def load_for(arguments: argparse.Namespace) -> Any:
    """The pipeline of the bundle of `add_bundle`, placed by `add_device`; with `add_trust`, of no other."""
    trust = trust_of(arguments) if hasattr(arguments, "public_key") else WHOLE
    return load_pipeline(arguments.bundle, runtime_options(arguments), trust=trust)
