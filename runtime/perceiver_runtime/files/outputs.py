"""Writing files whole: what is there before stays until its replacement is complete."""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from perceiver_runtime.common.errors import InputError

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]


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


def open_alone(path: str, *, keep: bool) -> IO[bytes]:
    """A file, open for reading and writing, which no other process opens so until it is closed; empty unless `keep`.

    What is no regular file, such as a pipe, is opened for writing. Raises `OSError`, `InputError` where another process has it.
    Where the system has no such locks nobody can tell.
    """
    while True:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666)
        except OSError:
            return open(path, "wb")
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            os.close(descriptor)
            return open(path, "wb")
        try:
            if fcntl is not None:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise InputError(f"{path} is being written by another process: wait for it, or give another name") from None
        except OSError:
            pass  # a file system without locks
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(status, os.stat(path)):
                if not keep:
                    os.truncate(descriptor, 0)
                return os.fdopen(descriptor, "r+b")
        os.close(descriptor)  # another was renamed to it meanwhile: that one


def check_ending(path: str | Path, endings: Sequence[str], what: str) -> None:
    """Raise `InputError` unless the name has one of `endings`, or none at all."""
    path = Path(path)
    if path.suffix and path.suffix.lower() not in endings:
        raise InputError(f"{path} cannot be written: {what} has a name that ends in {' or '.join(endings)}")


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current
