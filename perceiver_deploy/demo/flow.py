"""The motion between two photographs, as a picture.

The photographs are scikit-image's `stereo_motorcycle` (Middlebury 2014), whose true motion is measured: so the picture
comes with the truth beside it, and the error with a number.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from skimage import data

import perceiver_runtime as pr
from perceiver_runtime.files.images import write_image

SCALE, OFFSET = 0.3, 31  # of the picture's size; pixels at full size


class StereoPair(NamedTuple):
    """frame1, frame2 uint8 (H, W, 3); flow float32 (H, W, 2) in pixels; known (H, W), where the motion was measured."""

    frame1: NDArray[np.uint8]
    frame2: NDArray[np.uint8]
    flow: NDArray[np.float32]
    known: NDArray[np.bool_]


def stereo_pair() -> StereoPair:
    """The motorcycle from the left and from the right, with motion of -7 to 9 pixels.

    Between the views everything moves left, by 7 to 60 pixels. The right view is shifted back by `OFFSET` pixels (near
    things then move left, far ones right) and both are reduced to `SCALE` of their size.
    """
    left, right, disparity = data.stereo_motorcycle()
    left, right, disparity = left[:, OFFSET:], right[:, :-OFFSET], disparity[:, OFFSET:]
    size = (round(left.shape[1] * SCALE), round(left.shape[0] * SCALE))
    frames = [np.asarray(Image.fromarray(view).resize(size, Image.Resampling.LANCZOS)) for view in (left, right)]
    rows = ((np.arange(size[1]) + 0.5) / SCALE).astype(int)
    columns = ((np.arange(size[0]) + 0.5) / SCALE).astype(int)
    measured = disparity[rows[:, None], columns]
    known = np.isfinite(measured)
    motion = (OFFSET - np.where(known, measured, OFFSET)) * SCALE
    return StereoPair(frames[0], frames[1], np.stack([motion, np.zeros_like(motion)], axis=-1).astype(np.float32), known)


def show(bundle: Path, folder: Path) -> list[str]:
    """Write flow.png: both frames, the flow, the measured motion."""
    pair = stereo_pair()
    with pr.load(bundle, device="cpu") as flow:
        field = flow(pair.frame1, pair.frame2)
        seconds = sum(flow.timing.seconds().values())
    scale = float(np.hypot(*field.transpose(2, 0, 1)).max())
    truth = pr.flow_to_image(np.where(pair.known[..., None], pair.flow, np.nan), max_motion=scale)
    panels = np.concatenate([pair.frame1, pair.frame2, pr.flow_to_image(field, max_motion=scale), truth], axis=1)
    write_image(folder / "flow.png", panels.repeat(2, axis=0).repeat(2, axis=1))
    error = np.linalg.norm(field - pair.flow, axis=-1)[pair.known].mean()
    zero = np.linalg.norm(pair.flow, axis=-1)[pair.known].mean()
    height, width = field.shape[:2]
    return [
        f"two photographs of {width}x{height} in {seconds:.1f} s: mean end-point error {error:.2f} px against the measured",
        f"motion (answering no motion: {zero:.2f} px)",
        f"{folder / 'flow.png'}: frames, flow, measured motion",
    ]
