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
import math
import re
from dataclasses import dataclass
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from perceiver_runtime.errors import IntegrityError

SCHEMA_VERSION = "1.0"
MAX_MANIFEST_BYTES = 4 << 20
MAX_DEPTH = 16
DTYPES = ("float32", "int64")
_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,98}[A-Za-z0-9_]")
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)

T = TypeVar("T")


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
    """Everything in manifest.json. `config`, `processor`, `choices`, `tools` and `parity` are free-form JSON objects."""

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
        if self.schema_version.split(".")[0] != SCHEMA_VERSION.split(".")[0]:
            raise IntegrityError(
                f"the bundle has schema version {self.schema_version}, this perceiver-runtime reads {SCHEMA_VERSION}: "
                "upgrade perceiver-runtime or export the bundle again"
            )
        names = [entry.path.lower() for entry in self.files]
        if len(set(names)) != len(names):
            raise IntegrityError("the manifest lists two files of one name: do not use this bundle")
        for name, graph in self.graphs.items():
            if graph.file.lower() not in names:
                raise IntegrityError(f"the graph {name} is in {graph.file}, which the manifest does not list")

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
        if _depth(text) > MAX_DEPTH:
            raise IntegrityError(f"the manifest is nested more than {MAX_DEPTH} deep: do not use this bundle")
        try:
            data = json.loads(
                text.decode("utf-8"), object_pairs_hook=no_duplicates, parse_constant=_no_constant, parse_float=_finite
            )
        except (ValueError, RecursionError) as error:
            raise IntegrityError(f"the manifest is not valid JSON ({error}): copy or export the bundle again") from error
        if isinstance(data, dict):
            data.pop("sha256", None)
        manifest = _build(cls, data, "manifest")
        if manifest.to_json().encode() != text:
            raise IntegrityError("the manifest is damaged or was edited: its sha256 does not fit. Copy the bundle again")
        return manifest


def _depth(text: bytes) -> int:
    depth = deepest = 0
    for byte in re.findall(rb"[\[{\]}]", text):  # brackets inside strings only make this stricter
        depth += 1 if byte in b"[{" else -1
        deepest = max(deepest, depth)
    return deepest


def no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object's pairs as a dictionary; `IntegrityError` where a key is there twice."""
    if len({key for key, _ in pairs}) != len(pairs):
        raise IntegrityError(f"the manifest has a key twice among {[key for key, _ in pairs][:8]}: do not use this bundle")
    return dict(pairs)


def _no_constant(name: str) -> float:
    raise IntegrityError(f"the manifest holds {name}, which is not JSON: do not use this bundle")


def _finite(text: str) -> float:
    value = float(text)
    return value if math.isfinite(value) else _no_constant(text)


def _build(kind: type[T], data: Any, where: str) -> T:
    if not isinstance(data, dict):
        raise IntegrityError(f"{where} should be an object: do not use this bundle")
    hints = get_type_hints(kind)
    if set(data) != set(hints):
        unknown, missing = sorted(set(data) - set(hints)), sorted(set(hints) - set(data))
        raise IntegrityError(f"{where} has unknown keys {unknown} and lacks {missing}: not written by this version")
    return kind(**{name: _convert(hint, data[name], f"{where}.{name}") for name, hint in hints.items()})


def _convert(hint: Any, value: Any, where: str) -> Any:
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is Any:
        return value
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return _build(hint, value, where)
    if origin is tuple and isinstance(value, list):
        return tuple(_convert(arguments[0], item, f"{where}[{index}]") for index, item in enumerate(value))
    if origin is dict and isinstance(value, dict):
        return {key: _convert(arguments[1], item, f"{where}.{key}") for key, item in value.items()}
    if origin is None and type(value) is hint:
        return value
    raise IntegrityError(f"{where} is {str(value)[:80]!r}, which has the wrong type: do not use this bundle")
