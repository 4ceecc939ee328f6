"""`perceiver run` for bare features: the latents of a text, an image, two frames, a clip, or vectors, as a `.npy` file."""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np

from perceiver_runtime.commands.arguments import load_for
from perceiver_runtime.commands.outputs import add_force, check_outputs
from perceiver_runtime.commands.run_multimodal import add_clip_arguments, read_clip
from perceiver_runtime.commands.run_text import add_plain, seconds
from perceiver_runtime.image_files import read_image, read_images
from perceiver_runtime.manifest import Manifest
from perceiver_runtime.multimodal_processing import MultimodalProcessor
from perceiver_runtime.output_files import check_ending, replacing

_INPUTS = {"text": "a text", "image": "an image file", "vectors": "a .npy file of vectors (M, channels)"}


def add_arguments(parser: argparse.ArgumentParser, manifest: Manifest) -> None:
    """What follows the bundle."""
    kind = manifest.processor.get("input")
    if kind == "clip":
        add_clip_arguments(parser, manifest)
    elif kind == "frames":
        parser.add_argument("inputs", nargs=2, metavar="FRAME", help="two image files of one size")
    else:
        help_text = f"{_INPUTS.get(str(kind), 'an input')}; several are a batch"
        parser.add_argument("inputs", nargs="+", metavar="INPUT", help=help_text)
    if kind == "text":
        add_plain(parser)
    parser.add_argument("-o", "--output", metavar="NPY", help="write the latents, float32 (N, D), of a batch (B, N, D)")
    add_force(parser)
    parser.set_defaults(kind=kind, clip_processor=manifest.processor)


def run(arguments: argparse.Namespace) -> dict[str, object]:
    """Latents of the inputs."""
    check_outputs([arguments.output], force=arguments.force)
    if arguments.output:
        check_ending(arguments.output, (".npy",), "an array")
    items = _items(arguments)
    start = time.perf_counter()
    with load_for(arguments, "features") as features:
        loaded = time.perf_counter() - start
        latents = features(items if len(items) > 1 else items[0], plain=arguments.kind == "text" and arguments.plain)
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


def _items(arguments: argparse.Namespace) -> list[Any]:
    if arguments.kind == "clip":
        clip = MultimodalProcessor.from_json(arguments.clip_processor)
        frames, sound = read_clip(arguments, clip)
        return [(frames, sound)]
    if arguments.kind == "frames":
        first, second = read_images(arguments.inputs)
        return [(first, second)]
    if arguments.kind == "text":
        return list(arguments.inputs)
    return [read_image(name) for name in arguments.inputs]  # pictures, or arrays as they are


def render(result: dict[str, Any]) -> str:
    """The same for people."""
    lines = [
        f"latents {'x'.join(map(str, result['shape']))}: mean {result['mean']:.3g}, standard deviation {result['std']:.3g}"
    ]
    lines += [f"wrote {name}" for name in result["written"]] or ["nothing written: add -o latents.npy"]
    return "\n".join([*lines, seconds(result)])
