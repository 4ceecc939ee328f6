"""`perceiver run` for video classification."""

from __future__ import annotations

import argparse
import time
from functools import partial
from typing import Any

from perceiver_runtime.bundle.manifest import Manifest
from perceiver_runtime.files.clips import read_clip
from perceiver_runtime.tasks.arguments import positive
from perceiver_runtime.tasks.kinds.video import VIDEO
from perceiver_runtime.tasks.labels import LabelScores
from perceiver_runtime.tasks.several import Answer, Item, answered, attempt, results
from perceiver_runtime.tasks.task import Load


def add_arguments(parser: argparse.ArgumentParser, manifest: Manifest) -> None:
    """What follows the bundle."""
    VIDEO.add_arguments(parser, manifest.processor)
    add_options(parser)


def add_options(parser: argparse.ArgumentParser) -> None:
    """--top-k."""
    parser.add_argument("--top-k", type=positive, default=5, metavar="N", help="how many labels to print (default: 5)")


def options(arguments: argparse.Namespace) -> dict[str, Any]:
    """The same, for the pipeline."""
    return {"top_k": arguments.top_k}


def run(arguments: argparse.Namespace, load: Load) -> dict[str, object]:
    """Labels of each clip, one after the other: frames take memory."""
    start = time.perf_counter()
    with load() as classify:
        loaded = time.perf_counter() - start
        answers: list[Answer] = []
        for name in arguments.inputs:
            item = Item(name, attempt(partial(read_clip, name)))
            answers += [
                Answer(found._replace(value=None), value)
                for found, value in answered([item], partial(classify, **options(arguments)))
            ]
        done = results(answers, _described)
        return {"provider": classify.provider, **done, "seconds": {"load": loaded, **classify.timing.seconds()}}


def _described(item: Item, labels: LabelScores) -> dict[str, object]:
    return {"input": item.name, **labels.to_dict()}
