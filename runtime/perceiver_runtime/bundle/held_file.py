"""A file kept open from before it is hashed: its name may lead elsewhere later, the descriptor does not.

Engines open weights by name, so they are given one that leads through a descriptor (`/proc/self/fd`, on Linux), whatever
happens to the bundle's folder meanwhile. Elsewhere they are given the real path, which is checked before and after.

Engines keep weights mapped. Whoever writes into the file changes what is computed, so `check` looks for that before each run.
It cannot see a change during a run, and a file that is cut short during a run ends the process (SIGBUS).

Weights take as long to hash as an engine takes to pack them, so both may happen at once: nothing is run before `check`.
"""

from __future__ import annotations

import contextlib
import hashlib
import mmap
import os
import shutil
import stat
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from perceiver_runtime.common.errors import IntegrityError

_CHUNK = 1 << 20
_TICK = 0.02  # seconds; Linux keeps times of files by ticks of 1 to 10 ms
_DESCRIPTORS = Path("/proc/self/fd")
_ATTEMPTS = 5  # at reading a file that is touched meanwhile, before it is refused
State = tuple[int, ...]
T = TypeVar("T")


class TouchedError(IntegrityError):
    """A file was touched while an engine read it: written to, or only given another name, which nobody can tell afterwards."""


def steadily(work: Callable[[], T]) -> T:
    """What `work` returns, begun again where it ends in a `TouchedError`, a few times at most."""
    for _ in range(_ATTEMPTS - 1):
        with contextlib.suppress(TouchedError):  # what comes next compares the content
            return work()
    return work()


class HeldFile:
    """An open regular file, closed with the object."""

    def __init__(self, path: Path) -> None:
        """Open it, through links too. Raises `IntegrityError` where there is no regular file."""
        self.path = path
        self.descriptor = open_regular(path)
        self._close = weakref.finalize(self, os.close, self.descriptor)
        self._state = _state(os.fstat(self.descriptor))
        self._sha256: str | None = None  # that is expected, if any
        self._found: Future[str] | None = None
        self._lock = threading.Lock()

    @property
    def size(self) -> int:
        """Bytes, when it was opened."""
        return self._state[2]

    def expect(self, sha256: str, *, wait: bool = True) -> None:
        """Hash the content, which has to have this sha256, in hex; with `wait` off meanwhile, and `check` waits for the end.

        Raises `IntegrityError`, with `wait` off in `check`.
        """
        self._sha256 = sha256
        pool = ThreadPoolExecutor(1)
        self._found = pool.submit(self._hash)
        pool.shutdown(wait=False)
        if wait:
            self.check()

    def check(self) -> None:
        """Raise `IntegrityError` if the content is not what was expected, or changed since it was opened.

        Takes microseconds once it was hashed, unless the file was touched.
        """
        if self._found is not None and self._found.result() != self._sha256:
            raise IntegrityError(f"{self.path} is damaged: its sha256 is not the manifest's. Copy or export the bundle again")
        if _state(os.fstat(self.descriptor)) == self._state:
            return
        with self._lock:  # descriptors share a position
            self._compare()

    def _hash(self) -> str:
        with self._lock:
            return self._digest()

    def _compare(self) -> None:
        state = _state(os.fstat(self.descriptor))
        if state == self._state:  # another thread was here first
            return
        if state[2] != self.size or (self._sha256 is not None and self._digest() != self._sha256):
            raise IntegrityError(
                f"{self.path} was changed while it was in use: load the bundle again. To update one, write "
                "the new bundle beside it and rename"
            )
        self._state = state  # other times, owner or links, the same bytes

    @property
    def address(self) -> str:
        """A path that opens this very file in this process."""
        link = _DESCRIPTORS / str(self.descriptor)
        return str(link) if link.exists() else os.path.realpath(self.path)

    def put(self, path: Path, *, link: bool) -> None:
        """Give this file another name, a hard link, where that can be done and `link` is on; else write a copy."""
        self.check()
        if link:
            with contextlib.suppress(OSError, NotImplementedError):
                os.link(self.address, path, src_dir_fd=self.descriptor)  # else Python's link does not go through links
                return
        with self._lock, os.fdopen(os.dup(self.descriptor), "rb") as source, path.open("wb") as copy:
            source.seek(0)
            shutil.copyfileobj(source, copy, _CHUNK)
        self.check()

    @contextlib.contextmanager
    def mapped(self, *, wait: bool = True) -> Iterator[mmap.mmap]:
        """The content, mapped for an engine that copies it meanwhile, within `steadily`: `TouchedError` as with `named`.

        With `wait` off it may not be hashed yet: `check` before it is run.
        """
        self._settle(wait)
        with mmap.mmap(self.descriptor, 0, access=mmap.ACCESS_READ) as mapping:
            yield mapping
        if _state(os.fstat(self.descriptor)) != self._state:
            raise self._touched()

    @contextlib.contextmanager
    def named(self, *, wait: bool = True) -> Iterator[tuple[str, str]]:
        """A folder and a name in it that lead to this file, for an engine that opens it meanwhile, within `steadily`.

        With `wait` off it may not be hashed yet: `check` before it is run.

        Raises `IntegrityError` where the name leads elsewhere, then or at the end, or the content changed before;
        `TouchedError` where the file was touched meanwhile.
        """
        self._settle(wait)
        link = _DESCRIPTORS / str(self.descriptor)
        real = Path(os.readlink(link) if link.exists() else os.path.realpath(self.path))
        with contextlib.ExitStack() as stack:
            folder = str(real.parent)
            try:
                if link.exists():
                    held = os.open(real.parent, os.O_RDONLY | os.O_DIRECTORY)
                    stack.callback(os.close, held)
                    folder = str(_DESCRIPTORS / str(held))
                self._is_at(os.path.join(folder, real.name))
                try:
                    yield folder, real.name
                finally:
                    self._is_at(os.path.join(folder, real.name))
            except OSError as error:
                raise IntegrityError(f"{self.path} has gone since the bundle was opened: load it again") from error

    def _settle(self, wait: bool) -> None:
        if abs(time.time_ns() - self._state[4]) < _TICK * 1e9:
            time.sleep(_TICK)  # so that a change from here on gets another time
        if wait or _state(os.fstat(self.descriptor)) != self._state:
            self.check()

    def _is_at(self, name: str) -> None:
        state = _state(os.lstat(name))
        if state[:2] != self._state[:2]:
            raise IntegrityError(f"{self.path} changed since the bundle was opened: load it again")
        if state != self._state:
            raise self._touched()

    def _touched(self) -> TouchedError:
        return TouchedError(f"{self.path} is touched again and again while it is read: load the bundle again")

    def _digest(self) -> str:
        digest = hashlib.sha256()
        with os.fdopen(os.dup(self.descriptor), "rb", buffering=0) as file:
            file.seek(0)
            while piece := file.read(_CHUNK):
                digest.update(piece)
        return digest.hexdigest()


def open_regular(path: Path) -> int:
    """A descriptor of a regular file. Raises `IntegrityError` where there is none; never waits for a pipe."""
    flags = os.O_RDONLY
    for flag in ("O_NONBLOCK", "O_BINARY"):  # each where the system has it
        flags |= getattr(os, flag, 0)
    try:
        descriptor = os.open(path, flags)
    except OSError as error:
        raise IntegrityError(f"{path} is missing or cannot be read: copy the bundle again ({error.strerror})") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise IntegrityError(f"{path} is not a regular file: copy the bundle again")
    return descriptor


def _state(status: os.stat_result) -> State:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
