"""`perceiver run` for bare features: the latents of a text, an image, two frames, a clip, or vectors, as a `.npy` file."""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np

from perceiver_runtime.bundle.manifest import Manifest
from perceiver_runtime.files.outputs import check_ending, replacing
from perceiver_runtime.tasks.features.pipeline import kind_of
from perceiver_runtime.tasks.outputs import add_force, check_outputs
from perceiver_runtime.tasks.task import Load
from perceiver_runtime.tasks.text_commands import seconds


def add_arguments(parser: argparse.ArgumentParser, manifest: Manifest) -> None:
    """What follows the bundle."""
    kind = kind_of(manifest)
    kind.add_arguments(parser, manifest.processor)
    parser.add_argument("-o", "--output", metavar="NPY", help="write the latents, float32 (N, D), of a batch (B, N, D)")
    add_force(parser)
    parser.set_defaults(read_items=lambda arguments: kind.from_arguments(arguments, manifest.processor))


def run(arguments: argparse.Namespace, load: Load) -> dict[str, object]:
    """Latents of the inputs."""
    check_outputs([arguments.output], force=arguments.force)
    if arguments.output:
        check_ending(arguments.output, (".npy",), "an array")
    items = arguments.read_items(arguments)
    start = time.perf_counter()
    with load() as features:
        loaded = time.perf_counter() - start
        latents = features(items if len(items) > 1 else items[0], plain=vars(arguments).get("plain", False))
        if arguments.output:
            with replacing(arguments.output) as whole, whole.open("wb") as file:
                np.save(file, latents)
        return {
            "provider": features.provider,
            "shape": list(latents.shape),
            "mean": float(latents.mean()),
            "std": float(latents.std()),
            "written": [arguments.output] if arguments.output else [],
            "seconds": {"load": loaded, **features.timing.seconds()},
        }


def render(result: dict[str, Any]) -> str:
    """The same for people."""
    lines = [
        f"latents {'x'.join(map(str, result['shape']))}: mean {result['mean']:.3g}, standard deviation {result['std']:.3g}"
    ]
    lines += [f"wrote {name}" for name in result["written"]] or ["nothing written: add -o latents.npy"]
    return "\n".join([*lines, seconds(result)])
