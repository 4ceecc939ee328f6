"""The field that flow gives: an array, which notebooks show as a picture."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from perceiver_runtime.common.arrays import ArrayResult
from perceiver_runtime.files.pictures.png import encode_png
from perceiver_runtime.processing.flow_image import flow_to_image


class FlowField(ArrayResult):
    """Motion (H, W, 2), float32 in pixels: pixel (x, y) of the first frame is at (x + dx, y + dy) in the second."""

    @property
    def is_whole(self) -> bool:
        """Whether it is a field still, not a transposed or reshaped one."""
        return self.ndim == 3 and self.shape[2] == 2 and self.size > 0

    def motion(self) -> dict[str, float]:
        """mean_dx, mean_dy, mean_length and max_length, in pixels."""
        field = np.asarray(self)
        length = np.hypot(field[..., 0], field[..., 1])
        numbers = {"mean_dx": field[..., 0].mean(), "mean_dy": field[..., 1].mean()}
        numbers |= {"mean_length": length.mean(), "max_length": length.max()}
        return {name: float(number) for name, number in numbers.items()}

    def to_dict(self) -> dict[str, Any]:
        """The size, and `motion`. The field itself is for files: `write_flo`, `write_kitti_flow`, `tolist()`."""
        if not self.is_whole:
            return {"values": np.asarray(self).tolist()}
        return {"width": self.shape[1], "height": self.shape[0], **self.motion()}

    def __repr__(self) -> str:
        if not self.is_whole:
            return repr(np.asarray(self))
        found = self.motion()
        return (
            f"FlowField({self.shape[1]}x{self.shape[0]}, mean motion ({found['mean_dx']:.2f}, {found['mean_dy']:.2f}) px, "
            f"longest {found['max_length']:.2f} px)"
        )

    def _repr_png_(self) -> bytes | None:
        """The field in Middlebury's colours."""
        return encode_png(flow_to_image(np.asarray(self))) if self.is_whole else None


def as_field(array: NDArray[np.float32]) -> FlowField:
    """An array (H, W, 2) as a field, not copied."""
    return array.view(FlowField)
