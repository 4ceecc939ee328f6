"""What object detection gives."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from perceiver_runtime.common.errors import BackendError
from perceiver_runtime.common.plain import Record, html_table
from perceiver_runtime.files.pictures.png import encode_png
from perceiver_runtime.tasks.object_detection.picture import draw_boxes


@dataclass(frozen=True)
class DetectedObject(Record):
    """A label, its probability, and a box: x0, y0, x1, y1 in pixels of the picture, from its upper left corner."""

    label: str
    score: float
    box: tuple[float, float, float, float]


class DetectedObjects(list[DetectedObject]):
    """Objects in a picture, the surest first: a list, which notebooks show on the picture where it was the only one, else as a
    table. `image` is that picture, None where there were several, and in a pickle.
    """

    def __init__(self, objects: Iterable[DetectedObject], image: NDArray[Any] | None = None) -> None:
        super().__init__(objects)
        self.image = image

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (list(self),)

    def to_dict(self) -> dict[str, Any]:
        """`objects`, a list of the fields of each."""
        return {"objects": [each.to_dict() for each in self]}

    def _repr_png_(self) -> bytes | None:
        try:
            return None if self.image is None else encode_png(draw_boxes(self.image, self))
        except BackendError:  # without Pillow, a table
            return None

    def _repr_html_(self) -> str | None:
        if self._repr_png_() is not None:
            return None
        boxes = (", ".join(f"{side:.0f}" for side in each.box) for each in self)
        rows = ((each.label, each.score, box) for each, box in zip(self, boxes))
        return html_table(("label", "score", "x0, y0, x1, y1"), rows)
