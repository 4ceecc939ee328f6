"""`perceiver run BUNDLE … --jsonl ANSWERS.jsonl`: many inputs to a table of answers, of any task."""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from perceiver_runtime.bundle.manifest import Manifest
from perceiver_runtime.bundle.reader import open_bundle
from perceiver_runtime.common.errors import InputError, UsageError
from perceiver_runtime.common.plain import json_object
from perceiver_runtime.tasks.arguments import positive
from perceiver_runtime.tasks.jobs.lines import Lines, run_id
from perceiver_runtime.tasks.jobs.listing import STANDARD_INPUT, Entry, count_lines, list_file, named, read_entry
from perceiver_runtime.tasks.jobs.mapping import in_batches
from perceiver_runtime.tasks.jobs.tally import SHOWN_ERRORS, Tally
from perceiver_runtime.tasks.kinds.kind import InputKind
from perceiver_runtime.tasks.outputs import add_force, check_outputs
from perceiver_runtime.tasks.several import Answer, Item
from perceiver_runtime.tasks.task import Load, Task

_WANTED = ("--jsonl", "--csv", "--from-file")


def asked_for(argv: Sequence[str]) -> bool:
    """Whether a command line wants a table."""
    return _has(argv, *_WANTED)


def _has(argv: Sequence[str], *options: str) -> bool:
    return any(argument.partition("=")[0] in options for argument in argv)


def add_table_options(parser: argparse.ArgumentParser) -> Any:
    """What makes a table of a run; the group of these options."""
    group = parser.add_argument_group("a table of many inputs", "folders, patterns such as 'photos/**/*.jpg', or - for lines")
    group.add_argument("--jsonl", metavar="FILE", help="write a JSON object a line for each input, as answers come")
    group.add_argument("--csv", metavar="FILE", help="write a table with the best answer to each input")
    group.add_argument("--from-file", metavar="LIST", help="inputs, one a line: a text, a path, or paths with tabs between")
    group.add_argument("--resume", action="store_true", help="go on with the table that is there")
    group.add_argument("--retry-failed", action="store_true", help="the same, and try again what failed")
    return group


def add_arguments(parser: argparse.ArgumentParser, task: Task, manifest: Manifest, argv: Sequence[str]) -> None:
    """What follows the bundle where `argv` wants a table."""
    count = "*" if _has(argv, "--from-file") else "+"  # with * argparse takes none that follow an option
    kind = task.kind(manifest)
    columns = ", ".join((*kind.columns, *kind.optional))
    parser.add_argument("inputs", nargs=count, metavar="INPUT", help=f"{columns}: named as without a table")
    group = add_table_options(parser)
    group.add_argument("--batch", type=positive, default=1, metavar="N", help="inputs run at once (default: 1)")
    add_force(parser)
    task.command.add_options(parser)


def run(arguments: argparse.Namespace, task: Task, load: Load) -> dict[str, object]:
    """Answer each input, write its line, and say how it went. Raises `InputError` before any work where that cannot be."""
    if (arguments.jsonl is None) == (arguments.csv is None):
        raise UsageError("give --jsonl FILE or --csv FILE, one of them: where the answers go")
    if arguments.inputs and arguments.from_file:
        raise UsageError("give inputs, or --from-file LIST with an input a line: one of them")
    output = arguments.jsonl or arguments.csv
    resume = (arguments.resume or arguments.retry_failed) and not arguments.force
    check_outputs([output], force=arguments.force or resume)
    bundle = open_bundle(arguments.bundle)
    kind = task.kind(bundle.manifest)
    if kind.from_row is None:
        raise UsageError(f"{arguments.bundle} takes {kind.name}, which no table can name: call its pipeline yourself")
    options = task.command.options(arguments)
    from_lines = bool(arguments.from_file) or arguments.inputs == [STANDARD_INPUT]
    if task.takes_plain:
        options["plain"] = from_lines or getattr(arguments, "plain", False)
    if arguments.from_file:
        total: int | None = count_lines(arguments.from_file)
        entries: Iterator[Entry] = list_file(arguments.from_file, kind)
    elif from_lines:
        total, entries = None, named(arguments.inputs, kind)
    else:
        listed = list(named(arguments.inputs, kind))
        total, entries = len(listed), iter(listed)
    columns = None if arguments.csv is None else task.columns_of(bundle.manifest)
    start = time.perf_counter()
    with load() as pipeline:
        loaded = time.perf_counter() - start
        lines = Lines(output, run_id(bundle, options), columns, resume=resume)
        try:
            again = _skip(lines, entries, retry=arguments.retry_failed)
            tally = Tally(len(lines.done) - len(again), total)
            answer = _answers(task, pipeline, options, rows=columns is not None)

            def answered(items: Iterator[Item]) -> Iterator[Answer]:
                return in_batches(items, arguments.batch, answer)

            with tally.bar():
                if again:
                    lines.replace_failed(_answer_entries(iter(again), tally, answered, kind))
                if lines.failed:
                    tally.failed_before(output, len(lines.failed))
                for shown, value in _answer_entries(entries, tally, answered, kind):
                    lines.write(tally.done - 1, shown, value)
        finally:
            lines.close()
        result: dict[str, object] = {"provider": pipeline.provider, "written": output, **tally.result()}
        return {**result, "seconds": {"load": loaded, **pipeline.timing.seconds()}}


def _skip(lines: Lines, entries: Iterator[Entry], *, retry: bool) -> list[Entry]:
    """Pass over the inputs that have their line, and with `retry` give those that failed.

    Raises `InputError` where the inputs are others, or fewer.
    """
    failed, again = set(lines.failed) if retry else set(), []
    for number in range(len(lines.done)):
        entry = next(entries, None)
        if entry is None:
            found = f"the table has {len(lines.done)} lines, there are {number} inputs"
            raise InputError(f"{found}: give the inputs that it was made of")
        lines.check_input(number, entry.shown)
        again += [entry] if number in failed else []
    return again


def _answers(task: Task, pipeline: Any, options: dict[str, Any], *, rows: bool) -> Callable[[list[Any]], list[Any]]:
    """From items to what their lines hold."""
    if rows:
        return lambda items: list(task.rows(pipeline, items, **options))
    return lambda items: [json_object(each) for each in task.answer(pipeline, items, options)]


def _answer_entries(
    entries: Iterator[Entry], tally: Tally, answered: Callable[[Iterator[Item]], Iterator[Answer]], kind: InputKind
) -> Iterator[tuple[str | list[str], dict[str, Any]]]:
    """What names each entry, and what its line holds."""
    for_lines, for_answers = itertools.tee(entries)  # apart by a batch at most
    items = (read_entry(entry, kind) for entry in for_answers)
    for entry, (item, value) in zip(for_lines, answered(items)):
        failed = isinstance(value, InputError)
        tally.count(item.name, value if failed else None)
        yield entry.shown, {"error": str(value)} if failed else value


def render(result: dict[str, Any]) -> str:
    """The same for people."""
    new = result["inputs"] - result["skipped"]
    kept = f", {result['skipped']} were there already" if result["skipped"] else ""
    lines = [f"wrote {result['written']}: {new} inputs{kept}; {result['failed']} failed"]
    if result["failed"] > SHOWN_ERRORS:
        lines.append(f"the first {SHOWN_ERRORS} errors are below, all in {result['written']}")
    stages = ", ".join(f"{stage} {value:.3f}" for stage, value in result["seconds"].items())
    return "\n".join([*lines, f"on {result['provider']}, seconds: {stages}"])
