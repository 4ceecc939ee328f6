"""`perceiver triton BUNDLE -o REPO`: a model repository for Triton Inference Server."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from perceiver_runtime.backends.placement import Placement
from perceiver_runtime.bundle.reader import open_bundle
from perceiver_runtime.commands.arguments import add_bundle
from perceiver_runtime.common.errors import UsageError
from perceiver_runtime.serving.repository import DEVICES, RepositoryOptions, write_repository
from perceiver_runtime.tasks.arguments import positive, threads
from perceiver_runtime.tasks.outputs import check_outside_bundles


def add_parser(commands: Any) -> None:
    """Declare the subcommand."""
    parser = commands.add_parser(
        "triton",
        help="write a model repository for Triton Inference Server",
        description="Check a bundle and write its graphs as models for Triton: NAME_encode, NAME_decode…, and NAME, an "
        "ensemble, where one call gives the answer. Called again, it adds the next version. Write code against "
        'perceiver_runtime.connect("host:8001", bundle=…).',
    )
    add_bundle(parser)
    parser.add_argument("-o", "--output", required=True, metavar="REPO", help="the repository, made if it is not there")
    parser.add_argument("--name", help="begins the models' names (default: the bundle folder's name)")
    parser.add_argument(
        "--copy", action="store_true", help="copy files, for object stores (default: hard links to the weights)"
    )
    parser.add_argument("--instances", type=positive, default=1, metavar="N", help="of each model (default: 1)")
    parser.add_argument("--max-batch", type=positive, default=8, metavar="N", help="inputs in a dynamic batch (default: 8)")
    parser.add_argument(
        "--threads", type=threads, metavar="N", help="of an instance on a CPU (default: all the server's cores)"
    )
    help_text = f"what instances run on: {', '.join(DEVICES)}, or cuda:1 for the server's GPU of that number (default: cpu)"
    parser.add_argument("--device", type=_device, default=Placement("cpu"), metavar="DEVICE", help=help_text)
    help_text = "onnxruntime: Triton's own; python: this package in Triton's Python backend, for servers without the other"
    parser.add_argument("--backend", choices=["onnxruntime", "python"], default="onnxruntime", help=help_text)
    help_text = "add NAME_answer, which takes texts, pictures, sounds as they are and gives labels, texts, flow: Python backend"
    parser.add_argument("--with-processing", action="store_true", help=help_text)
    parser.add_argument("--version", type=positive, metavar="N", help="of the models (default: the next)")
    parser.set_defaults(function=run, render=render)


def _device(text: str) -> Placement:
    try:
        found = Placement.read(text)
    except UsageError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    if found.device not in DEVICES or (found.gpu is not None and found.device == "cpu"):
        raise argparse.ArgumentTypeError(f"{text!r} is none of {', '.join(DEVICES)}, cuda:N, tensorrt:N")
    return found


def run(arguments: argparse.Namespace) -> dict[str, object]:
    """Verify, then write."""
    bundle = open_bundle(arguments.bundle)
    options = RepositoryOptions(
        backend=arguments.backend,
        device=arguments.device.device,
        gpu=arguments.device.gpu,
        copy=arguments.copy,
        instances=arguments.instances,
        max_batch=arguments.max_batch,
        threads=arguments.threads,
        processing=arguments.with_processing,
        version=arguments.version,
    )
    check_outside_bundles(Path(arguments.output) / "model")
    name = arguments.name or bundle.folder.absolute().name
    return {"name": name, **write_repository(bundle, Path(arguments.output), name, options)}


def render(result: dict[str, Any]) -> str:
    """The same for people."""
    return (
        f"wrote version {result['version']} of {', '.join(result['models'])} to {result['repository']}\n"
        f"next: tritonserver --model-repository={result['repository']}, and in Python\n"
        f'  perceiver_runtime.connect("localhost:8001", bundle=…, name="{result["name"]}")'
    )
