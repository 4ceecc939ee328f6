"""Image classification on a device: images in, labels with probabilities out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import overload

import numpy as np

from perceiver_runtime.bundle.reader import Bundle
from perceiver_runtime.common.arrays import Array
from perceiver_runtime.common.errors import InputError
from perceiver_runtime.processing.image import ImageProcessor
from perceiver_runtime.tasks.labels import Labels, LabelScore
from perceiver_runtime.tasks.pipeline import Floats, Pipeline, RuntimeOptions


class ImageClassificationPipeline(Pipeline):
    """Labels of images.

    >>> classify = perceiver_runtime.load("image-classification")
    >>> classify(image, top_k=1)            # uint8 (H, W, 3) of any size, grey (H, W), or float in [0, 1]
    [LabelScore(label='tabby, tabby cat', probability=0.8)]
    """

    def __init__(self, bundle: Bundle, runtime_options: RuntimeOptions) -> None:
        self.processor = ImageProcessor.from_json(bundle.manifest.processor)
        self.labels = Labels.of(bundle)
        super().__init__(bundle, runtime_options)

    @overload
    def __call__(self, images: Array, *, top_k: int = 5, size: tuple[int, int] | None = None) -> list[LabelScore]: ...

    @overload
    def __call__(
        self, images: list[Array], *, top_k: int = 5, size: tuple[int, int] | None = None
    ) -> list[list[LabelScore]]: ...

    def __call__(
        self, images: Array | list[Array], *, top_k: int = 5, size: tuple[int, int] | None = None
    ) -> list[LabelScore] | list[list[LabelScore]]:
        """The `top_k` best labels of an image, or of each of a list, best first.

        `size` (height, width) runs the model on another input size than the bundle's, where its positions are Fourier
        features; learned ones raise `InputError`, as images that are none do.
        """
        if isinstance(images, list):
            return [self.labels.scores(row, top_k) for row in self._logits(images, size)]
        return self.labels.scores(self._logits([images], size)[0], top_k)

    def known_answer(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Inputs `image`; output `logits` (labels,)."""
        return {"logits": self._logits([inputs["image"]])[0]}

    def _logits(self, images: Sequence[Array], size: tuple[int, int] | None = None) -> Floats:
        if not images:
            raise InputError("the list of images is empty: give at least one")
        processor = self.processor if size is None else self._processor(size)
        names = ["the image"] if len(images) == 1 else [f"image {number}" for number in range(len(images))]
        return np.concatenate([self._batch_logits(part, processor) for part in self.batches(list(zip(images, names)))])

    def _batch_logits(self, images: Sequence[tuple[Array, str]], processor: ImageProcessor) -> Floats:
        with self.timing.stage("preprocess"):
            pixel_values = np.stack([processor(image, name) for image, name in images])
        latents = self.encode_inputs({"pixel_values": pixel_values}, (len(images), None, None))[0]
        return self.run("decode", {"latents": latents}, shape=(len(images), len(self.labels.names)))

    def _processor(self, size: tuple[int, int]) -> ImageProcessor:
        """The processor for another input size. Raises `InputError` where the graph takes one size only."""
        shape = self.manifest.graphs["encode"].inputs[0].shape
        if any(isinstance(side, int) for side in shape[2:]):
            raise InputError("this bundle's positions are learned, of one size: export it again with --image-size")
        return self.processor.resized(size)
