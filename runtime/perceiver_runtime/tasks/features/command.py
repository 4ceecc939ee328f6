"""`perceiver run` for bare features: the latents of a text, an image, two frames, a clip, or vectors, as a `.npy` file."""

from __future__ import annotations

import argparse
import time
from functools import partial
from typing import Any

import numpy as np

from perceiver_runtime.bundle.manifest import Manifest
from perceiver_runtime.files.outputs import check_ending, replacing
from perceiver_runtime.tasks.arguments import add_plain
from perceiver_runtime.tasks.features.pipeline import kind_of
from perceiver_runtime.tasks.jobs.listing import STANDARD_INPUT, named, read_entry
from perceiver_runtime.tasks.kinds.kind import InputKind
from perceiver_runtime.tasks.outputs import add_force, check_outputs
from perceiver_runtime.tasks.several import Item, answered, results
from perceiver_runtime.tasks.task import Load
from perceiver_runtime.tasks.text_commands import seconds


def add_arguments(parser: argparse.ArgumentParser, manifest: Manifest) -> None:
    """What follows the bundle."""
    kind = kind_of(manifest)
    kind.add_arguments(parser, manifest.processor)
    parser.add_argument("-o", "--output", metavar="NPY", help="write the latents, float32 (N, D), of a batch (B, N, D)")
    add_force(parser)
    parser.set_defaults(read_items=lambda arguments: _items(arguments, kind, manifest))


def add_options(parser: argparse.ArgumentParser) -> None:
    """--plain, for texts."""
    add_plain(parser, "; lines always are")


def _items(arguments: argparse.Namespace, kind: InputKind, manifest: Manifest) -> list[Item]:
    """Each input, or why there is none; where it takes several arguments, there is one."""
    if kind.from_row is None or len(kind.columns) > 1 or kind.optional:
        return [Item("", item) for item in kind.from_arguments(arguments, manifest.processor)]
    return [read_entry(entry, kind) for entry in named(arguments.inputs, kind)]


def run(arguments: argparse.Namespace, load: Load) -> dict[str, object]:
    """Latents of the inputs."""
    check_outputs([arguments.output], force=arguments.force)
    if arguments.output:
        check_ending(arguments.output, (".npy",), "an array")
    items: list[Item] = arguments.read_items(arguments)
    start = time.perf_counter()
    with load() as features:
        loaded = time.perf_counter() - start
        plain = vars(arguments).get("plain", False) or vars(arguments).get("inputs") == [STANDARD_INPUT]
        answers = answered(items, partial(features, plain=plain))
        found = results(answers, lambda item, latents: {"input": item.name, "latents": latents})
        rows: Any = found.pop("results")
        latents = np.stack([row["latents"] for row in rows]) if len(items) > 1 else np.asarray(rows[0]["latents"])
        if arguments.output:
            with replacing(arguments.output) as whole, whole.open("wb") as file:
                np.save(file, latents)
        result: dict[str, object] = {"provider": features.provider, "shape": list(latents.shape)}
        result |= {"mean": float(latents.mean()), "std": float(latents.std())}
        if len(items) > 1:
            result["inputs"] = [row["input"] for row in rows]  # that the latents are of, in order
        result |= {"written": [arguments.output] if arguments.output else [], **found}
        return {**result, "seconds": {"load": loaded, **features.timing.seconds()}}


def render(result: dict[str, Any]) -> str:
    """The same for people."""
    lines = [
        f"latents {'x'.join(map(str, result['shape']))}: mean {result['mean']:.3g}, standard deviation {result['std']:.3g}"
    ]
    lines += [f"wrote {name}" for name in result["written"]] or ["nothing written: add -o latents.npy"]
    return "\n".join([*lines, seconds(result)])
