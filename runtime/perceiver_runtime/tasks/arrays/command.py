"""`perceiver run` for arrays: files by name in, one `.npz` file of the answer out."""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np

from perceiver_runtime.bundle.manifest import Manifest
from perceiver_runtime.files.outputs import check_ending, replacing
from perceiver_runtime.tasks.arguments import positive
from perceiver_runtime.tasks.arrays.items import items_of
from perceiver_runtime.tasks.outputs import add_force, check_outputs
from perceiver_runtime.tasks.task import Load
from perceiver_runtime.tasks.text_commands import seconds


def add_arguments(parser: argparse.ArgumentParser, manifest: Manifest) -> None:
    """What follows the bundle."""
    kind = items_of(manifest)
    kind.add_arguments(parser, manifest.processor)
    parser.add_argument("-o", "--output", metavar="NPZ", help="write the answer, an array for each output by name")
    add_options(parser)
    add_force(parser)
    parser.set_defaults(read_items=lambda arguments: kind.from_arguments(arguments, manifest.processor))


def add_options(parser: argparse.ArgumentParser) -> None:
    """--query-chunk."""
    parser.add_argument("--query-chunk", type=positive, metavar="N", help="queries decoded at once (default: the bundle's)")


def options(arguments: argparse.Namespace) -> dict[str, Any]:
    """The same, for a table, where it was given."""
    return {} if arguments.query_chunk is None else {"query_chunk": arguments.query_chunk}


def run(arguments: argparse.Namespace, load: Load) -> dict[str, object]:
    """The answer to one item."""
    check_outputs([arguments.output], force=arguments.force)
    if arguments.output:
        check_ending(arguments.output, (".npz",), "arrays by name")
    (item,) = arguments.read_items(arguments)
    start = time.perf_counter()
    with load() as model:
        loaded = time.perf_counter() - start
        answer = model(item, query_chunk=arguments.query_chunk)
        if arguments.output:
            with replacing(arguments.output) as whole, whole.open("wb") as file:
                np.savez(file, **answer)
        labels = {name: model.labels(answer, name).to_dict()["labels"] for name in model.labelled}
        return {
            "provider": model.provider,
            "outputs": {name: _described(array) for name, array in answer.items()},
            **({"labels": labels} if labels else {}),
            "written": [arguments.output] if arguments.output else [],
            "seconds": {"load": loaded, **model.timing.seconds()},
        }


def _described(array: Any) -> dict[str, object]:
    return {
        "shape": list(array.shape),
        **{what: float(getattr(array, what)()) for what in ("mean", "std", "min", "max")},
        **({"values": array.reshape(-1).tolist()} if array.size <= 16 else {}),
    }


def render(result: dict[str, Any]) -> str:
    """The same for people."""
    lines = []
    for name, found in result["outputs"].items():
        shape = "x".join(map(str, found["shape"])) or "a number"
        lines.append(f"{name} {shape}: mean {found['mean']:.3g}, {found['min']:.3g} to {found['max']:.3g}")
    for name, labels in result.get("labels", {}).items():
        lines += [f"  {name}: {label['probability']:.3f} {label['label']}" for label in labels]
    lines += [f"wrote {name}" for name in result["written"]] or ["nothing written: add -o answer.npz"]
    return "\n".join([*lines, seconds(result)])
