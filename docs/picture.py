"""Make docs/flow.png: two frames with known motion, and what the shipped checkpoint sees in them.

    python docs/picture.py BUNDLE

A cat moves right and up over a table that moves left. Both photographs (scikit-image's `chelsea` and `coffee`, CC0) are
among those that the checkpoint never saw in training.
"""

import sys
from pathlib import Path

import numpy as np
from skimage import data

import perceiver_runtime as pr
from perceiver_runtime.files.images import write_image

TABLE, CAT = np.array([-4, 1]), np.array([6, -3])  # motion as (dx, dy) in pixels
HEIGHT, WIDTH = 240, 320


def frame(time: int) -> tuple[np.ndarray, np.ndarray]:
    """The scene at time 0 or 1: uint8 (H, W, 3), and where the cat is."""
    x, y = 40 - time * TABLE[0], 60 - time * TABLE[1]
    image = data.coffee()[y : y + HEIGHT, x : x + WIDTH].copy()
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH]
    left, top = 60 + time * CAT[0], 40 + time * CAT[1]
    inside = ((columns - left - 95) / 90) ** 2 + ((rows - top - 85) / 80) ** 2 < 1
    cat = data.chelsea()[20:220, 130:330]
    image[inside] = cat[(rows - top)[inside], (columns - left)[inside]]
    return image, inside


def main() -> None:
    """Run the bundle and write the picture."""
    (frame1, cat), (frame2, _) = frame(0), frame(1)
    with pr.load(sys.argv[1], device="cpu") as flow:
        field = flow(frame1, frame2)
    truth = np.where(cat[..., None], CAT, TABLE)
    error = np.linalg.norm(field - truth, axis=-1).mean()
    zero = np.linalg.norm(truth, axis=-1).mean()
    path = Path(__file__).with_name("flow.png")
    write_image(path, np.concatenate([frame1, frame2, pr.flow_to_image(field)], axis=1))
    print(f"wrote {path}: mean end-point error {error:.2f} px, zero-flow error {zero:.2f} px")


if __name__ == "__main__":
    main()
