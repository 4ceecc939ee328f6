"""Object detection on a device: pictures in, labelled boxes out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from perceiver_runtime.bundle.reader import Bundle
from perceiver_runtime.common.amounts import whole_number
from perceiver_runtime.common.arrays import Array
from perceiver_runtime.common.errors import InputError, IntegrityError
from perceiver_runtime.files.images import Picture, read_image
from perceiver_runtime.processing.heads.boxes import Region, clipped, find, region_seen
from perceiver_runtime.processing.image import ImageProcessor
from perceiver_runtime.tasks.kinds.image import IMAGE
from perceiver_runtime.tasks.labels import Labels
from perceiver_runtime.tasks.object_detection.objects import DetectedObject, DetectedObjects
from perceiver_runtime.tasks.one_pass import OnePassPipeline
from perceiver_runtime.tasks.pipeline import Floats, RuntimeOptions


class _Answer(NamedTuple):
    """Of a picture of this size, what the model gives."""

    height: int
    width: int
    logits: Floats
    boxes: Floats


class ObjectDetectionPipeline(OnePassPipeline):
    """Labelled boxes of pictures.

    >>> detect = perceiver_runtime.load("detector")
    >>> detect("street.jpg", threshold=0.7)     # or a PIL image, or an array (H, W, 3) of any size
    [DetectedObject(label='cat', score=0.93, box=(12.5, 40.1, 310.0, 288.6))]
    """

    def __init__(self, bundle: Bundle, runtime_options: RuntimeOptions) -> None:
        self.processor = ImageProcessor.from_json(bundle.manifest.processor)
        self.labels = Labels.of(bundle)
        if self.labels.problem_type == "regression":
            raise IntegrityError("boxes have labels with probabilities, the manifest says regression: export the bundle again")
        super().__init__(bundle, runtime_options)

    def __call__(self, images: Picture, *, threshold: float = 0.5, top_k: int = 100) -> Any:
        """The objects in a picture whose score is above `threshold`, at most `top_k`, the surest first (`DetectedObjects`).

        Those of each for a list, a generator, or an array (N, H, W, 3); a picture is what `read_image` takes. Boxes are in
        pixels of the picture as it was given, and end at its edges. Raises `InputError`.
        """
        top_k = whole_number("top_k", top_k, InputError)
        items, many = IMAGE.items(images)
        items = items if many else [read_image(items[0])]
        answers = self._answers(items)
        with self.timing.stage("postprocess"):
            found = [self._objects(answer, threshold, top_k) for answer in answers]
        return found if many else DetectedObjects(found[0], items[0])

    def known_answer(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Inputs `image`; outputs `logits` (queries, labels) and `boxes` (queries, 4) as the model gives them."""
        (answer,) = self._answers([inputs["image"]])
        return {"logits": answer.logits, "boxes": answer.boxes}

    def _objects(self, answer: _Answer, threshold: float, top_k: int) -> DetectedObjects:
        height, width, logits, boxes = answer
        region: Region = region_seen(self.processor, height, width)
        exclusive = self.labels.problem_type == "single_label"
        found = find(self.labels.probabilities(logits), boxes, region, threshold, top_k, exclusive=exclusive)
        return DetectedObjects(
            DetectedObject(self.labels.names[label], float(score), tuple(float(side) for side in box))  # type: ignore[arg-type]
            for score, label, box in zip(found.scores, found.labels, clipped(found.boxes, height, width))
        )

    def _answers(self, images: Sequence[Picture]) -> list[_Answer]:
        if not images:
            raise InputError("the list of images is empty: give at least one")
        names = ["the image"] if len(images) == 1 else [f"image {number}" for number in range(len(images))]
        return [each for part in self.batches(list(zip(images, names))) for each in self._batch(part)]

    def _batch(self, images: Sequence[tuple[Picture, str]]) -> list[_Answer]:
        with self.timing.stage("preprocess"):
            read = [(read_image(image, name), name) for image, name in images]
            pixel_values = np.stack([self.processor(image, name) for image, name in read])
        classes = len(self.labels.names) + (self.labels.problem_type == "single_label")
        shapes = {"logits": (len(images), None, classes), "boxes": (len(images), None, 4)}
        found = self.answer({"pixel_values": pixel_values}, **shapes)
        sizes = [image.shape[:2] for image, _ in read]
        return [_Answer(*size, *each) for size, *each in zip(sizes, found["logits"], found["boxes"])]
