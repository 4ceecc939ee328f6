"""Writing a folder so that it is either complete or not there."""

from __future__ import annotations

import contextlib
import glob
import os
import platform
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from perceiver_runtime import InputError

_RETIRED = "-old"  # ends the name of what is being replaced


def check_destination(output: Path, *, force: bool) -> None:
    """Raise `InputError` if `output` cannot be written, before any work is done for it."""
    if output.exists() and not force:
        raise InputError(f"{output} is already there: choose another -o, or --force to replace it")
    if output.exists() and not (output / "manifest.json").is_file():
        raise InputError(f"{output} is there and is no bundle: --force replaces bundles only; choose another -o")
    parent = output.absolute().parent
    if not parent.is_dir():
        raise InputError(f"there is no folder {parent} to write {output.name} into: create it first")
    if not os.access(parent, os.W_OK):
        raise InputError(f"no permission to write into {parent}: choose another -o")


@contextlib.contextmanager
def staged_folder(output: Path, *, force: bool = False) -> Iterator[Path]:
    """A temporary folder beside `output` that becomes `output` when the block ends, and goes away if it fails.

    An existing bundle (with `force`) is replaced only at the very end. Killed outright, this leaves at most a folder
    named `.NAME.partial-…`, never a half-written `output`; `clean_up` removes it, or puts back the bundle that was about to be
    replaced.
    """
    check_destination(output, force=force)
    output = output.absolute()
    staging = Path(tempfile.mkdtemp(prefix=f"{_prefix(output)}{os.getpid()}-", dir=output.parent))
    try:
        yield staging
        _give_usual_permissions(staging)
        _move_into_place(staging, output)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise


def clean_up(output: Path) -> None:
    """Remove what processes of this machine that are no more left beside `output`; put back a bundle they had moved away."""
    output = output.absolute()
    for left in output.parent.glob(f"{glob.escape(_prefix(output))}*"):
        if _is_running(left.name.removeprefix(_prefix(output)).partition("-")[0]):
            continue
        if left.name.endswith(_RETIRED) and not output.exists():
            os.rename(left, output)
        else:
            shutil.rmtree(left, ignore_errors=True)


def _prefix(output: Path) -> str:
    """Of the names of folders that this machine's processes write for `output`."""
    return f".{output.name}.partial-{platform.node()}-"


def _is_running(number: str) -> bool:
    try:
        os.kill(int(number), 0)
    except ProcessLookupError:
        return False
    except (OSError, ValueError, OverflowError):  # somebody else's process, or no number of one
        return True
    return True


def _move_into_place(staging: Path, output: Path) -> None:
    retired = staging.with_name(staging.name + _RETIRED)
    replacing = output.exists()
    if replacing:
        os.rename(output, retired)
    try:
        os.rename(staging, output)
    except BaseException:
        if replacing:
            os.rename(retired, output)
        raise
    if replacing:
        shutil.rmtree(retired)


def _give_usual_permissions(folder: Path) -> None:
    """Temporary folders and safetensors files are private to the user; a bundle is as readable as any file made here."""
    mask = os.umask(0)
    os.umask(mask)
    folder.chmod(0o777 & ~mask)
    for path in folder.iterdir():
        path.chmod(0o666 & ~mask)
        with path.open("rb") as file:
            os.fsync(file.fileno())
