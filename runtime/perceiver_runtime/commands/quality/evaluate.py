"""`perceiver evaluate BUNDLE DATA`: how good a bundle is on data whose right answers are known."""

from __future__ import annotations

import argparse
from collections import deque
from collections.abc import Iterator
from typing import Any

from perceiver_runtime.bundle.reader import open_bundle
from perceiver_runtime.commands.arguments import add_bundle, add_device, runtime_options
from perceiver_runtime.common.errors import InputError, UsageError
from perceiver_runtime.files.images import check_picture_ending, write_image
from perceiver_runtime.tasks.arguments import positive
from perceiver_runtime.tasks.jobs.data import examples, labelled_rows
from perceiver_runtime.tasks.jobs.mapping import in_batches
from perceiver_runtime.tasks.jobs.tally import SHOWN_ERRORS, Tally
from perceiver_runtime.tasks.loading import check_task, open_pipeline
from perceiver_runtime.tasks.metrics.metric import Metric
from perceiver_runtime.tasks.outputs import add_force, check_outputs
from perceiver_runtime.tasks.registry import find_task
from perceiver_runtime.tasks.several import Item, attempt
from perceiver_runtime.tasks.task import Task


def add_parser(commands: Any) -> None:
    """Declare the subcommand."""
    parser = commands.add_parser(
        "evaluate",
        help="measure how good a bundle is on your data",
        description="Measure how good a bundle is on data whose right answers are known. Labels: accuracy, of each class, and "
        "what it is taken for. Flow: the end-point error and KITTI's outliers. Masked texts: how often a span is right. "
        "Labelled spans: F1. Questions: exact match and F1. Boxes: mean average precision at an overlap of 0.5.",
    )
    add_bundle(parser)
    help_text = "a CSV file with the columns of an input and its right answer (label, flow, answer, spans, objects); "
    help_text += "a folder with one for each class; KITTI's folders; folders of two frames and a .flo file"
    parser.add_argument("data", metavar="DATA", help=help_text)
    add_device(parser)
    parser.add_argument("--batch", type=positive, default=1, metavar="N", help="inputs run at once (default: 1)")
    parser.add_argument("-o", "--output", metavar="PNG", help="write which classes are taken for which, as a picture")
    add_force(parser)
    parser.set_defaults(function=run, render=render)


def metric_of(task: Task, bundle: str) -> Metric:
    """The task's metric. Raises `UsageError` where it has none."""
    if task.metric is None:
        raise UsageError(f"{bundle} is for {task.name}, which names no metric: score its answers yourself, see --jsonl of run")
    return task.metric


def call_options(task: Task, metric: Metric) -> dict[str, Any]:
    """What the pipeline is called with; texts of tables are plain."""
    return {**(metric.options or {}), **({"plain": True} if task.takes_plain else {})}


def run(arguments: argparse.Namespace) -> dict[str, object]:
    """Answer each input, and score the answers. Raises `InputError` where none could be scored."""
    check_outputs([arguments.output], force=arguments.force)
    if arguments.output:
        check_picture_ending(arguments.output)
    bundle = open_bundle(arguments.bundle)
    task = check_task(bundle, None)
    metric, kind, truths = metric_of(task, arguments.bundle), task.kind(bundle.manifest), deque[Any]()

    with open_pipeline(bundle, runtime_options(arguments)) as pipeline:
        score, options = metric.score(pipeline), call_options(task, metric)
        rows = labelled_rows(arguments.data, metric, kind)

        def items() -> Iterator[Item]:
            for item, truth in examples(rows, metric, kind):
                truths.append(truth)
                yield item

        tally = Tally(0, len(rows))
        scored = 0
        with tally.bar():
            for item, value in in_batches(items(), arguments.batch, lambda batch: task.answer(pipeline, batch, options)):
                truth = truths.popleft()
                error = value if isinstance(value, InputError) else attempt(lambda: score.add(value, truth))  # noqa: B023
                scored += error is None
                tally.count(item.name, error)
        counts: dict[str, Any] = tally.result()
        if not scored:
            raise InputError(
                f"none of the {len(rows)} inputs of {arguments.data} could be scored: {counts['errors'][0]['error']}"
            )
        if arguments.output:
            picture = score.picture()
            if picture is None:
                raise UsageError(f"{task.name} has no classes to make a picture of: leave out -o")
            write_image(arguments.output, picture)
        written = [arguments.output] if arguments.output else []
        result: dict[str, object] = {"bundle": str(bundle.folder), "task": task.name, "provider": pipeline.provider}
        return {**result, "data": arguments.data, "scored": scored, **counts, **score.result(), "written": written}


def render(result: dict[str, Any]) -> str:
    """The same for people."""
    task = find_task(result["task"])
    assert task is not None
    assert task.metric is not None
    lines = [f"{result['bundle']} on {result['scored']} of {result['inputs']} inputs of {result['data']}, {result['provider']}"]
    lines += task.metric.render(result)
    lines += [f"wrote {name}" for name in result["written"]]
    if result["failed"] > SHOWN_ERRORS:
        lines.append(f"the first {SHOWN_ERRORS} of {result['failed']} errors are below")
    return "\n".join(lines)
