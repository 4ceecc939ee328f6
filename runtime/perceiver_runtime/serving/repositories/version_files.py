"""A version's folder: complete, or not there at all, and of nobody else.

With Triton's ONNX Runtime backend it holds the graph, as graph_check.py wrote it, and the weights; with the Python backend
model.py and the bundle. Models of one repository share one copy of a bundle's weights by hard links where the file system has
them. Nothing leads out of the repository, so a version stays what its hash says, whatever becomes of the bundle it was made of.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from perceiver_runtime.bundle.held_file import HeldFile
from perceiver_runtime.bundle.reader import Bundle
from perceiver_runtime.serving.model_config import ModelConfig
from perceiver_runtime.serving.repositories.models import MODEL_FILE
from perceiver_runtime.tasks.labels import FILE as LABELS_FILE
from perceiver_runtime.tasks.labels import MAX_BYTES as MAX_LABELS_BYTES
from perceiver_runtime.tasks.labels import read_labels

BUNDLE_FOLDER = "bundle"
CONFIG_FILE = "config.pbtxt"
_MODEL = '''"""Runs a graph of the bundle beside this file; written by `perceiver triton`."""

import os
import sys

# Triton's worker has the folder that the server was started in on its module path: what lies there is not to be run
sys.path[:] = [entry for entry in sys.path if entry not in ("", os.getcwd())]

from perceiver_runtime.serving.python_model import TritonPythonModel

__all__ = ["TritonPythonModel"]
'''


class Weights:
    """A bundle's weights on their way into a repository: copied once, then given more names, unless each is to be a copy."""

    def __init__(self, bundle: Bundle, *, copy: bool) -> None:
        self._source, self._copy = bundle.weights, copy
        self._sha256 = next((entry.sha256 for entry in bundle.manifest.files if entry.path.endswith(".safetensors")), "")
        self._copied: HeldFile | None = None

    def put(self, path: Path) -> None:
        """Write them there. Raises `IntegrityError` if they changed meanwhile."""
        if self._source is None:
            return
        if self._copied is not None and not self._copy:
            self._copied.put(path, link=True)
            return
        self._source.put(path, link=False)
        self._copied = HeldFile(path)
        self._copied.expect(self._sha256)


def write_version(bundle: Bundle, folder: Path, config: ModelConfig, version: int, text: str, weights: Weights) -> None:
    """A model's new version, then the configuration that names it."""
    folder.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="new-", dir=folder) as staging:
        new = Path(staging) / "version"
        _fill(bundle, new, config, weights)
        if config.labels:
            put(folder / "labels.txt", label_lines(bundle), Path(staging))
        if config.warm_up and not (folder / CONFIG_FILE).exists():
            (folder / "warmup").mkdir(exist_ok=True)
            for name, array in config.warm_up.items():
                put(folder / "warmup" / name, array.tobytes(), Path(staging))
        os.rename(new, folder / str(version))
        put(folder / CONFIG_FILE, text.encode(), Path(staging))


def label_lines(bundle: Bundle) -> bytes:
    """Names of answers, one a line, for Triton."""
    names = read_labels(bundle.read(LABELS_FILE, limit=MAX_LABELS_BYTES))
    return "\n".join(name.replace("\n", " ") for name in names).encode() + b"\n"


def put(path: Path, content: bytes, staging: Path) -> None:
    """Write a file whole or not at all."""
    new = staging / path.name
    new.write_bytes(content)
    os.replace(new, path)


def _fill(bundle: Bundle, folder: Path, config: ModelConfig, weights: Weights) -> None:
    folder.mkdir()
    if config.backend == "python":
        (folder / MODEL_FILE).write_text(_MODEL, encoding="utf-8")
        (folder / "__pycache__").touch()  # a file, so that Python writes no folder: Triton would see another version
        _copy(bundle, folder / BUNDLE_FOLDER, weights)
    elif config.backend:
        graph = next(graph for graph in bundle.graphs.values() if graph.name == config.file)
        (folder / config.file).write_bytes(graph.content)
        if graph.weights is not None:
            weights.put(folder / graph.weights)


def _copy(bundle: Bundle, folder: Path, weights: Weights) -> None:
    """What the manifest lists, and the manifest."""
    folder.mkdir()
    (folder / "manifest.json").write_text(bundle.manifest.to_json(), encoding="utf-8")
    for name in bundle.present:
        if bundle.weights is not None and name == bundle.weights.path.name:
            weights.put(folder / name)
        else:
            (folder / name).write_bytes(bundle.read(name))
