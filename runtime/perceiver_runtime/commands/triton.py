"""`perceiver triton BUNDLE -o REPO`: a model repository for Triton Inference Server, and what is in one."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from perceiver_runtime.backends.placement import Placement
from perceiver_runtime.bundle.reader import open_bundle
from perceiver_runtime.common.errors import UsageError
from perceiver_runtime.serving.repositories.versions import list_versions, remove_version
from perceiver_runtime.serving.repository import DEVICES, RepositoryOptions, write_repository
from perceiver_runtime.tasks.arguments import positive, threads
from perceiver_runtime.tasks.outputs import check_outside_bundles

_LOAD = "curl -X POST localhost:8000/v2/repository/models/{}/load"


def add_parser(commands: Any) -> None:
    """Declare the subcommand."""
    parser = commands.add_parser(
        "triton",
        help="write a model repository for Triton Inference Server",
        description="Check a bundle and write its graphs as models for Triton: NAME_encode, NAME_decode…, and NAME, an "
        "ensemble, where one call gives the answer. Called again, it adds the next version, and changes of the models that are "
        "there what is asked. Write code against "
        'perceiver_runtime.connect("host:8001", bundle=…).',
    )
    parser.add_argument("bundle", nargs="?", help="folder made by perceiver-export")
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object")
    parser.add_argument("-o", "--output", required=True, metavar="REPO", help="the repository, made if it is not there")
    parser.add_argument("--name", help="begins the models' names (default: the bundle folder's name)")
    help_text = "a copy of the weights for each model, for object stores (default: one in the repository, with hard links)"
    parser.add_argument("--copy", action="store_true", help=help_text)
    parser.add_argument("--instances", type=positive, metavar="N", help="of each model (default: 1)")
    help_text = "inputs in a dynamic batch (default: 8). 1: answers do not depend on who else asks, to the last bit"
    parser.add_argument("--max-batch", type=positive, metavar="N", help=help_text)
    parser.add_argument(
        "--threads", type=threads, metavar="N", help="of an instance on a CPU (default: all the server's cores)"
    )
    help_text = "requests that may wait for a model; others are refused at once (default: 256; 0: no limit)"
    parser.add_argument("--queue-size", type=_queue_size, metavar="N", help=help_text)
    help_text = "how long a request may wait, if its client has no shorter timeout (default: 60; 0: no limit)"
    parser.add_argument("--queue-timeout", type=_seconds, metavar="S", help=help_text)
    help_text = f"what instances run on: {', '.join(DEVICES)}, or cuda:1 for the server's GPU of that number (default: cpu)"
    parser.add_argument("--device", type=_device, metavar="DEVICE", help=help_text)
    help_text = "onnxruntime: Triton's own (default); python: this package in Triton's Python backend, for servers without it"
    parser.add_argument("--backend", choices=["onnxruntime", "python"], help=help_text)
    help_text = "add NAME_answer, which takes texts, pictures, sounds as they are and gives labels, texts, flow: Python backend"
    parser.add_argument("--with-processing", action="store_true", help=help_text)
    parser.add_argument("--version", type=positive, metavar="N", help="of the models (default: the next)")
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--list", action="store_true", help="instead: which versions REPO has, and of which bundles")
    group.add_argument("--remove", type=positive, metavar="N", help="instead: take version N of --name out of REPO")
    parser.set_defaults(function=run, render=render)


def _device(text: str) -> Placement:
    try:
        found = Placement.read(text)
    except UsageError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    if found.device not in DEVICES or (found.gpu is not None and found.device == "cpu"):
        raise argparse.ArgumentTypeError(f"{text!r} is none of {', '.join(DEVICES)}, cuda:N, tensorrt:N")
    return found


def _queue_size(text: str) -> int:
    value = int(text)
    if not 0 <= value < 1 << 32:
        raise argparse.ArgumentTypeError("give a number of requests, or 0 for no limit")
    return value


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1e6:
        raise argparse.ArgumentTypeError("give seconds, or 0 for no limit")
    return value


def run(arguments: argparse.Namespace) -> dict[str, object]:
    """Verify, then write; or list, or remove."""
    repository = Path(arguments.output)
    if arguments.list or arguments.remove is not None:
        if arguments.bundle is not None:
            raise UsageError("--list and --remove are of a repository: leave out the bundle")
        if arguments.list:
            return {"repository": str(repository), "versions": list_versions(repository)}
        if not arguments.name:
            raise UsageError("--remove is of the models of one name: add --name (perceiver triton --list shows them)")
        return remove_version(repository, arguments.name, arguments.remove)
    if arguments.bundle is None:
        raise UsageError("give a bundle, a folder made by perceiver-export; or --list, or --remove")
    bundle = open_bundle(arguments.bundle)
    options = RepositoryOptions(
        backend=arguments.backend,
        device=None if arguments.device is None else arguments.device.device,
        gpu=None if arguments.device is None else arguments.device.gpu,
        copy=arguments.copy,
        instances=arguments.instances,
        max_batch=arguments.max_batch,
        threads=arguments.threads,
        queue_size=arguments.queue_size,
        queue_seconds=arguments.queue_timeout,
        processing=arguments.with_processing,
        version=arguments.version,
    )
    check_outside_bundles(repository / "model")
    name = arguments.name if arguments.name is not None else bundle.folder.absolute().name
    return {"name": name, **write_repository(bundle, repository, name, options)}


def render(result: dict[str, Any]) -> str:
    """The same for people."""
    if "versions" in result:
        lines = [
            f"{each['name']} {each['version']}  {each['bundle']}  {', '.join(each['models'])}" for each in result["versions"]
        ]
        return "\n".join(lines) or f"{result['repository']} has no models of bundles"
    if "removed" in result:
        return _render_removed(result)
    models = result["models"]
    loads = " ".join(f"--load-model={model}" for model in models)
    return (
        f"wrote version {result['version']} of {', '.join(models)} to {result['repository']}\n"
        f"next: tritonserver --model-repository={result['repository']} --model-control-mode=explicit {loads}\n"
        f"or, where it runs, one after the other:\n"
        + "".join(f"  {_LOAD.format(model)}\n" for model in models)
        + f'and in Python: perceiver_runtime.connect("localhost:8001", bundle=…, name="{result["name"]}")'
    )


def _render_removed(result: dict[str, Any]) -> str:
    lines = [f"removed version {result['version']} of {', '.join([*result['models'], *result['removed']])}"]
    lines += ["next, so that the server forgets it:"]
    lines += [f"  {_LOAD.format(model)}" for model in result["models"]]
    lines += [f"  {_LOAD.format(model)[:-4]}unload" for model in result["removed"]]
    return "\n".join(lines)
