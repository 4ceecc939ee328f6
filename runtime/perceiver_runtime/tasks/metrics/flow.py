"""Flow: the end-point error, and the share of outliers as KITTI counts them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perceiver_runtime.common.errors import InputError
from perceiver_runtime.files.flo import read_flo
from perceiver_runtime.files.picture_series import PICTURES
from perceiver_runtime.files.pictures.kitti import read_kitti_flow
from perceiver_runtime.processing.flow_image import known_motion
from perceiver_runtime.tasks.metrics.metric import Metric, Row, Score

OUTLIER_PIXELS, OUTLIER_SHARE = 3.0, 0.05  # both exceeded: the definition of KITTI 2015
AGREE_PIXELS = 0.5  # of the mean distance of two fields that are called the same
_KITTI_TRUTHS = ("flow_occ", "flow_noc")
_KITTI_FRAMES = ("image_2", "colored_0", "image_0")


class FlowMetric(Score):
    """Over all pixels whose motion is known, of all pairs together."""

    def __init__(self) -> None:
        self._pixels, self._outliers, self._pairs = 0, 0, 0
        self._error = self._still = 0.0

    def add(self, answer: Any, truth: NDArray[np.float32]) -> None:
        """Count a field (H, W, 2) against the true one, where that is known."""
        field = np.asarray(answer)
        if field.shape != truth.shape:
            sizes = [f"{each.shape[1]}x{each.shape[0]}" for each in (field, truth)]
            raise InputError(f"the frames have {sizes[0]} pixels, the true flow {sizes[1]}")
        where = known_motion(truth)
        if not where.any():
            raise InputError("the true flow is known nowhere")
        error, length = end_point_errors(field, truth)[where], np.hypot(truth[..., 0], truth[..., 1])[where]
        self._pairs += 1
        self._pixels += int(where.sum())
        self._error += float(error.astype(np.float64).sum())
        self._still += float(length.astype(np.float64).sum())
        self._outliers += int(((error > OUTLIER_PIXELS) & (error > OUTLIER_SHARE * length)).sum())

    def result(self) -> dict[str, Any]:
        """end_point_error_px, the same of no motion at all, and outliers, a share."""
        return {
            "pairs": self._pairs,
            "pixels": self._pixels,
            "end_point_error_px": self._error / self._pixels,
            "end_point_error_of_no_motion_px": self._still / self._pixels,
            "outliers": self._outliers / self._pixels,
        }


def end_point_errors(first: NDArray[Any], second: NDArray[Any]) -> NDArray[np.float32]:
    """The length of the difference at each pixel: (H, W)."""
    apart = np.asarray(first, np.float32) - np.asarray(second, np.float32)
    errors: NDArray[np.float32] = np.hypot(apart[..., 0], apart[..., 1])
    return errors


def render(result: Mapping[str, Any]) -> list[str]:
    """The same for people."""
    return [
        f"end-point error {result['end_point_error_px']:.3f} px",
        f"  and of an answer without motion {result['end_point_error_of_no_motion_px']:.3f} px",
        f"outliers {result['outliers']:.2%}: more than {OUTLIER_PIXELS:g} px and {OUTLIER_SHARE:.0%} of the true motion off",
        f"over {result['pixels']} known pixels of {result['pairs']} pairs",
    ]


def distance(first: Any, second: Any) -> tuple[bool, dict[str, float]]:
    """Whether two fields are within half a pixel on average; the mean and largest distance in pixels."""
    errors = end_point_errors(first, second)
    return bool(errors.mean() <= AGREE_PIXELS), {"mean_px": float(errors.mean()), "largest_px": float(errors.max())}


def read_truth(path: str) -> NDArray[np.float32]:
    """A `.flo` file, or KITTI's 16-bit PNG. Raises `InputError`."""
    readers = {".flo": read_flo, ".png": read_kitti_flow}
    reader = readers.get(Path(path).suffix.lower())
    if reader is None:
        raise InputError(f"{path} is no true flow: give a .flo file, or KITTI's 16-bit .png")
    return reader(path)


def rows(folder: Path) -> list[Row]:
    """Of KITTI's layout: image_2/000000_10.png, …_11.png, flow_occ/000000_10.png; or folders of two frames and one .flo."""
    truths = next((folder / name for name in _KITTI_TRUTHS if (folder / name).is_dir()), None)
    frames = next((folder / name for name in _KITTI_FRAMES if (folder / name).is_dir()), None)
    if truths is not None and frames is not None:
        pairs = [(each, each.name.replace("_10.", "_11.")) for each in sorted(truths.glob("*_10.png"))]
        found = [_row(frames / truth.name, frames / second, truth) for truth, second in pairs]
    else:
        found = [row for inside in (folder, *sorted(folder.rglob("*"))) if inside.is_dir() for row in _scene(inside)]
    if not found:
        raise InputError(
            f"{folder} has neither KITTI's image_2 and flow_occ, nor folders that hold two frames and a .flo file: "
            "give a CSV file with columns frame1, frame2, flow"
        )
    return found


def _scene(folder: Path) -> list[Row]:
    inside = sorted(each for each in folder.iterdir() if each.is_file() and not each.name.startswith("."))
    frames = [each for each in inside if each.suffix.lower() in PICTURES]
    truths = [each for each in inside if each.suffix.lower() == ".flo"]
    return [_row(frames[0], frames[1], truths[0])] if (len(frames), len(truths)) == (2, 1) else []


def _row(first: Path, second: Path, truth: Path) -> Row:
    return {"frame1": str(first), "frame2": str(second), "flow": str(truth)}


FLOW = Metric(
    truth="flow",
    read_truth=read_truth,
    score=lambda pipeline: FlowMetric(),
    render=render,
    distance=distance,
    rows=rows,
    truth_is_file=True,
)
