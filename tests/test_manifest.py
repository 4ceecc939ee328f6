"""The manifest: strict to read, canonical to write."""

import json
from pathlib import Path
from typing import Any

import pytest

from perceiver_runtime import IntegrityError
from perceiver_runtime.bundle.manifest import Manifest

GRAPH = {
    "file": "encode.onnx",
    "inputs": [{"name": "x", "dtype": "float32", "shape": [1]}],
    "outputs": [{"name": "y", "dtype": "float32", "shape": [1]}],
}


@pytest.fixture
def text(tiny_bundle: Path) -> str:
    return (tiny_bundle / "manifest.json").read_text()


def test_round_trip_is_exact(text: str) -> None:
    assert Manifest.from_json(text.encode()).to_json() == text


def change(text: str, *path: Any, value: Any) -> bytes:
    data = json.loads(text)
    place = data
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return json.dumps(data).encode()


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("surplus",), 1, r"manifest has unknown keys \['surplus'\]"),
        (("schema_version",), "2.0", "schema version 2.0, this perceiver-runtime reads 1.0: upgrade"),
        (("task",), 3, "manifest.task is '3', which has the wrong type"),
        (("files", 0, "size"), True, r"manifest.files\[0\].size is 'True', which has the wrong type"),
        (("files", 0, "size"), 1.5, "wrong type"),
        (("files", 0, "size"), -1, "malformed"),
        (("files", 0, "sha256"), "x" * 64, "malformed"),
        (("files", 0, "path"), "../README.md", "no plain file name"),
        (("files", 0, "path"), "/etc/passwd", "no plain file name"),
        (("files", 0, "path"), "a\\b", "no plain file name"),
        (("files", 0, "path"), "C:x", "no plain file name"),
        (("files", 0, "path"), "nul.txt", "no plain file name"),
        (("files", 0, "path"), "name.", "no plain file name"),
        (("files", 0, "path"), "manifest.json", "no plain file name"),
        (("files", 0, "path"), "ENCODE.onnx", "two files of one name"),
        (("graphs", "encode", "file"), "other.onnx", "which the manifest does not list"),
        (("graphs", "encode", "inputs", 0, "dtype"), "object", "not understood"),
        (("graphs", "encode", "inputs", 0, "shape", 1), -2, "not understood"),
        (("ranges", "H", "min"), 0, "the range 0 to"),
        (("graphs", "../../encode"), GRAPH, r"names a graph '../../encode', which is no such name"),
        (("graphs", "a/b"), GRAPH, "no such name"),
        (("graphs", "none"), GRAPH | {"inputs": []}, "gives the graph none the tensors"),
        (("graphs", "encode", "inputs", 0, "name"), "../x", r"names a tensor '../x', which is no such name"),
        (("graphs", "encode", "inputs", 0, "shape", 0), "B\x1b[2J", "names a size .*, which is no such name"),
        (("ranges", "/etc"), {"min": 1, "max": 2}, "names a size '/etc'"),
        (("task",), "flow\n", "names a task"),
        (("schema_version",), "1.0\x1b", "names a schema version"),
        (("precision",), "fp4", "is in 'fp4' for 'ort': upgrade"),
        (("ranges", "H", "max"), 1 << 63, "holds 9223372036854775808, which is not JSON of 64-bit numbers"),
        (("source", "license"), "\ud800", "not valid JSON .*surrogates not allowed"),
        (("tools", "\ud800"), "1", "not valid JSON .*surrogates not allowed"),
    ],
)
def test_refused(text: str, path: tuple[Any, ...], value: Any, message: str) -> None:
    with pytest.raises(IntegrityError, match=message):
        Manifest.from_json(change(text, *path, value=value))


@pytest.mark.parametrize("place", ["licence", "white space", "number", "digest"])
def test_any_change_shows(text: str, place: str) -> None:
    changed = {
        "licence": text.replace('"license": "unknown"', '"license": "mit"'),
        "white space": text.replace("\n", "", 1),
        "number": text.replace('"query_chunk": 8192', '"query_chunk": 8193'),
        "digest": text[:-5] + ("0" if text[-5] != "0" else "1") + text[-4:],
    }[place]
    assert changed != text
    with pytest.raises(IntegrityError, match="the manifest is damaged or was edited: its sha256 does not fit"):
        Manifest.from_json(changed.encode())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "not valid JSON"),
        (b"\xff{}", "not valid JSON"),
        (b"[]", "manifest should be an object"),
        (b'{"task": 1, "task": 2}', "a key twice"),
        (b'{"task": NaN}', "holds NaN"),
        (b'{"task": 1e999}', "holds 1e999"),
        (b"[" * 100_000, "nested more than 16 deep"),
        (b" " * (5 << 20), "more than the 4194304 allowed"),
        (b"{}", "lacks"),
    ],
)
def test_broken_text(content: bytes, message: str) -> None:
    with pytest.raises(IntegrityError, match=message):
        Manifest.from_json(content)
