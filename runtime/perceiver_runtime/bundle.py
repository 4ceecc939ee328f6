"""Opening a bundle: a folder that is used only if it is exactly what its manifest says.

Every listed file must be there with its size and sha256; nothing else may be there; links are refused; graphs may hold only
what graph_check.py lists, and take weights from the bundle's weights file alone. Nothing in a bundle is ever run as code.
What this does not promise: that the manifest is the one its author wrote (compare the sha256 that `perceiver inspect` prints
with theirs), or that the weights mean well.
"""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from perceiver_runtime.choices import Choices
from perceiver_runtime.errors import InputError, IntegrityError
from perceiver_runtime.graph_check import MAX_GRAPH_BYTES, GraphCheck
from perceiver_runtime.manifest import MAX_MANIFEST_BYTES, FileEntry, Manifest

_CHUNK = 1 << 20


@dataclass(frozen=True)
class Bundle:
    """A verified bundle: its folder and its manifest, and the state of its files when they were hashed."""

    folder: Path
    manifest: Manifest
    manifest_sha256: str
    states: dict[str, tuple[int, ...]]

    def path(self, name: str) -> Path:
        """A listed file, refused with `IntegrityError` if it changed since it was verified."""
        path = self.folder / name
        try:
            state = _state(os.lstat(path))
        except OSError as error:
            raise IntegrityError(f"{path} has gone since the bundle was opened: copy the bundle again") from error
        if state != self.states[name]:
            raise IntegrityError(f"{path} changed since the bundle was opened: load it again")
        return path


def open_bundle(folder: str | Path, *, partial: bool = False) -> Bundle:
    """Check a bundle from end to end and return it. With `partial` files may be left out of it, to run its graphs elsewhere.

    Raises `InputError` where there is no bundle, `IntegrityError` where there is one that cannot be trusted.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"there is no bundle at {folder}: give a folder made by perceiver-export")
    if not (folder / "manifest.json").is_file():
        raise InputError(f"{folder} has no manifest.json: give a folder made by perceiver-export")
    text = _read(folder / "manifest.json", keep=MAX_MANIFEST_BYTES)
    manifest = Manifest.from_json(text)
    Choices.of(manifest)
    listed = {entry.path for entry in manifest.files} | {"manifest.json"}
    found = set(os.listdir(folder))
    if found - listed:
        raise IntegrityError(f"{folder} holds {sorted(found - listed)}, which its manifest does not list: remove or copy again")
    expected = [entry for entry in manifest.files if entry.path in found or not partial]
    states = {entry.path: _check(folder, entry, manifest) for entry in expected}
    return Bundle(folder, manifest, hashlib.sha256(text).hexdigest(), states)


def file_sha256(path: Path) -> tuple[int, str]:
    """Size in bytes and sha256 in hex of a regular file, read in pieces."""
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while piece := file.read(_CHUNK):
            digest.update(piece)
            size += len(piece)
    return size, digest.hexdigest()


def _state(status: os.stat_result) -> tuple[int, ...]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _open(path: Path) -> int:
    flags = os.O_RDONLY
    for flag in ("O_NOFOLLOW", "O_NONBLOCK", "O_BINARY"):  # each where the system has it
        flags |= getattr(os, flag, 0)
    try:
        descriptor = os.open(path, flags)
    except OSError as error:
        raise IntegrityError(f"{path} is missing, unreadable or a link: copy the bundle again ({error.strerror})") from error
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
        os.close(descriptor)
        raise IntegrityError(f"{path} is not a plain file with one name: copy the bundle again")
    return descriptor


def _read(path: Path, *, keep: int) -> bytes:
    with os.fdopen(_open(path), "rb") as file:
        return file.read(keep + 1)


def _check(folder: Path, entry: FileEntry, manifest: Manifest) -> tuple[int, ...]:
    """The file as the manifest lists it; if it holds a graph, what the graph may hold."""
    path = folder / entry.path
    graphs = [graph for graph in manifest.graphs.values() if graph.file == entry.path]
    if graphs and entry.size > MAX_GRAPH_BYTES:
        raise IntegrityError(f"{path} has {entry.size} bytes, more than the {MAX_GRAPH_BYTES} allowed for a graph")
    kept = bytearray()
    with os.fdopen(_open(path), "rb") as file:
        status = os.fstat(file.fileno())
        if status.st_size != entry.size:
            raise IntegrityError(f"{path} has {status.st_size} bytes, the manifest says {entry.size}: copy the bundle again")
        digest = hashlib.sha256()
        while piece := file.read(_CHUNK):
            digest.update(piece)
            if graphs:
                kept += piece
    if digest.hexdigest() != entry.sha256:
        raise IntegrityError(f"{path} is damaged: its sha256 is not the manifest's. Copy or export the bundle again")
    weights = {listed.path: listed.size for listed in manifest.files if listed.path.endswith(".safetensors")}
    for graph in graphs:
        GraphCheck(entry.path, weights).model(bytes(kept), graph)
    return _state(status)
