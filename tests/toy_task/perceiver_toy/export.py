"""From the model to a bundle."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.export import Dim

from perceiver_deploy.tasks import samples
from perceiver_deploy.tasks.recipe import Case, ClassificationRecipe, Inputs, shape_text, tensors
from perceiver_deploy.tasks.registry import ExportTask
from perceiver_export.graph_spec import GraphSpec, traceable
from perceiver_export.tasks.text import label_decode
from perceiver_runtime.bundle.manifest import Range
from perceiver_runtime.tasks.known_answer import Sample
from perceiver_toy.runtime import SERIES, read_series


class SeriesEncode(nn.Module):
    """series, attention_mask → latents."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.encoder = model.encoder

    def forward(self, series: Tensor, attention_mask: Tensor) -> Tensor:
        """series (B, M, C), attention_mask (B, M) → latents (B, N, D)."""
        latents: Tensor = self.encoder(series, attention_mask)
        return latents


def series_graphs(model: Any, *, fused: bool = False) -> list[GraphSpec]:
    """What to trace."""
    traced, config = traceable(model), model.config
    batch, length = Dim("B", min=1), Dim("M", min=1)
    encode = GraphSpec(
        "encode",
        SeriesEncode(traced),
        {"series": torch.zeros(2, 7, config.channels), "attention_mask": torch.ones(2, 7, dtype=torch.int64)},
        {"series": {0: batch, 1: length}, "attention_mask": {0: batch, 1: length}},
        {"latents": ("B", config.encoder.num_latents, config.encoder.latent_channels)},
    )
    return [encode, label_decode(traced)]


class SeriesRecipe(ClassificationRecipe):
    """Series to labels."""

    usage = "SERIES.csv"
    sample_files = "series (.csv)"

    def processor(self) -> dict[str, Any]:
        """What the runtime reads."""
        return {"channels": self.config.channels, "problem": self.config.problem}

    def ranges(self) -> dict[str, Range]:
        """Sizes."""
        return {"B": Range(1, 16), "M": Range(1, 4096)}

    def cases(self) -> Iterator[Case]:
        """A few lengths."""
        for lengths in ((1, 2), (37, 11, 5), (500, 400)):
            inputs = SERIES.reader(self.processor())([self._series(length) for length in lengths], {})
            yield Case(shape_text(inputs), (inputs,))

    def read_samples(self, folder: Path) -> list[Inputs]:
        """Each CSV file."""
        read = SERIES.reader(self.processor())
        return [read([read_series(file)], {}) for file in self.first(samples.files(folder, (".csv",)), folder)]

    def encode(self, model: Any, inputs: Inputs) -> Tensor:
        """torch's latents."""
        latents: Tensor = model.encode(*tensors(inputs).values())
        return latents

    def sample(self, model: Any) -> Sample:
        """One series."""
        series = self._series(20)
        return Sample({"series": series}, {"logits": self.reference(model, self._inputs(series))["logits"][0]})

    def _inputs(self, series: Any) -> Inputs:
        return SERIES.reader(self.processor())([series], {})

    def _series(self, length: int) -> Any:
        return np.random.default_rng(length).standard_normal((length, self.config.channels)).astype(np.float32)


TASK = ExportTask(SeriesRecipe)
