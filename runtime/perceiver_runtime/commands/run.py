"""`perceiver run BUNDLE …`: run a bundle on files or text. What follows the bundle depends on its task."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from perceiver_runtime.bundle.manifest import MAX_MANIFEST_BYTES, Manifest
from perceiver_runtime.commands.arguments import add_bundle, add_device, add_trust, load_for
from perceiver_runtime.commands.sample_inputs import is_sample_file, sample_inputs
from perceiver_runtime.common.errors import PerceiverError, UsageError
from perceiver_runtime.tasks.jobs import job
from perceiver_runtime.tasks.registry import BUILT_IN, find_task
from perceiver_runtime.tasks.task import RunCommand, Task

SAMPLE = "--sample"
_MORE = "BUNDLE --help says more, BUNDLE --sample runs the input that comes with the bundle."


def add_parser(commands: Any, argv: Sequence[str]) -> None:
    """Declare the subcommand, with the arguments of the task of the bundle that `argv` names."""
    found = _bundle(argv)
    manifest = found.manifest if found else None
    parser = commands.add_parser(
        "run",
        help="run a bundle on files or text",
        description=f"Run a {manifest.task} bundle." if manifest else "Run a bundle.",
        epilog=None if manifest else _usage(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_bundle(parser)
    add_device(parser)
    add_trust(parser)
    if found and manifest:
        parser.add_argument(SAMPLE, action="store_true", help="run the input that comes with the bundle, instead of others")
        task, command = found.task, found.task.command
        if job.asked_for(argv):
            job.add_arguments(parser, task, manifest, argv)
            parser.set_defaults(
                function=lambda arguments: job.run(arguments, task, lambda: load_for(arguments)), render=job.render
            )
        else:
            command.add_arguments(parser, manifest)
            job.add_table_options(parser)
            parser.set_defaults(function=lambda arguments: _run(arguments, command), render=command.render)
    else:
        parser.add_argument("inputs", nargs=argparse.REMAINDER, help="as the bundle's task takes them")
        parser.set_defaults(function=_without_bundle, render=str)


def _run(arguments: argparse.Namespace, command: RunCommand) -> dict[str, object]:
    if arguments.resume or arguments.retry_failed:
        raise UsageError("--resume goes on with a table: add --jsonl FILE or --csv FILE")
    result = command.run(arguments, lambda: load_for(arguments))
    for each in result.get("results", []) if arguments.sample else []:  # type: ignore[attr-defined]
        if is_sample_file(each.get("input", "")):
            each["input"] = "sample"
    return result


@contextlib.contextmanager
def with_sample(argv: Sequence[str]) -> Iterator[list[str]]:
    """`argv`, and for `perceiver run BUNDLE --sample` with the bundle's own input at the end, until the end."""
    found = _bundle(argv)
    if found is None or SAMPLE not in argv or argv[0] != "run":
        yield list(argv)
        return
    with sample_inputs(argv[found.place]) as inputs:
        yield [*argv, *inputs]


class _Bundle(NamedTuple):
    place: int  # in the arguments
    manifest: Manifest
    task: Task


def _usage() -> str:
    commands = {task.name: task.command.usage for task in BUILT_IN.values()}
    width = 2 + max(map(len, commands))
    lines = [f"  {name:{width}}{usage}" for name, usage in commands.items()]
    return "\n".join(["what follows BUNDLE depends on its task:", *lines, _MORE])


def _bundle(argv: Sequence[str]) -> _Bundle | None:
    """The first bundle in the arguments, if it can be run: to know what may follow. It is checked later."""
    for place, argument in list(enumerate(argv))[1:]:
        path = Path(argument) / "manifest.json"
        try:
            if not path.is_file():  # to open a named pipe would wait
                continue
            with path.open("rb") as file:
                manifest = Manifest.from_json(file.read(MAX_MANIFEST_BYTES + 1))
        except (OSError, ValueError, PerceiverError):
            continue
        task = find_task(manifest.task)
        return None if task is None else _Bundle(place, manifest, task)
    return None


def _without_bundle(arguments: argparse.Namespace) -> dict[str, object]:
    """There is none that can be run: loading it says why."""
    load_for(arguments).close()
    return {}
