"""Writing files whole: what is there before stays until its replacement is complete."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from perceiver_runtime.common.errors import InputError


@contextlib.contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """A path beside `path`, with the same ending, to write to; at the end it is renamed to `path`, on an error it is removed.

    A link is followed. What is no regular file, such as /dev/null or a pipe, is written to itself. Raises `InputError` for
    what the system refuses.
    """
    path = Path(path)
    try:
        target = path.resolve()
        if target.exists() and not target.is_file():
            yield path
            return
        handle, name = tempfile.mkstemp(prefix=f".{target.stem[:40]}.", suffix=target.suffix, dir=target.parent)
        os.close(handle)
        temporary = Path(name)
        try:
            yield temporary
            os.chmod(temporary, target.stat().st_mode & 0o777 if target.exists() else 0o666 & ~_umask())
            os.replace(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror or error}") from error
    except RuntimeError as error:
        if "Symlink loop" not in str(error):
            raise
        raise InputError(f"{path} cannot be written: {error}") from error


def check_ending(path: str | Path, endings: Sequence[str], what: str) -> None:
    """Raise `InputError` unless the name has one of `endings`, or none at all."""
    path = Path(path)
    if path.suffix and path.suffix.lower() not in endings:
        raise InputError(f"{path} cannot be written: {what} has a name that ends in {' or '.join(endings)}")


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current
