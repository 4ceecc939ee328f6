"""The motion between two photographs, as a picture: what `make demo` shows.

    perceiver-export --task flow -o demo/flow
    python -m perceiver_deploy.demo demo

The photographs are scikit-image's `stereo_motorcycle` (Middlebury 2014), whose true motion is measured: so the picture
comes with the truth beside it, and the error with a number.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from skimage import data

import perceiver_runtime as pr
from perceiver_runtime.image_files import write_image

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
    left, right, disparity = data.stereo_motorcycle()  # type: ignore[no-untyped-call]
    left, right, disparity = left[:, OFFSET:], right[:, :-OFFSET], disparity[:, OFFSET:]
    size = (round(left.shape[1] * SCALE), round(left.shape[0] * SCALE))
    frames = [np.asarray(Image.fromarray(view).resize(size, Image.Resampling.LANCZOS)) for view in (left, right)]
    rows = ((np.arange(size[1]) + 0.5) / SCALE).astype(int)
    columns = ((np.arange(size[0]) + 0.5) / SCALE).astype(int)
    measured = disparity[rows[:, None], columns]
    known = np.isfinite(measured)
    motion = (OFFSET - np.where(known, measured, OFFSET)) * SCALE
    return StereoPair(frames[0], frames[1], np.stack([motion, np.zeros_like(motion)], axis=-1).astype(np.float32), known)


def main() -> None:
    """Run the bundle in FOLDER/flow on the pair and write the pictures into FOLDER."""
    parser = argparse.ArgumentParser(prog="python -m perceiver_deploy.demo", description=__doc__)
    parser.add_argument("folder", type=Path, help="folder that holds the bundle `flow`; pictures are written here")
    folder = parser.parse_args().folder
    pair = stereo_pair()
    with pr.load(folder / "flow", device="cpu") as flow:
        field = flow(pair.frame1, pair.frame2)
        seconds = sum(flow.timing.seconds().values())
    scale = float(np.hypot(*field.transpose(2, 0, 1)).max())
    truth = pr.flow_to_image(np.where(pair.known[..., None], pair.flow, np.nan), max_motion=scale)
    picture = pr.flow_to_image(field, max_motion=scale)
    for name, image in (("frame1", pair.frame1), ("frame2", pair.frame2), ("flow", picture)):
        write_image(folder / f"{name}.png", image)
    panels = np.concatenate([pair.frame1, pair.frame2, picture, truth], axis=1)
    write_image(folder / "side_by_side.png", panels.repeat(2, axis=0).repeat(2, axis=1))
    error = np.linalg.norm(field - pair.flow, axis=-1)[pair.known].mean()
    zero = np.linalg.norm(pair.flow, axis=-1)[pair.known].mean()
    height, width = field.shape[:2]
    print(f"flow between two photographs of {width}x{height} in {seconds:.1f} s on the CPU")
    print(f"mean end-point error {error:.2f} px against the measured motion (answering no motion: {zero:.2f} px)")
    print(f"pictures in {folder}: frame1.png, frame2.png, flow.png, and side_by_side.png (frames, flow, measured motion)")


if __name__ == "__main__":
    main()
