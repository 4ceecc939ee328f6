"""Make samples/, the files that README and docs run on, and docs/flow.png, the picture of the first two of them.

    python tools/samples.py

A cat moves right and up over a table that moves left: two frames, and a clip. Both photographs (scikit-image's `chelsea` and
`coffee`, CC0) are among those that the shipped flow checkpoint never saw in training. The digits are from the part of
scikit-learn's set (UCI, public) that the shipped checkpoints for digits are measured on.
"""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image
from skimage import data
from sklearn.datasets import load_digits

import perceiver_runtime as pr
from perceiver_deploy import export_bundle

ROOT = Path(__file__).parent.parent
TABLE, CAT = np.array([-4, 1]), np.array([6, -3])  # motion as (dx, dy) in pixels
HEIGHT, WIDTH = 240, 320
FRAMES, RATE = 12, 24  # of the clip
DIGITS = {"three": 3, "seven": 7}


def frame(time: float) -> tuple[np.ndarray, np.ndarray]:
    """The scene at a time: uint8 (H, W, 3), and where the cat is."""
    x, y = (np.array([40, 60]) - np.rint(time * TABLE)).astype(int)
    image = data.coffee()[y : y + HEIGHT, x : x + WIDTH].copy()
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH]
    left, top = (np.array([60, 40]) + np.rint(time * CAT)).astype(int)
    inside = ((columns - left - 95) / 90) ** 2 + ((rows - top - 85) / 80) ** 2 < 1
    cat = data.chelsea()[20:220, 130:330]
    image[inside] = cat[(rows - top)[inside], (columns - left)[inside]]
    return image, inside


def write_frames(folder: Path) -> None:
    """frame1.png, frame2.png and clip.mp4."""
    for number in (0, 1):
        Image.fromarray(frame(number)[0]).save(folder / f"frame{number + 1}.png", optimize=True)
    with pr.clip_writer(folder / "clip.mp4", RATE) as writer:
        for number in range(FRAMES):
            writer.write(frame(number / 2)[0], number / RATE)


def write_digits(folder: Path) -> None:
    """A handwritten digit each, enlarged from 8×8 pixels."""
    digits = load_digits()
    for name, digit in DIGITS.items():
        held_out = [number for number in range(4, len(digits.target), 5) if digits.target[number] == digit]
        small = Image.fromarray(np.rint(digits.images[held_out[0]] * 255 / 16).astype(np.uint8))
        small.resize((64, 64), Image.Resampling.BICUBIC).save(folder / f"{name}.png", optimize=True)


def write_picture(path: Path, bundle: Path) -> None:
    """The two frames and the flow between them, by the shipped checkpoint."""
    (frame1, cat), (frame2, _) = frame(0), frame(1)
    with pr.load(bundle, task="flow", device="cpu") as flow:
        field = flow(frame1, frame2)
    truth = np.where(cat[..., None], CAT, TABLE)
    error = np.linalg.norm(field - truth, axis=-1).mean()
    zero = np.linalg.norm(truth, axis=-1).mean()
    Image.fromarray(np.concatenate([frame1, frame2, pr.flow_to_image(field)], axis=1)).save(path, optimize=True)
    print(f"{path.name}: mean end-point error {error:.2f} px, zero-flow error {zero:.2f} px")


def main() -> None:
    """Write all of them."""
    folder = ROOT / "samples"
    folder.mkdir(exist_ok=True)
    write_frames(folder)
    write_digits(folder)
    with TemporaryDirectory() as work:
        export_bundle(task="flow", output=Path(work) / "flow")
        write_picture(ROOT / "docs/flow.png", Path(work) / "flow")


if __name__ == "__main__":
    main()
