"""Files that a command writes: checked before any work is done for them."""

from __future__ import annotations

import argparse
import contextlib
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from perceiver_runtime.bundle.reader import is_bundle
from perceiver_runtime.common.errors import InputError
from perceiver_runtime.common.terminal import is_terminal, one_line, printable, write_lines


def add_force(parser: argparse.ArgumentParser) -> None:
    """--force."""
    parser.add_argument("--force", action="store_true", help="overwrite output files")


def check_outputs(names: list[str | None], *, force: bool) -> list[Path]:
    """The outputs asked for. Raises `InputError` for one that is there already, or has no folder to go to, or
    would go into a bundle.
    """
    paths = [Path(name) for name in names if name]
    if len({path.absolute() for path in paths}) < len(paths):
        raise InputError(f"two outputs are to be {paths[0]}: give each its own name")
    for path in paths:
        check_outside_bundles(path)
        if path.exists() and not force:
            raise InputError(f"{path} is already there: give another name, or --force to overwrite it")
        if not path.parent.is_dir():
            raise InputError(f"there is no folder {path.parent} to write {path.name} to: create it first")
    return paths


def check_outside_bundles(path: Path) -> None:
    """Raise `InputError` for a path in a bundle's folder: nothing is written there."""
    try:
        target = path.absolute().resolve()
    except (OSError, RuntimeError) as error:  # the latter of links that lead in a circle
        raise InputError(f"{path} cannot be written: {error}") from error
    folder = next((folder for folder in target.parents if is_bundle(folder)), None)
    if folder is not None:
        raise InputError(
            f"{path} would go into the bundle {folder}: write it beside, for example to {folder.parent / path.name}"
        )


def progress(what: str) -> Callable[[int, int], None]:
    """Progress on stderr, where that is a terminal."""

    def report(done: int, total: int) -> None:
        if is_terminal(sys.stderr):
            print(f"\r{done} of {total} {what}", end="\n" if done == total else "", file=sys.stderr, flush=True)

    return report


@contextlib.contextmanager
def progress_line() -> Iterator[Callable[[str], None]]:
    """A line on stderr that says what is being done, where that is a terminal; it is gone at the end."""
    shown = is_terminal(sys.stderr)

    def report(text: str) -> None:
        if shown:
            print(f"\r\033[K{printable(text[:100])}", end="", file=sys.stderr, flush=True)

    try:
        yield report
    finally:
        report("")


@contextlib.contextmanager
def warnings_as_lines(command: str, *kinds: type[Warning]) -> Iterator[None]:
    """A line on stderr for each warning of these kinds, without its place in the code."""
    with warnings.catch_warnings():
        usual = warnings.showwarning

        def show(message: Warning | str, category: type[Warning], *place: Any, **options: Any) -> None:
            if issubclass(category, kinds):
                write_lines(one_line(f"{command}: {message}"), sys.stderr)
            else:
                usual(message, category, *place, **options)

        warnings.showwarning = show
        yield
