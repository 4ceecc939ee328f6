"""Handwritten digits that were held out, with what is read of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from sklearn.datasets import load_digits

import perceiver_runtime as pr
from perceiver_runtime.files.images import write_image

COLUMNS, ROWS, CELL = 20, 5, 48


def held_out() -> tuple[list[NDArray[np.uint8]], NDArray[np.int64]]:
    """Pictures of 8x8 and their digits: scikit-learn's every fifth, which training leaves out (models/training/digits.py)."""
    data: Any = load_digits()
    chosen = np.arange(len(data.target)) % 5 == 4
    return list(np.rint(data.images[chosen] * 255 / 16).astype(np.uint8)), data.target[chosen]


def show(bundle: Path, folder: Path) -> list[str]:
    """Write digits.png: some of the pictures, each with its answer."""
    images, truth = held_out()
    with pr.load(bundle, device="cpu") as classify:
        found = [labels[0].label for labels in classify(images, top_k=1)]
        seconds = sum(classify.timing.seconds().values())
    right = int(sum(answer == str(digit) for answer, digit in zip(found, truth)))
    cells = [_cell(image, answer, answer == str(digit)) for image, answer, digit in zip(images, found, truth)]
    sheet = [np.concatenate(cells[row * COLUMNS : (row + 1) * COLUMNS], axis=1) for row in range(ROWS)]
    write_image(folder / "digits.png", np.concatenate(sheet))
    return [
        f"{right} of {len(images)} held-out handwritten digits right ({right / len(images):.1%}), in {seconds:.1f} s",
        f"{folder / 'digits.png'}: {ROWS * COLUMNS} of them with the answers, wrong ones red",
    ]


def _cell(image: NDArray[np.uint8], answer: str, right: bool) -> NDArray[np.uint8]:
    picture = Image.fromarray(image).resize((CELL, CELL), Image.Resampling.NEAREST).convert("RGB")
    cell = Image.new("RGB", (CELL, CELL + 14), "white")
    cell.paste(picture)
    ImageDraw.Draw(cell).text((CELL // 2 - 3, CELL + 1), answer, fill="black" if right else "red")
    return np.asarray(cell)
