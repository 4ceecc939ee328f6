"""The job that `examples/ray_table.py` is: its options, what is left to do, the answers, and how it ended."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import socket
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np

from perceiver_runtime.bundle.reader import open_bundle
from perceiver_runtime.common.errors import BackendError, InputError, PerceiverError, UsageError
from perceiver_runtime.common.progress_bar import progress_bar
from perceiver_runtime.common.terminal import CommandParser, one_line, write_lines
from perceiver_runtime.ray.answers import BUNDLE, IDENTITY, Answers
from perceiver_runtime.ray.crew import Crew, Task
from perceiver_runtime.ray.library import library
from perceiver_runtime.ray.remote import is_address
from perceiver_runtime.ray.rows import ERROR
from perceiver_runtime.ray.sources import ID, Source, check_ids, open_source
from perceiver_runtime.tasks.arguments import positive
from perceiver_runtime.tasks.jobs.tally import SHOWN_ERRORS
from perceiver_runtime.tasks.loading import check_task

INTERRUPTED, TERMINATED = 130, 143


def build_parser(about: str | None) -> argparse.ArgumentParser:
    """The options of the job."""
    parser = CommandParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("input", help="a folder, or a .parquet or .csv file with a column id; also at an address such as s3://")
    parser.add_argument("output", help="the folder of the answers; those that are there are not computed again")
    parser.add_argument("--actors", type=positive, default=1, help="processes, each with the bundle loaded (default: 1)")
    parser.add_argument("--threads", type=positive, default=1, help="and cores for each run in them (default: 1)")
    parser.add_argument(
        "--parallel", type=positive, default=1, help="runs at once in an actor, which share its weights (default: 1)"
    )
    parser.add_argument("--batch-size", type=positive, help="rows of a run (default: as many as take a quarter of a second)")
    parser.add_argument("--device", default="cpu", help="as perceiver run --device (default: cpu)")
    parser.add_argument("--address", help="of a Ray cluster (default: this machine alone)")
    parser.add_argument("--save-every", type=float, default=10.0, metavar="SECONDS", help="a file of answers (default: 10)")
    parser.add_argument("--retry-errors", action="store_true", help="answer rows that have an error again")
    parser.add_argument("--fresh", action="store_true", help="remove the answers that are there, also of another bundle")
    parser.add_argument(
        "--fail-on-errors", action="store_true", help="exit code 1 where a row has an error, in all that is there"
    )
    return parser


def main(arguments: Sequence[str] | None = None, about: str | None = None) -> int:
    """Run the job and return the exit code; errors are one line on stderr."""
    parser = build_parser(about)
    options = parser.parse_args(arguments)
    try:
        return _run(options)
    except PerceiverError as error:
        message, code = str(error), error.exit_code
    except OSError as error:
        message, code = f"{error.filename or 'a file'}: {error.strerror or error}", 1
    except KeyboardInterrupt:
        message, code = f"interrupted; what was answered is in {options.output}: the same command does the rest", INTERRUPTED
    except SystemExit as error:
        message, code = f"terminated; what was answered is in {options.output}: the same command does the rest", TERMINATED
        if error.code != TERMINATED:
            raise
    write_lines(one_line(f"{parser.prog}: {message}"), sys.stderr)
    return code


def _run(options: argparse.Namespace) -> int:
    options.bundle = options.bundle.absolute()
    if is_address(options.output):
        raise UsageError(f"{options.output} is an address: give a folder for the answers, and copy it there afterwards")
    options.output = Path(options.output).absolute()
    options.input = options.input if is_address(options.input) else str(Path(options.input).absolute())
    bundle = open_bundle(options.bundle)
    task = check_task(bundle, None)
    kind = task.kind(bundle.manifest)
    if kind.from_row is None:
        raise UsageError(f"{options.bundle} takes {kind.name}, which tables have no column for: call its pipeline yourself")
    source = open_source(options.input, kind, (*task.columns_of(bundle.manifest), ERROR, BUNDLE, IDENTITY))
    ids = check_ids(source)
    answers = Answers(options.output, bundle.manifest_sha256, fresh=options.fresh, seconds=options.save_every)
    try:
        left = _left(source, ids, answers, retry=options.retry_errors)
        if left:
            _answer(options, source, left, answers)
    finally:
        answers.close()
    return _report(options, answers, set(ids))


def _left(source: Source, ids: list[Any], answers: Answers, *, retry: bool) -> set[Any]:
    """The ids without an answer; those whose input has changed, and errors that are tried again, are taken out."""
    done = answers.done
    if not done:
        return set(ids)
    changed = {row[ID] for row in source.rows() if row[ID] in done and done[row[ID]].identity != source.identity(row)}
    failed = {each for each in ids if retry and each in done and done[each].failed}
    answers.remove(changed | failed)
    if changed:
        _say(f"{len(changed)} inputs have changed since they were answered: they are answered again")
    return {each for each in ids if each not in done}


def _answer(options: argparse.Namespace, source: Source, left: set[Any], answers: Answers) -> None:
    """Start Ray, and write the answers as they come."""
    pipeline = {name: getattr(options, name) for name in ("device", "threads", "parallel")} | {"batch": options.batch_size}
    with _connected(options) as ray, progress_bar("rows", len(left)) as bar:
        crew = Crew(ray, str(options.bundle), pipeline, size=options.actors)
        for batch, columns in crew.answers(_tasks(source, left)):
            answers.add(_row(task.source, columns, place) for place, task in enumerate(batch))
            for _ in batch:
                bar.step()


def _tasks(source: Source, left: set[Any]) -> Iterator[Task]:
    for row in source.rows():
        if row[ID] in left:
            kept = {name: value for name, value in row.items() if not isinstance(value, (bytes, np.ndarray, dict, list))}
            yield Task({**kept, IDENTITY: source.identity(row)}, source.opened(row))


def _row(source: dict[str, Any], columns: dict[str, Any], place: int) -> dict[str, Any]:
    return {**source, **{name: column[place] for name, column in columns.items()}}


@contextlib.contextmanager
def _connected(options: argparse.Namespace) -> Iterator[Any]:
    """Ray, on this machine or a cluster, until the end of the block. Raises `BackendError`."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    ray = library("ray")
    if options.address:
        _check_reachable(options.address)
    local = {"num_cpus": options.actors * options.threads * options.parallel, "include_dashboard": False}
    os.chdir(os.sep)  # Ray puts the current folder first on its workers' module path: a queue.py there would be run
    try:
        ray.init(
            address=options.address or "local",
            logging_level="error",
            log_to_driver=False,
            **({} if options.address else local),
        )
    except Exception as error:  # of many kinds; a machine that is too busy gives a bare Exception
        reason = " ".join(str(error).split())[:300]
        raise BackendError(f"Ray does not start, or the cluster cannot be reached: {reason}") from error
    try:
        with _terminated():
            yield ray
    finally:
        ray.shutdown()


def _check_reachable(address: str) -> None:
    """Raise `BackendError` where nothing listens: Ray itself tries for minutes."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if not host or not port.isdigit():  # such as auto
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
    except (OSError, OverflowError) as error:
        raise BackendError(f"no Ray cluster is at {address} ({error}): give the address that `ray start` printed") from error


@contextlib.contextmanager
def _terminated() -> Iterator[None]:
    """SIGTERM ends the block as Ctrl-C does, so that what was answered is written. Ray has set a handler of its own by now."""

    def end(number: int, frame: FrameType | None) -> None:
        raise SystemExit(TERMINATED)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _report(options: argparse.Namespace, answers: Answers, ids: set[Any]) -> int:
    errors = answers.errors()
    lines = [f"{len(answers.done)} rows in {options.output}, {len(errors)} of them with an error"]
    lines += [f"  {each}: {why}" for each, why in errors[:SHOWN_ERRORS]]
    if len(errors) > SHOWN_ERRORS:
        lines.append(f"  … and {len(errors) - SHOWN_ERRORS} more: the column error says why")
    other = sum(each not in ids for each in answers.done)
    if other:
        lines.append(f"  {other} of the rows are of inputs that are not in {options.input} now")
    for line in lines:
        write_lines(one_line(line), sys.stdout)
    return InputError.exit_code if errors and options.fail_on_errors else 0


def _say(message: str) -> None:
    write_lines(one_line(message), sys.stderr)
