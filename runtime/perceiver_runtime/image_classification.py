"""Image classification on a device: images in, labels with probabilities out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import overload

import numpy as np

from perceiver_runtime.bundle import Bundle
from perceiver_runtime.classification import Labels, LabelScore
from perceiver_runtime.errors import InputError
from perceiver_runtime.image_processing import ImageProcessor
from perceiver_runtime.pipeline import Array, Floats, Pipeline


class ImageClassificationPipeline(Pipeline):
    """Labels of images.

    >>> classify = perceiver_runtime.load("image-classification")
    >>> classify(image, top_k=1)            # uint8 (H, W, 3) of any size, grey (H, W), or float in [0, 1]
    [LabelScore(label='tabby, tabby cat', probability=0.8)]
    """

    def __init__(self, bundle: Bundle, *, device: str = "auto", threads: int | None = None) -> None:
        self.processor = ImageProcessor.from_json(bundle.manifest.processor)
        self.labels = Labels.of(bundle)
        super().__init__(bundle, device=device, threads=threads)

    @overload
    def __call__(self, images: Array, *, top_k: int = 5) -> list[LabelScore]: ...

    @overload
    def __call__(self, images: list[Array], *, top_k: int = 5) -> list[list[LabelScore]]: ...

    def __call__(self, images: Array | list[Array], *, top_k: int = 5) -> list[LabelScore] | list[list[LabelScore]]:
        """The `top_k` best labels of an image, or of each of a list (one batch), best first. Raises `InputError`."""
        if isinstance(images, list):
            return [self.labels.scores(row, top_k) for row in self._logits(images)]
        return self.labels.scores(self._logits([images])[0], top_k)

    def known_answer(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Inputs `image`; output `logits` (labels,)."""
        return {"logits": self._logits([inputs["image"]])[0]}

    def _logits(self, images: Sequence[Array]) -> Floats:
        if not images:
            raise InputError("the list of images is empty: give at least one")
        with self.timing.stage("preprocess"):
            names = ["the image"] if len(images) == 1 else [f"image {number}" for number in range(len(images))]
            pixel_values = np.stack([self.processor(image, name) for image, name in zip(images, names)])
        latents = self.run("encode", {"pixel_values": pixel_values}, shape=(len(images), None, None))
        return self.run("decode", {"latents": latents}, shape=(len(images), len(self.labels.names)))
