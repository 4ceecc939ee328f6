"""`perceiver run` for image classification."""

from __future__ import annotations

import argparse
import time
from functools import partial
from typing import Any

from perceiver_runtime.bundle.manifest import Manifest
from perceiver_runtime.tasks.arguments import image_size, positive
from perceiver_runtime.tasks.jobs.listing import named, read_entry
from perceiver_runtime.tasks.jobs.mapping import in_batches
from perceiver_runtime.tasks.kinds.image import IMAGE
from perceiver_runtime.tasks.labels import LabelScores
from perceiver_runtime.tasks.outputs import progress
from perceiver_runtime.tasks.several import Answer, Item, results
from perceiver_runtime.tasks.task import Load


def add_arguments(parser: argparse.ArgumentParser, manifest: Manifest) -> None:
    """What follows the bundle."""
    help_text = "image files, with Pillow, or uint8 .npy arrays; folders and patterns of them; - reads names from stdin"
    parser.add_argument("images", nargs="+", metavar="IMAGE", help=help_text)
    add_options(parser)
    parser.add_argument("--batch", type=positive, default=1, metavar="N", help="images run at once (default: 1)")


def add_options(parser: argparse.ArgumentParser) -> None:
    """--top-k and --size."""
    parser.add_argument("--top-k", type=positive, default=5, metavar="N", help="how many labels to print (default: 5)")
    parser.add_argument("--size", type=image_size, metavar="N|HxW", help="another input size, where positions allow it")


def options(arguments: argparse.Namespace) -> dict[str, Any]:
    """The same, for the pipeline."""
    return {"top_k": arguments.top_k, "size": arguments.size}


def run(arguments: argparse.Namespace, load: Load) -> dict[str, object]:
    """Labels of each image."""
    entries, report = list(named(arguments.images, IMAGE)), progress("images")
    if len(entries) == 1:
        read_entry(entries[0], IMAGE)  # Pillow that is missing shows before the bundle is loaded
    start = time.perf_counter()
    with load() as classify:
        loaded = time.perf_counter() - start
        answers: list[Answer] = []
        call = partial(classify, **options(arguments))
        for answer in in_batches((read_entry(entry, IMAGE) for entry in entries), arguments.batch, call):
            answers.append(answer)
            report(len(answers), len(entries))
        done = results(answers, _described)
        return {"provider": classify.provider, **done, "seconds": {"load": loaded, **classify.timing.seconds()}}


def _described(item: Item, labels: LabelScores) -> dict[str, object]:
    return {"input": item.name, **labels.to_dict()}
