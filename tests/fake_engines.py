"""Pipelines of a bundle on the stand-ins of `fake_gpu`, without building: an "engine" of each graph with chosen profiles."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import fake_gpu
import pytest
from conftest import Once
from heads import HEADS, save_random_head

from perceiver_deploy import export_bundle
from perceiver_runtime.backends.tensorrt import backend
from perceiver_runtime.backends.tensorrt.backend import TensorRTGraph
from perceiver_runtime.backends.tensorrt.builder import ProfileRange, shapes, spans
from perceiver_runtime.backends.tensorrt.kernels import Kernels
from perceiver_runtime.backends.tensorrt.memory import Pool
from perceiver_runtime.backends.tensorrt.runner import Engine
from perceiver_runtime.bundle.reader import Bundle, open_bundle
from perceiver_runtime.commands import build as build_command
from perceiver_runtime.tasks.flow.pipeline import FlowPipeline
from perceiver_runtime.tasks.pipeline import RuntimeOptions

FLOW = Path(__file__).parent / "data/golden-1.0/flow"  # tile 40x56, 2240 queries
NOTHING = {"blocks": 0, "pinned": 0, "streams": 0, "graphs": 0, "contexts": 0}


class NoFile:
    """Kernels that nobody keeps."""

    def read(self) -> bytes:
        return b""

    def write(self, data: bytes) -> None:
        pass


class GPU:
    """The stand-ins, and what they are asked for."""

    def __init__(self) -> None:
        self.device = fake_gpu.Device()
        self.trt = fake_gpu.FakeTensorRT(self.device)
        self.cuda = fake_gpu.fake_cuda(self.device)

    def opener(self, *chosen: Mapping[str, ProfileRange]) -> Callable[[Bundle, Sequence[str]], dict[str, TensorRTGraph]]:
        """For `RuntimeOptions`: a profile for each of `chosen`, one over all that the manifest allows without any."""

        def open_graphs(bundle: Bundle, names: Sequence[str]) -> dict[str, TensorRTGraph]:
            pool = Pool(self.cuda)
            return {name: TensorRTGraph(self.engine(bundle, name, pool, *chosen), "stand-in") for name in names}

        return open_graphs

    def engine(self, bundle: Bundle, name: str, pool: Pool, *chosen: Mapping[str, ProfileRange]) -> Engine:
        """Of one graph."""
        entry = bundle.manifest.graphs[name]
        sizes = spans(bundle.manifest.ranges, *(chosen or ({},)))
        profiles: list[Any] = [{spec.name: shapes(spec.shape, each) for spec in entry.inputs} for each in sizes]
        plan = fake_gpu.MAGIC + json.dumps({"path": str(bundle.folder / entry.file), "profiles": profiles}).encode()
        return Engine(self.trt, self.cuda, pool, plan, entry, name, Kernels(self.trt, NoFile()))

    def flow(self, *chosen: Mapping[str, ProfileRange]) -> FlowPipeline:
        """The bundle of the first schema version."""
        return FlowPipeline(open_bundle(FLOW), RuntimeOptions(opener=self.opener(*chosen)))


def installed(monkeypatch: pytest.MonkeyPatch, folder: Path) -> GPU:
    """Stand-ins that the device `tensorrt` and `perceiver build` find here, with their cache in a folder."""
    stand_in = GPU()
    for module in (backend, build_command):
        monkeypatch.setattr(module, "tensorrt", lambda: stand_in.trt)
        monkeypatch.setattr(module, "cuda", lambda: stand_in.cuda)
    monkeypatch.setenv("PERCEIVER_CACHE", str(folder / "cache"))
    return stand_in


def cached(folder: Path) -> list[Path]:
    """The engines in it."""
    return sorted((folder / "cache/engines").glob("*.engine"))


def exported(name: str, once: Once) -> Path:
    """A bundle for TensorRT of one of transformers' heads, tiny. Do not change it: copy it."""
    head = next(head for head in HEADS if head.name == name)

    def make(folder: Path) -> None:
        save_random_head(folder / "checkpoint", name, head.tiny)
        export_bundle(task=head.task, checkpoint=folder / "checkpoint", output=folder / "bundle", target="tensorrt")

    return once(f"{name}-tensorrt", make) / "bundle"
