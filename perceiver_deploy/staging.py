"""Writing a folder so that it is either complete or not there, and nothing of the user's is deleted for it.

A folder that is being written, or is about to be replaced, is held with a lock (flock) on the folder itself, which the system
gives up when its process ends, however it ends. Where the file system has no such locks (NFS refuses them on folders), nobody
can tell whether a folder is still being written: it is left where it is.
"""

from __future__ import annotations

import contextlib
import glob
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

from perceiver_runtime import InputError, IntegrityError
from perceiver_runtime.bundle.manifest import MAX_MANIFEST_BYTES, Manifest
from perceiver_runtime.bundle.origin.signature import FILE as SIGNATURE

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]

_RETIRED = "-old"  # ends the name of what is being replaced


def check_destination(output: Path, *, force: bool) -> None:
    """Raise `InputError` if `output` cannot be written, before any work is done for it.

    With `force` a bundle is replaced, and only a bundle: a folder whose manifest is one of ours and that holds nothing else.
    """
    output = resolved(output)
    if os.path.lexists(output) and not force:
        raise InputError(f"{output} is already there: choose another -o, or --force to replace it")
    if os.path.lexists(output):
        _check_replaceable(output)
    parent = output.parent
    if not parent.is_dir():
        raise InputError(f"there is no folder {parent} to write {output.name} into: create it first")
    if not os.access(parent, os.W_OK):
        raise InputError(f"no permission to write into {parent}: choose another -o")


def resolved(output: Path) -> Path:
    """Where `output` really is: a symbolic link stays, and what it leads to is written."""
    try:
        return output.resolve()
    except (OSError, RuntimeError) as error:  # a link that leads to itself
        raise InputError(f"{output} is a link that leads nowhere: choose another -o") from error


@contextlib.contextmanager
def staged_folder(output: Path, *, force: bool = False) -> Iterator[Path]:
    """A temporary folder beside `output` that becomes `output` when the block ends, and goes away if it fails.

    An existing bundle (with `force`) is replaced only at the very end. Killed outright, this leaves at most a folder
    named `.NAME.partial-…`, never a half-written `output`; `clean_up` removes it, or puts back the bundle that was about to be
    replaced.
    """
    check_destination(output, force=force)
    output = resolved(output)
    with contextlib.ExitStack() as locks:
        staging = _create(output, locks)
        try:
            yield staging
            _give_usual_permissions(staging)
            _move_into_place(staging, output, locks)
        except BaseException:
            shutil.rmtree(staging, ignore_errors=True)
            raise


def clean_up(output: Path) -> None:
    """Remove what interrupted exports left beside `output`; put back a bundle they had moved away.

    Only what nobody holds is touched. Of a bundle that was being replaced only the files that its manifest lists are removed.
    """
    output = resolved(output)
    for left in output.parent.glob(f"{glob.escape(_prefix(output))}*"):
        with contextlib.ExitStack() as locks:
            if left.is_symlink() or not left.is_dir() or not _lock(left, locks):
                continue
            if not left.name.endswith(_RETIRED):
                shutil.rmtree(left, ignore_errors=True)
            elif output.exists():
                _remove_bundle(left)
            else:
                os.rename(left, output)


def _prefix(output: Path) -> str:
    """Of the names of folders that are written for `output`."""
    return f".{output.name}.partial-"


def _create(output: Path, locks: contextlib.ExitStack) -> Path:
    """A new folder beside `output`, held by this process where the file system has locks."""
    while True:
        staging = Path(tempfile.mkdtemp(prefix=_prefix(output), dir=output.parent))
        if _lock(staging, locks) is not False:  # else somebody's clean_up came between: once more
            return staging


def _lock(folder: Path, locks: contextlib.ExitStack) -> bool | None:
    """Hold `folder` until `locks` closes. False if another process holds it or it has gone, None if there are no locks here."""
    if fcntl is None:
        return None
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return False
    locks.callback(os.close, descriptor)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(os.fstat(descriptor), os.stat(folder))
    except (BlockingIOError, FileNotFoundError):
        return False
    except OSError:
        return None


def _check_replaceable(output: Path) -> None:
    if not output.is_dir() or not (output / "manifest.json").is_file():
        raise InputError(f"{output} is there and is no bundle: --force replaces bundles only; choose another -o")
    try:
        unlisted = sorted(set(os.listdir(output)) - _listed(output))
    except IntegrityError as error:
        raise InputError(
            f"{output} has a manifest.json that is not of a bundle, or of another version ({error}): "
            "--force replaces bundles only; choose another -o, or move it away yourself"
        ) from error
    if unlisted:
        raise InputError(
            f"{output} holds {', '.join(map(repr, unlisted[:5]))}, which is not part of the bundle: --force would delete it; "
            "move it away, or choose another -o"
        )


def _listed(bundle: Path) -> set[str]:
    """The names of a bundle's files, from its manifest, and of its signature. Raises `IntegrityError`, `OSError`."""
    with (bundle / "manifest.json").open("rb") as file:
        manifest = Manifest.from_json(file.read(MAX_MANIFEST_BYTES + 1))
    return {"manifest.json", SIGNATURE, *(entry.path for entry in manifest.files)}


def _move_into_place(staging: Path, output: Path, locks: contextlib.ExitStack) -> None:
    if not os.path.lexists(output):
        os.rename(staging, output)
        return
    _check_replaceable(output)  # again: minutes have passed
    retired = staging.with_name(staging.name + _RETIRED)
    _lock(output, locks)
    os.rename(output, retired)
    try:
        os.rename(staging, output)
    except BaseException:
        os.rename(retired, output)
        raise
    _remove_bundle(retired)


def _remove_bundle(folder: Path) -> None:
    """Remove the files that the folder's manifest lists, and the folder if nothing else is in it; else say where it is."""
    try:
        for name in sorted(_listed(folder), key=lambda name: name == "manifest.json"):  # the manifest last
            (folder / name).unlink(missing_ok=True)
        folder.rmdir()
    except (OSError, IntegrityError):
        warnings.warn(f"not all of the bundle that was replaced could be removed: what is left is in {folder}", stacklevel=2)


def _give_usual_permissions(folder: Path) -> None:
    """Temporary folders and safetensors files are private to the user; a bundle is as readable as any file made here."""
    mask = os.umask(0)
    os.umask(mask)
    folder.chmod(0o777 & ~mask)
    for path in folder.iterdir():
        path.chmod(0o666 & ~mask)
        with path.open("rb") as file:
            os.fsync(file.fileno())
