"""`perceiver verify --isolated BUNDLE`: the same in a child process with limits, for bundles from strangers.

A graph may ask for all memory or for hours, or find a fault in an engine that ends the process. So this process opens nothing
of the bundle: it adds up the sizes of its files, starts a child with limits on its memory, its processor time and the files
that it writes, and reads what that child says as a record of bounded size. The child runs in an empty folder, with few of the
environment's variables, on the CPU.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import os
import re
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from perceiver_runtime.backends.cores import available_cores
from perceiver_runtime.backends.selection import DEVICE_RECORDS
from perceiver_runtime.bundle.graph_check import MAX_GRAPH_BYTES
from perceiver_runtime.common.amounts import MEGABYTE
from perceiver_runtime.common.children import own_module
from perceiver_runtime.common.errors import (
    BackendError,
    InputError,
    IntegrityError,
    PerceiverError,
    UsageError,
    VerificationError,
)
from perceiver_runtime.common.records import parse_json, record
from perceiver_runtime.tasks.arguments import memory, positive

CHILD = "perceiver_runtime"  # the module that runs as a process of its own
MAX_OUTPUT = 1 << 20  # bytes
_DEVICES = ("auto", *(name for name, device in DEVICE_RECORDS.items() if device.is_cpu))
_BASE_MEMORY, _MEMORY_PER_BYTE = 3 << 30, 4  # of addresses: libraries, threads and values, and what is read and copied
_BASE_SECONDS, _BYTES_PER_SECOND = 300, 4 << 20
_MAX_THREADS = 4  # each takes addresses
_VARIABLES = ("PATH", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "ORT_DISABLE_TELEMETRY")  # that the child is given
_NO_MEMORY = re.compile(
    r"(not enough|out of|allocate) memory|memoryerror|unable to allocate|memory allocation|bad[_ ]alloc|failed to map segment",
    re.IGNORECASE,
)
_ERRORS = {kind.exit_code: kind for kind in (InputError, UsageError, VerificationError, IntegrityError, BackendError)}


@dataclass(frozen=True)
class Limits:
    """What the child may take: bytes of addresses, seconds of its processors and of the clock."""

    memory: int
    cpu_seconds: int
    seconds: int


@dataclass(frozen=True)
class Failure:
    """What a command says with `--json` where it failed."""

    error: str
    exit_code: int


@dataclass(frozen=True)
class Figures:
    """Of an output of the known answer."""

    values: int
    max_error: float
    mean_error: float
    spread: float
    tolerance: float


@dataclass(frozen=True)
class Verified:
    """What `perceiver verify --json` says."""

    bundle: str
    outputs: Mapping[str, Figures]
    provider: str


def add_limits(parser: argparse.ArgumentParser) -> None:
    """--isolated and its limits."""
    parser.add_argument("--isolated", action="store_true", help="in a process of its own with limits, for a stranger's bundle")
    text = "with --isolated: addresses that it may take, such as 4GB (default: 3 GiB and four times the files)"
    parser.add_argument("--limit-memory", type=memory, metavar="MEMORY", help=text)
    text = "with --isolated: seconds of processor time (default: 300 and one more for each 4 MiB of files)"
    parser.add_argument("--limit-cpu", type=positive, metavar="SECONDS", help=text)
    text = "with --isolated: seconds by the clock (default: as --limit-cpu)"
    parser.add_argument("--limit-time", type=positive, metavar="SECONDS", help=text)


def limits(arguments: argparse.Namespace) -> Limits:
    """What was asked for, or defaults by the sizes of the bundle's files. Raises `InputError`."""
    try:
        sizes = sum(entry.stat().st_size for entry in os.scandir(arguments.bundle) if entry.is_file())
    except OSError as error:
        raise InputError(f"there is no bundle at {arguments.bundle} ({error.strerror}): give a folder") from error
    whole = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    usual = min(_BASE_MEMORY + _MEMORY_PER_BYTE * sizes, max(whole, _BASE_MEMORY))
    seconds = arguments.limit_cpu or _BASE_SECONDS + min(sizes, whole) // _BYTES_PER_SECOND
    return Limits(arguments.limit_memory or usual, seconds, arguments.limit_time or seconds)


def verify_isolated(arguments: argparse.Namespace) -> dict[str, object]:
    """The result of `perceiver verify` in a child.

    Raises what it raises there, `VerificationError` where a limit was reached, `IntegrityError` where the process crashed.
    """
    _check_system()
    if arguments.device not in _DEVICES:
        raise UsageError(f"--isolated runs on the CPU, not on {arguments.device}: choose one of {', '.join(_DEVICES)}")
    allowed = limits(arguments)
    threads = arguments.threads or min(_MAX_THREADS, available_cores())
    options = ["--device", "cpu" if arguments.device == "auto" else arguments.device, "--threads", str(threads)]
    options += [] if arguments.max_memory is None else ["--max-memory", f"{arguments.max_memory}B"]
    options += [] if arguments.public_key is None else ["--public-key", os.path.abspath(arguments.public_key)]
    options += [] if arguments.manifest_sha256 is None else ["--manifest-sha256", arguments.manifest_sha256]
    command = ["verify", os.path.abspath(arguments.bundle), "--json", *options]
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        with tempfile.TemporaryDirectory(prefix="perceiver-") as folder:
            code = _run(command, allowed, Path(folder), output, errors)
        said, lines = _start(output), _start(errors).decode("utf-8", "replace").strip().splitlines()
    return _result(code, said, lines[-1][:500] if lines else "it said nothing", allowed)


def _check_system() -> None:
    try:
        importlib.import_module("resource")
        os.sched_getaffinity(0)
    except (ImportError, AttributeError) as error:
        raise BackendError(
            f"--isolated needs limits on processes, which this system does not have ({error}): verify the bundle on Linux, or "
            "in a container or virtual machine of its own"
        ) from error


def _run(arguments: list[str], allowed: Limits, folder: Path, output: IO[bytes], errors: IO[bytes]) -> int:
    """The child's exit code, or a signal's number below 0. Raises `VerificationError` where the clock ran out."""
    bounds = {
        "RLIMIT_CORE": (0, 0),
        "RLIMIT_AS": (allowed.memory, allowed.memory),
        "RLIMIT_CPU": (allowed.cpu_seconds, allowed.cpu_seconds + 1),
        "RLIMIT_FSIZE": (MAX_GRAPH_BYTES + MAX_OUTPUT, MAX_GRAPH_BYTES + MAX_OUTPUT),
    }
    given = {name: os.environ[name] for name in _VARIABLES if name in os.environ}
    given |= {"HOME": str(folder), "TMPDIR": str(folder), "OPENBLAS_NUM_THREADS": "1"}
    command = [*own_module(CHILD, limits=bounds), *arguments]
    with subprocess.Popen(
        command, cwd=folder, env=given, stdin=subprocess.DEVNULL, stdout=output, stderr=errors, start_new_session=True
    ) as child:
        try:
            return child.wait(allowed.seconds)
        except subprocess.TimeoutExpired:
            raise _reached(f"{allowed.seconds} s by the clock", "--limit-time") from None
        finally:
            if child.poll() is None:
                os.killpg(child.pid, signal.SIGKILL)


def _result(code: int, said: bytes, last: str, allowed: Limits) -> dict[str, object]:
    """What the child's end and its words come to."""
    memory_ended = _reached(f"{allowed.memory / MEGABYTE:.0f} MB of memory", "--limit-memory")
    if code == -signal.SIGXCPU:
        raise _reached(f"{allowed.cpu_seconds} s of processor time", "--limit-cpu")
    if code == -signal.SIGKILL or (code and not said and _NO_MEMORY.search(last)):  # systems kill what takes too much
        raise memory_ended
    if code < 0:
        name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
        raise IntegrityError(f"the bundle crashed the process that ran it ({name}; {last}): do not use it")
    if len(said) > MAX_OUTPUT:
        raise IntegrityError(f"the process that ran the bundle said more than {MAX_OUTPUT} bytes: do not use it")
    answer = parse_json(said or b"null", "what the process said that ran the bundle")
    if code == 0:
        return dataclasses.asdict(record(Verified, answer, "what the process said"))
    if answer is None:
        raise IntegrityError(f"the process that ran the bundle ended with code {code} ({last}): do not use it")
    failure = record(Failure, answer, "what the process said")
    if failure.exit_code != IntegrityError.exit_code and _NO_MEMORY.search(failure.error):
        raise memory_ended from PerceiverError(failure.error)
    raise _ERRORS.get(failure.exit_code, IntegrityError)(failure.error)


def _reached(limit: str, option: str) -> VerificationError:
    return VerificationError(f"the bundle was not verified: it reached {limit}; if you trust it with more, {option}")


def _start(file: IO[bytes]) -> bytes:
    file.seek(0)
    return file.read(MAX_OUTPUT + 1)
