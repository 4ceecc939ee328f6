"""Image classification on a device: images in, labels with probabilities out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from perceiver_runtime.bundle.reader import Bundle
from perceiver_runtime.common.arrays import Array
from perceiver_runtime.common.errors import InputError
from perceiver_runtime.files.images import Picture
from perceiver_runtime.processing.image import ImageProcessor
from perceiver_runtime.tasks.kinds.image import IMAGE
from perceiver_runtime.tasks.labels import Labels
from perceiver_runtime.tasks.pipeline import Floats, Pipeline, RuntimeOptions


class ImageClassificationPipeline(Pipeline):
    """Labels of images.

    >>> classify = perceiver_runtime.load("image-classification")
    >>> classify("cat.jpg", top_k=1)        # or a PIL image, or an array (H, W, 3) of any size
    [LabelScore(label='tabby, tabby cat', probability=0.8)]
    """

    def __init__(self, bundle: Bundle, runtime_options: RuntimeOptions) -> None:
        self.processor = ImageProcessor.from_json(bundle.manifest.processor)
        self.labels = Labels.of(bundle)
        super().__init__(bundle, runtime_options)

    def __call__(self, images: Picture, *, top_k: int = 5, size: tuple[int, int] | None = None) -> Any:
        """The `top_k` best labels of an image, best first; those of each for a list, a generator, or an array (N, H, W, 3).

        An image is what `perceiver_runtime.read_image` takes: a path, the bytes of a file, a file object, a PIL image, or an
        array, uint8 or float in [0, 1], (H, W, 3) in RGB (`from_bgr` for OpenCV's), (H, W, 4), or (H, W) for grey. `size`
        (height, width) runs the model on another input size than the bundle's, where its positions are Fourier features;
        learned ones raise `InputError`, as images that are none do.
        """
        items, many = IMAGE.items(images)
        labels = [self.labels.scores(row, top_k) for row in self._logits(items, size)]
        return labels if many else labels[0]

    def known_answer(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Inputs `image`; output `logits` (labels,)."""
        return {"logits": self._logits([inputs["image"]])[0]}

    def _logits(self, images: Sequence[Picture], size: tuple[int, int] | None = None) -> Floats:
        if not images:
            raise InputError("the list of images is empty: give at least one")
        processor = self.processor if size is None else self._processor(size)
        names = ["the image"] if len(images) == 1 else [f"image {number}" for number in range(len(images))]
        return np.concatenate([self._batch_logits(part, processor) for part in self.batches(list(zip(images, names)))])

    def _batch_logits(self, images: Sequence[tuple[Picture, str]], processor: ImageProcessor) -> Floats:
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
