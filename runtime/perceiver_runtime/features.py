"""Bare features on a device: the latents of a text, an image, a pair of frames, a clip, or vectors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from perceiver_runtime.arrays import Array
from perceiver_runtime.bundle import Bundle
from perceiver_runtime.errors import InputError, IntegrityError
from perceiver_runtime.flow_processing import FlowProcessor, tile_input
from perceiver_runtime.image_processing import ImageProcessor
from perceiver_runtime.multimodal_processing import MultimodalProcessor
from perceiver_runtime.pipeline import Floats, Pipeline, Placement
from perceiver_runtime.text_processing import TextProcessor, from_bytes

Inputs = dict[str, Array]
TextOptions = Mapping[str, bool]  # truncate and plain, of `TextProcessor.batch`
Reader = Callable[[list[Any], TextOptions], Inputs]


class FeaturesPipeline(Pipeline):
    """The encoder of a checkpoint, alone.

    >>> features = perceiver_runtime.load("features")
    >>> latents = features("a text")        # float32 (N, D); of a list: (B, N, D)

    What it takes is what its checkpoint takes (`manifest.processor["input"]`): `text` a str or a pair, `image` an array,
    `frames` a tuple of two images, `clip` a tuple (video, audio or None) with the audio at the bundle's rate or a
    `Sound` of `read_wav`, `vectors` an array (M, channels). A list is a batch; of texts and vectors, items may differ in
    length.
    """

    graph_names = ("encode",)

    def __init__(self, bundle: Bundle, placement: Placement) -> None:
        constants = bundle.manifest.processor
        self.input = str(constants.get("input"))
        if self.input not in READERS:
            raise IntegrityError(f"the manifest's features are of {self.input!r}, known: {', '.join(READERS)}")
        self._read = READERS[self.input](constants)
        super().__init__(bundle, placement)

    def __call__(self, items: Any, *, truncate: bool = False, plain: bool = False) -> Floats:
        """Latents (N, D) of an item, (B, N, D) of a list. Raises `InputError`.

        `truncate` cuts long texts; in `plain` ones `[MASK]` and other names of tokens are ordinary text: take that for texts
        of strangers.
        """
        batch = items if isinstance(items, list) else [items]
        if not batch:
            raise InputError("the list is empty: give at least one item")
        options = {"truncate": truncate, "plain": plain}
        latents = np.concatenate([self._latents(part, options) for part in self.batches(batch)])
        return latents if isinstance(items, list) else latents[0]

    def _latents(self, batch: Sequence[Any], options: TextOptions) -> Floats:
        with self.timing.stage("preprocess"):
            inputs = self._read(list(batch), options)
        return self.run("encode", inputs, shape=(len(batch), None, None))

    def known_answer(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Inputs as the checkpoint's own task keeps them, and `rows`; output `latents`, those rows (rows, D)."""
        item: Any
        if self.input == "text":
            item = from_bytes(inputs["text"])
        elif self.input == "frames":
            item = (inputs["frame1"], inputs["frame2"])
        elif self.input == "clip":
            item = (inputs["video"], inputs["audio"])
        else:
            item = inputs[self.input]
        return {"latents": self(item)[inputs["rows"]]}


def _texts(constants: dict[str, Any]) -> Reader:
    processor = TextProcessor.from_json(constants)

    def read(items: list[Any], options: TextOptions) -> Inputs:
        input_ids, attention_mask = processor.batch(items, **options)
        return {"input_ids": input_ids, "attention_mask": attention_mask}

    return read


def _images(constants: dict[str, Any]) -> Reader:
    processor = ImageProcessor.from_json(constants)
    return lambda items, _: {"pixel_values": np.stack([processor(item) for item in items])}


def _frames(constants: dict[str, Any]) -> Reader:
    processor = FlowProcessor.from_json(constants)
    return lambda items, _: {"frames": np.stack([tile_input(*_pair(item, "two frames"), processor.tile) for item in items])}


def _clips(constants: dict[str, Any]) -> Reader:
    processor = MultimodalProcessor.from_json(constants)

    def read(items: list[Any], _: TextOptions) -> Inputs:
        pairs = [_pair(item, "video, audio (or None)") for item in items]
        return {
            "video": np.concatenate([processor.video(video) for video, _ in pairs]),
            "audio": np.concatenate([processor.audio(audio) for _, audio in pairs]),
        }

    return read


def _pair(item: Any, what: str) -> tuple[Any, Any]:
    if not isinstance(item, tuple) or len(item) != 2:
        raise InputError(f"give a tuple of {what}; found {type(item).__name__}")
    return item


def _vectors(constants: dict[str, Any]) -> Reader:
    channels = constants.get("channels")
    if type(channels) is not int or channels < 1:
        raise IntegrityError(f"the manifest's features have {channels!r} channels: export the bundle again")

    def read(items: list[Any], _: TextOptions) -> Inputs:
        for item in items:
            valid = isinstance(item, np.ndarray) and item.ndim == 2 and item.shape[1] == channels and len(item) > 0
            if not valid or not np.issubdtype(item.dtype, np.floating) or not np.isfinite(item).all():
                shape = getattr(item, "shape", type(item).__name__)
                raise InputError(f"vectors should be finite floats (M, {channels}), found {shape}")
        inputs = np.zeros((len(items), max(map(len, items)), channels), np.float32)
        mask = np.zeros(inputs.shape[:2], np.int64)
        for row, item in enumerate(items):
            inputs[row, : len(item)], mask[row, : len(item)] = item, 1
        return {"inputs": inputs, "attention_mask": mask}

    return read


# By kind of input: the manifest's constants → (items, options for texts) → inputs of the graph.
READERS: dict[str, Callable[[dict[str, Any]], Reader]] = {
    "text": _texts,
    "image": _images,
    "frames": _frames,
    "clip": _clips,
    "vectors": _vectors,
}
