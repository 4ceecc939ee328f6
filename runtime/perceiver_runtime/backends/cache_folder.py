"""The user's folder of what was built here for this machine: engines, and what kernels were measured or compiled.

It is $PERCEIVER_CACHE, else perceiver in $XDG_CACHE_HOME, else ~/.cache/perceiver. What is in it runs as code, so each of its
folders is the user's own (mode 0700, refused otherwise).
"""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

from perceiver_runtime.common.errors import BackendError


def cache_folder() -> Path:
    """Where this user's are kept."""
    own = os.environ.get("PERCEIVER_CACHE")
    return Path(own) if own else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "perceiver"


def private_folder(folder: Path) -> Path:
    """`folder`, made if it is not there. Raises `BackendError` where it is somebody else's, a link, or open to others."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as reason:
        raise BackendError(f"{folder} cannot be made ({reason.strerror}): name a folder in PERCEIVER_CACHE") from reason
    status = os.lstat(folder)
    own = not hasattr(os, "getuid") or (status.st_uid == os.getuid() and not status.st_mode & 0o077)
    if not stat.S_ISDIR(status.st_mode) or not own:
        raise BackendError(
            f"{folder} is a link, somebody else's, or open to others, and engines run as code: remove it, or chmod 700"
        )
    return folder


def write_whole(path: Path, data: bytes) -> None:
    """A temporary file beside `path`, on the disk, then renamed: never half of it."""
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".partial", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
