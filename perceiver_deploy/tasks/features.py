"""Exporting the encoder of any checkpoint, alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from perceiver_deploy.tasks import samples
from perceiver_deploy.tasks.audio import AudioRecipe
from perceiver_deploy.tasks.flow import FlowRecipe
from perceiver_deploy.tasks.image import ImageRecipe
from perceiver_deploy.tasks.multimodal import MultimodalRecipe
from perceiver_deploy.tasks.pictures import sample_frames
from perceiver_deploy.tasks.recipe import Answer, Case, ExportOptions, Graphs, Inputs, Recipe, rows, shape_text, tensors
from perceiver_deploy.tasks.text import TEXTS, FillMaskRecipe, TextRecipe
from perceiver_io import (
    AudioClassificationConfig,
    FeatureExtractor,
    FlowConfig,
    ImageClassificationConfig,
    MultimodalConfig,
    OpticalFlow,
    TokenClassifier,
)
from perceiver_runtime import UsageError
from perceiver_runtime.backends.onnxruntime import OnnxGraph
from perceiver_runtime.bundle.manifest import Range
from perceiver_runtime.files.images import read_image
from perceiver_runtime.processing.text import to_bytes
from perceiver_runtime.tasks.kinds import KINDS
from perceiver_runtime.tasks.known_answer import Sample

ROWS = 8  # latents in the known answer


class FeaturesRecipe(Recipe):
    """Inputs of any kind to latents. Inputs, and the cases to verify on, are those of the checkpoint's own task."""

    usage = "INPUT -o latents.npy"
    any_checkpoint = True

    def __init__(self, config: Any, options: ExportOptions, folder: Path) -> None:
        super().__init__(config, options, folder)
        if options.fused:
            raise UsageError("features are one graph already: leave out --fused")
        self.kind = "vectors"
        self.task: Recipe | None = None
        if isinstance(config, FlowConfig):
            self.kind, self.task = "frames", FlowRecipe(config, options, folder)
        elif isinstance(config, ImageClassificationConfig):
            self.kind, self.task = "image", ImageRecipe(config, options, folder)
        elif isinstance(config, AudioClassificationConfig):
            self.kind, self.task = "audio", AudioRecipe(config, options, folder)
        elif isinstance(config, MultimodalConfig):
            self.kind, self.task = "clip", MultimodalRecipe(config, options, folder)
        elif getattr(config, "text", None) is not None:
            self.kind, self.task = "text", FillMaskRecipe(config, options, folder)

        if self.task is not None:
            self.notes = self.task.notes

    @property
    def labels(self) -> tuple[str, ...] | None:
        """None: features have no names."""
        return None

    def graph_options(self) -> dict[str, Any]:
        """Learned positions are made for one size."""
        return {"image_size": self.options.image_size}

    def processor(self) -> dict[str, Any]:
        """The kind of input, and the constants that its processor reads."""
        if self.task is None:
            return {"input": self.kind, "channels": self.config.channels}
        return {"input": self.kind} | {key: value for key, value in self.task.processor().items() if key != "problem"}

    def ranges(self) -> dict[str, Range]:
        """The sizes that the graph is meant for."""
        if self.task is None:
            most = 1 << 18 if self.target.profiles else 1 << 20  # an engine's memory is that of its largest input
            return {"B": Range(1, 64), "M": Range(1, most)}
        return {name: span for name, span in self.task.ranges().items() if name != "O"}

    def planned_sizes(self) -> dict[str, int]:
        """Those of the checkpoint's task; of vectors, for ONNX Runtime, 65,536."""
        if self.task is not None:
            return self.task.planned_sizes()
        return super().planned_sizes() | ({} if self.target.profiles else {"M": 1 << 16})

    @property
    def sample_files(self) -> str:  # type: ignore[override]
        """Those of the checkpoint's task."""
        return self.task.sample_files if self.task is not None else "arrays (.npy) of shape (length, channels)"

    def read_samples(self, folder: Path) -> list[Inputs]:
        """Those of the checkpoint's task; for vectors, each .npy file."""
        if self.task is not None:
            return self.task.read_samples(folder)
        read = KINDS[self.kind].reader(self.processor())
        return [read([read_image(file)], {}) for file in self.first(samples.files(folder, (".npy",)), folder)]

    def cases(self) -> Iterator[Case]:
        """Those of the checkpoint's task; for vectors, a few lengths."""
        if self.task is not None:
            yield from self.task.cases()
            return
        random = np.random.default_rng(0)
        for batch, length in ((1, 1), (3, 37), (1, 1000)):
            inputs = {
                "inputs": random.standard_normal((batch, length, self.config.channels), np.float32),
                "attention_mask": np.arange(length)[None] < np.linspace(max(1, length // 2), length, batch)[:, None],
            }
            inputs["attention_mask"] = inputs["attention_mask"].astype(np.int64)
            yield Case(shape_text(inputs), (inputs,))

    @torch.no_grad()
    def reference(self, model: Any, inputs: Inputs) -> Answer:
        """Latents (B·N, D)."""
        given = tensors(inputs)
        if isinstance(model, FeatureExtractor):
            mask = given.pop("attention_mask")
            latents = model.encode(*given.values(), mask=mask)
        elif isinstance(model, (OpticalFlow, TokenClassifier)):  # which give queries as well
            latents = model.encode(*given.values())[0]
        else:
            latents = model.encode(*given.values())
        return {"latents": rows(latents.numpy())}

    def answer(self, graphs: Graphs, inputs: Inputs) -> Answer:
        """The same from the graph."""
        return {"latents": rows(graphs["encode"].run(inputs)[0])}

    def fused_answer(self, graph: OnnxGraph, inputs: Inputs) -> Answer:
        """The encoder is the whole model here."""
        return self.answer({"encode": graph}, inputs)

    def sample(self, model: Any) -> Sample:
        """An input as a user gives it, and some of torch's latents. The runtime's processor makes the graph's input of it."""
        item, inputs = self._item()
        read = KINDS[self.kind].reader(self.processor())
        latents = self.reference(model, read([item], {}))["latents"]
        chosen = np.unique(np.linspace(0, len(latents) - 1, ROWS).astype(np.int64))
        return Sample(inputs | {"rows": chosen}, {"latents": latents[chosen]})

    def _item(self) -> tuple[Any, Inputs]:
        """What a user would give, and how it is kept."""
        if isinstance(self.task, TextRecipe):
            text = self.task.sample_text(TEXTS[0])
            return text, {"text": to_bytes(text)}
        if isinstance(self.task, ImageRecipe):
            image = self.task.sample_image()
            return image, {"image": image}
        if isinstance(self.task, FlowRecipe):
            first, second = sample_frames(*self.task.sample_size)
            return (first, second), {"frame1": first, "frame2": second}
        if isinstance(self.task, AudioRecipe):
            sound = self.task.sample_audio()[: self.config.audio.samples]
            return sound, {"audio": sound}
        if isinstance(self.task, MultimodalRecipe):
            video, audio = self.task.sample_clip()
            return (video, audio), {"video": video, "audio": audio}
        vectors = np.random.default_rng(0).standard_normal((9, self.config.channels), np.float32)
        return vectors, {"vectors": vectors}
