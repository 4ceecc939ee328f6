"""Bare features on a device: the latents of a text, an image, a pair of frames, a clip, or vectors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from perceiver_runtime.backends.input_check import places
from perceiver_runtime.bundle.manifest import Manifest
from perceiver_runtime.bundle.reader import Bundle
from perceiver_runtime.common.arrays import Array
from perceiver_runtime.common.errors import InputError, IntegrityError
from perceiver_runtime.tasks.features.latents import Latents, as_latents
from perceiver_runtime.tasks.kinds import KINDS
from perceiver_runtime.tasks.kinds.kind import InputKind, TextOptions
from perceiver_runtime.tasks.pipeline import Floats, Pipeline, RuntimeOptions


class FeaturesPipeline(Pipeline):
    """The encoder of a checkpoint, alone.

    >>> features = perceiver_runtime.load("features")
    >>> latents = features("a text")        # float32 (N, D); of a list: (B, N, D)

    What it takes is what its checkpoint takes (`manifest.processor["input"]`): `text` a str or a pair, `image` what
    `read_image` takes, `frames` a tuple of two such, `clip` a tuple (video, audio or None) with the audio at the bundle's rate
    or a `Sound` of `read_wav`, `vectors` an array (M, channels) or a .npy file. A list or a generator is a batch, and so is a
    stack of images or vectors; of texts and vectors, items may differ in length.
    """

    graph_names = ("encode",)

    def __init__(self, bundle: Bundle, runtime_options: RuntimeOptions) -> None:
        self.kind = kind_of(bundle.manifest)
        self.input = self.kind.name
        self._read = self.kind.reader(bundle.manifest.processor)
        super().__init__(bundle, runtime_options)

    def __call__(self, items: Any, *, truncate: bool = False, plain: bool = False) -> Latents:
        """Latents (N, D) of an item, (B, N, D) of several. Raises `InputError`.

        `truncate` cuts long texts; in `plain` ones `[MASK]` and other names of tokens are ordinary text: take that for texts
        of strangers.
        """
        batch, many = self.kind.items(items)
        if not batch:
            raise InputError("the list is empty: give at least one item")
        options = {"truncate": truncate, "plain": plain}
        latents = as_latents(np.concatenate([self._latents(part, options) for part in self.batches(batch)]))
        return latents if many else as_latents(np.asarray(latents)[0])

    def _latents(self, batch: Sequence[Any], options: TextOptions) -> Floats:
        with self.timing.stage("preprocess"):
            inputs = self._read(list(batch), options)
        return self.run("encode", inputs, shape=(len(batch), None, None))

    def known_answer(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Inputs as the checkpoint's own task keeps them, and `rows`; output `latents`, those rows (rows, D)."""
        latents = self(self.kind.from_sample(inputs))
        return {"latents": latents[places(inputs, "rows", len(latents))]}


def kind_of(manifest: Manifest) -> InputKind:
    """What a features bundle takes. Raises `IntegrityError`."""
    name = manifest.processor.get("input")
    if not isinstance(name, str) or name not in KINDS:
        raise IntegrityError(f"the manifest's features are of {name!r}, known: {', '.join(KINDS)}")
    return KINDS[name]
