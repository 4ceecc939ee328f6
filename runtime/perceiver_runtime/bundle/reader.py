"""Opening a bundle: a folder of which only what its manifest lists is used, and only if it is exactly that.

Every listed file must have its size and sha256. What is not listed is never read. How a file is stored (plain, a link, one of
several names) does not matter: what was hashed is what is used. Small files are hashed each time they are read; graphs are
checked by graph_check.py, which gives engines bytes of its own; weights stay open from then on (held_file.py). Nothing
in a bundle is ever run as code. What this does not promise: that the manifest is the one its author wrote (ask for its sha256
or a signature, origin/trust.py), or that the weights mean well.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from perceiver_runtime.bundle.choices import Choices
from perceiver_runtime.bundle.graph_check import MAX_GRAPH_BYTES, CheckedGraph, GraphCheck
from perceiver_runtime.bundle.held_file import HeldFile, open_regular
from perceiver_runtime.bundle.manifest import MAX_MANIFEST_BYTES, FileEntry, Manifest
from perceiver_runtime.bundle.origin.hub import is_hub_name
from perceiver_runtime.bundle.origin.signature import FILE as SIGNATURE
from perceiver_runtime.bundle.origin.trust import Trust, read_signature
from perceiver_runtime.common.errors import InputError, IntegrityError

_CHUNK = 1 << 20
MAX_READ = 256 << 20  # bytes of a file that is neither a graph nor weights
WHOLE = Trust()  # asks for nothing more
MAX_UNLISTED = 100  # names of unlisted files that are kept, for `perceiver inspect`


@dataclass(frozen=True)
class Bundle:
    """A checked bundle: its folder and manifest, its graphs by name, its weights, and what lies there unlisted.

    `present` are the listed files that are there: all, unless it was opened with `partial`.
    """

    folder: Path
    manifest: Manifest
    manifest_sha256: str
    present: frozenset[str]
    graphs: Mapping[str, CheckedGraph]
    weights: HeldFile | None
    unlisted: tuple[str, ...] = ()

    def graph(self, name: str) -> CheckedGraph:
        """A graph that is there to be run. Raises `IntegrityError` for one that was left out of a partial bundle."""
        if name not in self.graphs or (self.graphs[name].weights and self.weights is None):
            raise IntegrityError(f"{self.folder} lacks the graph {name} or its weights: copy the bundle again")
        return self.graphs[name]

    def check(self) -> None:
        """Raise `IntegrityError` if the weights are not what the manifest lists, or changed since they were opened."""
        if self.weights is not None:
            self.weights.check()

    def read(self, name: str, *, limit: int = MAX_READ) -> bytes:
        """A listed file's content, hashed again. Raises `IntegrityError` if it is not what the manifest lists, or too large."""
        if name not in self.present:
            raise IntegrityError(f"{self.folder} has no {name}: copy or export the bundle again")
        entry = next(entry for entry in self.manifest.files if entry.path == name)
        if entry.size > limit:
            raise IntegrityError(f"{self.folder / name} is larger than the {limit} bytes allowed: do not use this bundle")
        return _read(self.folder / name, entry)


def open_bundle(folder: str | Path, *, partial: bool = False, wait: bool = True, trust: Trust = WHOLE) -> Bundle:
    """Check a bundle from end to end and return it. With `partial` files may be left out of it, to run its graphs elsewhere.

    With `wait` off its weights are hashed meanwhile: engines may load them, and `Bundle.check` comes before any run. What
    `trust` asks for is checked before the manifest is believed.

    Raises `InputError` where there is no bundle, `IntegrityError` where there is one that cannot be trusted.
    """
    folder = Path(folder)
    if not folder.is_dir():
        pull = f", or get the hub's with perceiver pull {folder} -o FOLDER" if is_hub_name(str(folder)) else ""
        raise InputError(f"there is no bundle at {folder}: give a folder made by perceiver-export{pull}")
    if not os.path.lexists(folder / "manifest.json"):
        raise InputError(f"{folder} has no manifest.json: give a folder made by perceiver-export")
    with os.fdopen(open_regular(folder / "manifest.json"), "rb") as file:
        text = file.read(MAX_MANIFEST_BYTES + 1)
    signature = read_signature(folder) if trust.public_key is not None else None
    trust.check_manifest(folder, text, signature)
    manifest = Manifest.from_json(text)
    Choices.of(manifest)
    found = set(os.listdir(folder))
    trust.check_files(folder, manifest, signature, found)
    expected = [entry for entry in manifest.files if entry.path in found or not partial]
    sizes = {entry.path: entry.size for entry in manifest.files if entry.path.endswith(".safetensors")}
    if len(sizes) > 1:
        raise IntegrityError(f"the manifest lists {len(sizes)} files of weights, a bundle has one: do not use this bundle")
    graphs: dict[str, CheckedGraph] = {}
    weights = None
    for entry in expected:
        if entry.path in sizes:
            weights = _hold(folder / entry.path, entry, wait)
            continue
        holds = [name for name, graph in manifest.graphs.items() if graph.file == entry.path]
        if holds and entry.size > MAX_GRAPH_BYTES:
            raise IntegrityError(
                f"{folder / entry.path} has {entry.size} bytes, more than the {MAX_GRAPH_BYTES} allowed for a graph"
            )
        if not holds:
            _read(folder / entry.path, entry, keep=False)
            continue
        content = _read(folder / entry.path, entry)
        for name in holds:
            graphs[name] = GraphCheck(entry.path, sizes).model(content, manifest.graphs[name])
    unlisted = sorted(found - {entry.path for entry in manifest.files} - {"manifest.json", SIGNATURE})[:MAX_UNLISTED]
    present = frozenset(entry.path for entry in expected)
    return Bundle(folder, manifest, hashlib.sha256(text).hexdigest(), present, graphs, weights, tuple(unlisted))


def own_graph(path: Path) -> tuple[CheckedGraph, HeldFile | None]:
    """A graph that an export just wrote, unchecked, and the weights beside it."""
    weights = path.parent / "weights.safetensors"
    return CheckedGraph(path.name, path.read_bytes(), weights.name), HeldFile(weights) if weights.exists() else None


def is_bundle(folder: Path) -> bool:
    """Whether a folder holds a bundle's manifest."""
    try:
        with os.fdopen(open_regular(folder / "manifest.json"), "rb") as file:
            Manifest.from_json(file.read(MAX_MANIFEST_BYTES + 1))
    except IntegrityError:
        return False
    return True


def file_sha256(path: Path) -> tuple[int, str]:
    """Size in bytes and sha256 in hex of a regular file, read in pieces."""
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while piece := file.read(_CHUNK):
            digest.update(piece)
            size += len(piece)
    return size, digest.hexdigest()


def _read(path: Path, entry: FileEntry, *, keep: bool = True) -> bytes:
    """The content of a listed file, of the listed size and sha256; nothing of it with `keep` off."""
    digest, kept, left = hashlib.sha256(), bytearray(), entry.size
    with os.fdopen(open_regular(path), "rb") as file:
        _check_size(path, os.fstat(file.fileno()).st_size, entry)
        while left and (piece := file.read(min(left, _CHUNK))):
            digest.update(piece)
            left -= len(piece)
            if keep:
                kept += piece
    _check_sum(path, digest.hexdigest(), entry)
    return bytes(kept)


def _hold(path: Path, entry: FileEntry, wait: bool) -> HeldFile:
    held = HeldFile(path)
    _check_size(path, held.size, entry)
    held.expect(entry.sha256, wait=wait)
    return held


def _check_size(path: Path, found: int, entry: FileEntry) -> None:
    if found != entry.size:
        raise IntegrityError(f"{path} has {found} bytes, the manifest says {entry.size}: copy the bundle again")


def _check_sum(path: Path, found: str, entry: FileEntry) -> None:
    if found != entry.sha256:
        raise IntegrityError(f"{path} is damaged: its sha256 is not the manifest's. Copy or export the bundle again")
