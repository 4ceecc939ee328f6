"""The manifest of a bundle: what it holds, what its graphs take and give, how it was checked.

`Manifest.from_json` is strict (unknown, missing and duplicate keys, wrong types and out-of-range values are
`IntegrityError`s that name the place), `to_json` is canonical, and ``Manifest.from_json(m.to_json()) == m``. The text ends
with a sha256 of the rest, so that a flipped byte shows wherever it is. That finds damage, not forgery: whoever writes a
manifest can write its sum.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from dataclasses import dataclass
from typing import Any

from perceiver_runtime.common.errors import IntegrityError
from perceiver_runtime.common.records import parse_json, record

SCHEMA_VERSION = "1.0"
MAX_MANIFEST_BYTES = 4 << 20
DTYPES = ("float32", "int64")
PRECISIONS = ("fp32", "fp16", "bf16", "int8", "fp8")
TARGETS = ("ort", "cuda", "tensorrt")
_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,98}[A-Za-z0-9_]")
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
# names end up in paths, in a server's configuration and on terminals: letters, digits and little else
_NAMES = {
    "schema version": re.compile(r"\d{1,4}\.\d{1,4}"),
    "task": re.compile(r"[a-z][a-z0-9-]{0,63}"),
    "graph": re.compile(r"[a-z][a-z0-9_]{0,63}"),
    "tensor": re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}"),
    "size": re.compile(r"[A-Za-z0-9_*]{1,64}"),
}


def _check_name(kind: str, name: str) -> None:
    if not _NAMES[kind].fullmatch(name):
        raise IntegrityError(f"the manifest names a {kind} {name[:80]!r}, which is no such name: do not use this bundle")


@dataclass(frozen=True)
class FileEntry:
    """A file of the bundle: its name (no folders), size in bytes and sha256 in hex."""

    path: str
    size: int
    sha256: str

    def __post_init__(self) -> None:
        if not _FILE_NAME.fullmatch(self.path) or _RESERVED.fullmatch(self.path) or self.path == "manifest.json":
            raise IntegrityError(f"the manifest lists {self.path!r}, which is no plain file name: do not use this bundle")
        if self.size < 0 or not re.fullmatch(r"[0-9a-f]{64}", self.sha256):
            raise IntegrityError(f"the manifest's size or sha256 of {self.path} is malformed: do not use this bundle")


@dataclass(frozen=True)
class TensorSpec:
    """An input or output of a graph. A string in `shape` is a dynamic size whose range `Manifest.ranges` may give."""

    name: str
    dtype: str
    shape: tuple[Any, ...]

    def __post_init__(self) -> None:
        _check_name("tensor", self.name)
        for size in self.shape:
            if isinstance(size, str):
                _check_name("size", size)
        sizes_valid = all(isinstance(size, str) or (type(size) is int and size > 0) for size in self.shape)
        if self.dtype not in DTYPES or not sizes_valid:
            raise IntegrityError(f"the manifest describes {self.name} as {self.dtype} {list(self.shape)}: not understood")


@dataclass(frozen=True)
class GraphEntry:
    """A graph: its file, and its inputs and outputs in order."""

    file: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


@dataclass(frozen=True)
class Range:
    """The smallest and largest value of a dynamic size, both included."""

    min: int
    max: int

    def __post_init__(self) -> None:
        if not 1 <= self.min <= self.max:
            raise IntegrityError(f"the manifest has the range {self.min} to {self.max}: not understood")


@dataclass(frozen=True)
class Source:
    """Where the weights came from."""

    checkpoint: str
    sha256: str
    license: str
    revision: str


@dataclass(frozen=True)
class Manifest:
    """Everything in manifest.json.

    `config`, `processor`, `choices` and `parity` are JSON objects whose keys depend on the task and the export: what reads them
    makes a record of them (records.py).
    """

    schema_version: str
    task: str
    precision: str
    target: str
    config: dict[str, Any]
    processor: dict[str, Any]
    graphs: dict[str, GraphEntry]
    ranges: dict[str, Range]
    choices: dict[str, Any]  # what the export decided: `islands`, in lower precision the nodes that stay float32
    source: Source
    tools: dict[str, str]
    parity: dict[str, Any]
    files: tuple[FileEntry, ...]

    def __post_init__(self) -> None:
        _check_name("schema version", self.schema_version)
        if self.schema_version.split(".")[0] != SCHEMA_VERSION.split(".")[0]:
            raise IntegrityError(
                f"the bundle has schema version {self.schema_version}, this perceiver-runtime reads {SCHEMA_VERSION}: "
                "upgrade perceiver-runtime or export the bundle again"
            )
        _check_name("task", self.task)
        if self.precision not in PRECISIONS or self.target not in TARGETS:
            raise IntegrityError(f"the bundle is in {self.precision!r} for {self.target!r}: upgrade perceiver-runtime")
        for kind, found in (("graph", self.graphs), ("size", self.ranges)):
            for name in found:
                _check_name(kind, name)
        names = [entry.path.lower() for entry in self.files]
        if len(set(names)) != len(names):
            raise IntegrityError("the manifest lists two files of one name: do not use this bundle")
        for name, graph in self.graphs.items():
            if graph.file.lower() not in names:
                raise IntegrityError(f"the graph {name} is in {graph.file}, which the manifest does not list")
            for specs in (graph.inputs, graph.outputs):
                tensors = [spec.name for spec in specs]
                if not tensors or len(set(tensors)) != len(tensors) or not all(spec.shape for spec in specs):
                    raise IntegrityError(f"the manifest gives the graph {name} the tensors {tensors}: not understood")

    def to_json(self) -> str:
        """Canonical text: two spaces, keys in field order, then `sha256` of the text without it, a final newline."""
        body = json.dumps(dataclasses.asdict(self), indent=2, allow_nan=False, ensure_ascii=False)
        digest = hashlib.sha256(body.encode()).hexdigest()
        return f'{body[:-2]},\n  "sha256": "{digest}"\n}}\n'

    @classmethod
    def from_json(cls, text: bytes) -> Manifest:
        """Read what `to_json` wrote. Raises `IntegrityError`."""
        if len(text) > MAX_MANIFEST_BYTES:
            raise IntegrityError(f"the manifest has {len(text)} bytes, more than the {MAX_MANIFEST_BYTES} allowed")
        data = parse_json(text, "the manifest")
        if isinstance(data, dict):
            data.pop("sha256", None)
        manifest = record(cls, data, "manifest")
        if manifest.to_json().encode() != text:
            raise IntegrityError("the manifest is damaged or was edited: its sha256 does not fit. Copy the bundle again")
        return manifest
