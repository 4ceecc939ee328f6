"""Files by address, such as s3://bucket/cat.jpg, through pyarrow's file systems (S3, Google Cloud Storage, Azure, HDFS).

Credentials are found as these systems find them: the environment, files in the home folder, the machine's role.
"""

from __future__ import annotations

import re
from typing import Any

from perceiver_runtime.common.errors import InputError
from perceiver_runtime.files.sources import MAX_BYTES
from perceiver_runtime.ray.library import library

_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)
_NOT_HERE = ("http://", "https://", "ftp://", "data://")


def is_address(value: Any) -> bool:
    """Whether a value is an address, and no path."""
    return isinstance(value, str) and _ADDRESS.match(value) is not None


def file_system(address: str) -> tuple[Any, str]:
    """pyarrow's file system of an address, and the path on it. Raises `InputError`."""
    if address.lower().startswith(_NOT_HERE):
        raise InputError(
            f"{address[:200]} is an address of the web: download it first, or use s3://, gs://, abfs:// or hdfs://"
        )
    try:
        found, path = library("pyarrow.fs").FileSystem.from_uri(address)
    except (OSError, ValueError, NotImplementedError) as error:
        raise _unreadable(address, error) from error
    return found, path


def read_address(address: str) -> bytes:
    """The content of a file. Raises `InputError`."""
    system, path = file_system(address)
    try:
        with system.open_input_stream(path) as stream:
            content: bytes = stream.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        raise _unreadable(address, error) from error
    if len(content) > MAX_BYTES:
        raise InputError(f"{address[:200]} holds more than the {MAX_BYTES} bytes allowed")
    return content


def files_at(address: str) -> list[tuple[str, str]]:
    """The files of a folder, by name and address; none where the address is that of a file. Raises `InputError`."""
    system, path = file_system(address)
    selector = library("pyarrow.fs").FileSelector(path, allow_not_found=False)
    try:
        if system.get_file_info(path).is_file:
            return []
        infos = [info for info in system.get_file_info(selector) if info.is_file]
    except (OSError, ValueError) as error:
        raise _unreadable(address, error) from error
    return [(info.base_name, f"{address.rstrip('/')}/{info.base_name}") for info in infos]


def size_and_time(address: str) -> tuple[int, int] | None:
    """Of a file, in bytes and nanoseconds; None where there is none. Raises `InputError`."""
    system, path = file_system(address)
    try:
        info = system.get_file_info(path)
    except (OSError, ValueError) as error:
        raise _unreadable(address, error) from error
    return (info.size, info.mtime_ns or 0) if info.is_file else None


def _unreadable(address: str, error: Exception) -> InputError:
    reason = " ".join(str(error).split())[:300].rstrip(".")
    return InputError(f"{address[:200]} cannot be read ({reason}): check the address, credentials and network")
