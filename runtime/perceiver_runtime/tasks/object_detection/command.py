"""`perceiver run` for object detection."""

from __future__ import annotations

import argparse
import time
from functools import partial
from typing import Any

from perceiver_runtime.bundle.manifest import Manifest
from perceiver_runtime.common.errors import InputError, UsageError
from perceiver_runtime.files.images import check_picture_ending, read_image, write_image
from perceiver_runtime.tasks.object_detection.objects import DetectedObjects
from perceiver_runtime.tasks.object_detection.picture import draw_boxes
from perceiver_runtime.tasks.outputs import add_force, check_outputs, progress
from perceiver_runtime.tasks.several import Answer, Item, answered, attempt, results
from perceiver_runtime.tasks.task import Load
from perceiver_runtime.tasks.text_commands import seconds


def add_arguments(parser: argparse.ArgumentParser, manifest: Manifest) -> None:
    """What follows the bundle."""
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="image files, with Pillow, or uint8 .npy arrays")
    add_options(parser)
    parser.add_argument("-o", "--output", metavar="PNG", help="of one image: the image with its boxes")
    add_force(parser)


def add_options(parser: argparse.ArgumentParser) -> None:
    """--threshold."""
    parser.add_argument("--threshold", type=float, default=0.5, metavar="P", help="the least score of an object (default: 0.5)")


def options(arguments: argparse.Namespace) -> dict[str, Any]:
    """The same, for the pipeline."""
    return {"threshold": arguments.threshold}


def run(arguments: argparse.Namespace, load: Load) -> dict[str, object]:
    """The objects in each image."""
    names, report = arguments.images, progress("images")
    check_outputs([arguments.output], force=arguments.force)
    if arguments.output:
        check_picture_ending(arguments.output)
        if len(names) > 1:
            raise UsageError(f"-o is for one image, found {len(names)}")
    start = time.perf_counter()
    with load() as detect:
        loaded = time.perf_counter() - start
        answers: list[Answer] = []
        for name in names:
            item = Item(name, attempt(partial(read_image, name)))
            (found,) = answered([item], partial(detect, **options(arguments)))
            if arguments.output and not isinstance(found.value, InputError):
                write_image(arguments.output, draw_boxes(item.value, found.value))
            answers.append(Answer(item._replace(value=None), found.value))  # lets the picture go
            report(len(answers), len(names))
        done = results(answers, _described)
        return {
            "provider": detect.provider,
            **done,
            "written": [arguments.output] if arguments.output else [],
            "seconds": {"load": loaded, **detect.timing.seconds()},
        }


def _described(item: Item, objects: DetectedObjects) -> dict[str, object]:
    return {"input": item.name, **objects.to_dict()}


def render(result: dict[str, Any]) -> str:
    """The same for people."""
    lines = []
    for each in result["results"]:
        lines.append(each["input"])
        for found in each["objects"]:
            x0, y0, x1, y1 = found["box"]
            lines.append(f"  {found['score']:8.3g}  {found['label']}  {x0:.0f},{y0:.0f} to {x1:.0f},{y1:.0f}")
        lines += ["  nothing above the threshold"] if not each["objects"] else []
    lines += [f"wrote {name}" for name in result["written"]]
    return "\n".join([*lines, seconds(result)])
