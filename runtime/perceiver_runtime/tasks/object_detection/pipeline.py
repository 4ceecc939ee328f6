"""Object detection on a device: pictures in, labelled boxes out."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np

from perceiver_runtime.bundle.reader import Bundle
from perceiver_runtime.common.amounts import whole_number
from perceiver_runtime.common.arrays import Array
from perceiver_runtime.common.errors import InputError, IntegrityError
from perceiver_runtime.processing.heads.boxes import Region, clipped, find, region_seen
from perceiver_runtime.processing.image import ImageProcessor
from perceiver_runtime.tasks.labels import Labels
from perceiver_runtime.tasks.one_pass import OnePassPipeline
from perceiver_runtime.tasks.pipeline import Floats, RuntimeOptions


@dataclass(frozen=True)
class DetectedObject:
    """A label, its probability, and a box: x0, y0, x1, y1 in pixels of the picture, from its upper left corner."""

    label: str
    score: float
    box: tuple[float, float, float, float]


class DetectedObjects(list[DetectedObject]):
    """Objects in a picture, the surest first."""

    def to_dict(self) -> dict[str, Any]:
        """`objects`, a list of the fields of each."""
        return {"objects": [{**dataclasses.asdict(each), "box": list(each.box)} for each in self]}


class ObjectDetectionPipeline(OnePassPipeline):
    """Labelled boxes of pictures.

    >>> detect = perceiver_runtime.load("detector")
    >>> detect(image, threshold=0.7)            # uint8 (H, W, 3) of any size
    [DetectedObject(label='cat', score=0.93, box=(12.5, 40.1, 310.0, 288.6))]
    """

    def __init__(self, bundle: Bundle, runtime_options: RuntimeOptions) -> None:
        self.processor = ImageProcessor.from_json(bundle.manifest.processor)
        self.labels = Labels.of(bundle)
        if self.labels.problem_type == "regression":
            raise IntegrityError("boxes have labels with probabilities, the manifest says regression: export the bundle again")
        super().__init__(bundle, runtime_options)

    @overload
    def __call__(self, images: Array, *, threshold: float = 0.5, top_k: int = 100) -> DetectedObjects: ...

    @overload
    def __call__(self, images: list[Array], *, threshold: float = 0.5, top_k: int = 100) -> list[DetectedObjects]: ...

    def __call__(
        self, images: Array | list[Array], *, threshold: float = 0.5, top_k: int = 100
    ) -> DetectedObjects | list[DetectedObjects]:
        """The objects in a picture, or in each of a list, whose score is above `threshold`, at most `top_k`, the surest first.

        Boxes are in pixels of the picture as it was given, and end at its edges. Raises `InputError`.
        """
        top_k = whole_number("top_k", top_k, InputError)
        items = images if isinstance(images, list) else [images]
        answers = self._answers(items)
        with self.timing.stage("postprocess"):
            found = [self._objects(image, *answer, threshold, top_k) for image, answer in zip(items, answers)]
        return found if isinstance(images, list) else found[0]

    def known_answer(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Inputs `image`; outputs `logits` (queries, labels) and `boxes` (queries, 4) as the model gives them."""
        ((logits, boxes),) = self._answers([inputs["image"]])
        return {"logits": logits, "boxes": boxes}

    def _objects(self, image: Array, logits: Floats, boxes: Floats, threshold: float, top_k: int) -> DetectedObjects:
        height, width = image.shape[:2]
        region: Region = region_seen(self.processor, height, width)
        exclusive = self.labels.problem_type == "single_label"
        found = find(self.labels.probabilities(logits), boxes, region, threshold, top_k, exclusive=exclusive)
        return DetectedObjects(
            DetectedObject(self.labels.names[label], float(score), tuple(float(side) for side in box))  # type: ignore[arg-type]
            for score, label, box in zip(found.scores, found.labels, clipped(found.boxes, height, width))
        )

    def _answers(self, images: Sequence[Array]) -> list[tuple[Floats, Floats]]:
        """Of each picture, logits and boxes."""
        if not images:
            raise InputError("the list of images is empty: give at least one")
        names = ["the image"] if len(images) == 1 else [f"image {number}" for number in range(len(images))]
        return [each for part in self.batches(list(zip(images, names))) for each in self._batch(part)]

    def _batch(self, images: Sequence[tuple[Array, str]]) -> list[tuple[Floats, Floats]]:
        with self.timing.stage("preprocess"):
            pixel_values = np.stack([self.processor(image, name) for image, name in images])
        classes = len(self.labels.names) + (self.labels.problem_type == "single_label")
        shapes = {"logits": (len(images), None, classes), "boxes": (len(images), None, 4)}
        found = self.answer({"pixel_values": pixel_values}, **shapes)
        return list(zip(found["logits"], found["boxes"]))
