"""`perceiver run` for image classification."""

from __future__ import annotations

import argparse
import dataclasses
import time
from functools import partial

from perceiver_runtime.bundle.manifest import Manifest
from perceiver_runtime.files.images import read_image
from perceiver_runtime.tasks.arguments import image_size, positive
from perceiver_runtime.tasks.labels import LabelScore
from perceiver_runtime.tasks.outputs import progress
from perceiver_runtime.tasks.several import Answer, Item, answered, attempt, results
from perceiver_runtime.tasks.task import Load


def add_arguments(parser: argparse.ArgumentParser, manifest: Manifest) -> None:
    """What follows the bundle."""
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="image files, with Pillow, or uint8 .npy arrays")
    parser.add_argument("--top-k", type=positive, default=5, metavar="N", help="how many labels to print (default: 5)")
    parser.add_argument("--size", type=image_size, metavar="N|HxW", help="another input size, where positions allow it")
    parser.add_argument("--batch", type=positive, default=1, metavar="N", help="images run at once (default: 1)")


def run(arguments: argparse.Namespace, load: Load) -> dict[str, object]:
    """Labels of each image."""
    names, report = arguments.images, progress("images")
    if len(names) == 1:
        read_image(names[0])  # a wrong name shows before the bundle is loaded
    start = time.perf_counter()
    with load() as classify:
        loaded = time.perf_counter() - start
        answers: list[Answer] = []
        for first in range(0, len(names), arguments.batch):
            chosen = [Item(name, attempt(partial(read_image, name))) for name in names[first : first + arguments.batch]]
            found = answered(chosen, partial(classify, top_k=arguments.top_k, size=arguments.size))
            answers += [Answer(item._replace(value=None), value) for item, value in found]  # lets the picture go
            report(len(answers), len(names))
        done = results(answers, _described)
        return {"provider": classify.provider, **done, "seconds": {"load": loaded, **classify.timing.seconds()}}


def _described(item: Item, labels: list[LabelScore]) -> dict[str, object]:
    return {"input": item.name, "labels": [dataclasses.asdict(label) for label in labels]}
