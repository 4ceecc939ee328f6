"""Boxes and their labels drawn on a picture."""

from __future__ import annotations

import colorsys
import importlib
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perceiver_runtime.common.terminal import one_line
from perceiver_runtime.files.images import Picture, require_pillow
from perceiver_runtime.processing.image import checked_image, with_channels


def draw_boxes(image: Picture, objects: Sequence[Any]) -> NDArray[np.uint8]:
    """A picture, as the pipeline takes it, and what it gives → uint8 (H, W, 3) with each box, its label and its score.

    A label always has the same colour. Needs Pillow, which writes the letters. Raises `InputError`, `BackendError`.
    """
    pillow = require_pillow(Path("the picture"))
    pixels = with_channels(checked_image(image, "the image"), 3)
    drawn = pillow.fromarray(pixels if pixels.dtype == np.uint8 else np.rint(255 * pixels).astype(np.uint8))
    draw = importlib.import_module("PIL.ImageDraw").Draw(drawn)
    thick = max(2, round(min(pixels.shape[:2]) / 200))
    for each in reversed(objects):  # the surest last, so above the others
        colour = color_of(each.label)
        x0, y0, x1, y1 = each.box
        draw.rectangle([x0, y0, max(x0, x1), max(y0, y1)], outline=colour, width=thick)
        text = one_line(f"{each.label} {each.score:.2f}").encode("latin-1", "replace").decode("latin-1")
        left, top, right, bottom = draw.textbbox((0, 0), text)
        y = y0 - (bottom - top) - 6 if y0 >= bottom - top + 6 else y0
        draw.rectangle([x0, y, x0 + right - left + 6, y + bottom - top + 6], fill=colour)
        draw.text((x0 + 3 - left, y + 3 - top), text, fill=(0, 0, 0))
    return np.asarray(drawn)


def color_of(label: str) -> tuple[int, int, int]:
    """A bright colour that is always a label's own."""
    red, green, blue = colorsys.hsv_to_rgb(zlib.crc32(label.encode("utf-8", "replace")) % 360 / 360, 0.6, 1.0)
    return round(255 * red), round(255 * green), round(255 * blue)
