"""A sound's waveform with the label of each window, as a picture."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perceiver_runtime.common.terminal import one_line
from perceiver_runtime.files.images import require_pillow

WIDTH, HEIGHT, STRIP = 1000, 240, 24  # pixels; the strip below the waveform has the labels
_WAVE, _BACK, _TEXT = (40, 90, 160), (255, 255, 255), (20, 20, 20)
_FILLS = ((225, 235, 248), (248, 238, 222))


def draw_sound(samples: NDArray[np.float32], rate: int, parts: Sequence[Any]) -> NDArray[np.uint8]:
    """Samples (S,) at `rate` Hz and `SoundPart`s → uint8 (HEIGHT, WIDTH, 3). Needs Pillow, which writes the letters.

    For every column the least and the greatest of its samples are joined. Of windows that overlap, a label stands from where
    its window begins to where the next one does.
    """
    pillow = require_pillow(Path("the picture"))
    image = pillow.new("RGB", (WIDTH, HEIGHT), _BACK)
    draw = importlib.import_module("PIL.ImageDraw").Draw(image)
    total = max(len(samples), 1) / rate
    middle = (HEIGHT - STRIP) // 2
    loudest = max(float(np.abs(samples).max(initial=0.0)), 1e-6)
    for number, part in enumerate(parts):
        end = parts[number + 1].start if number + 1 < len(parts) else part.end
        left, right = (round(WIDTH * time / total) for time in (part.start, end))
        draw.rectangle([left, HEIGHT - STRIP, right, HEIGHT], fill=_FILLS[number % 2])
        best = part.labels[0]
        draw.text((left + 4, HEIGHT - STRIP + 6), _letters(f"{best.label} {best.probability:.2f}"), fill=_TEXT)
    edges = np.linspace(0, len(samples), WIDTH + 1).astype(int)
    for column in range(WIDTH):
        own = samples[edges[column] : max(edges[column + 1], edges[column] + 1)]
        if len(own):
            high, low = (middle - round(0.95 * middle * float(value) / loudest) for value in (own.max(), own.min()))
            draw.line([column, high, column, low], fill=_WAVE)
    return np.asarray(image)


def _letters(text: str) -> str:
    """What Pillow's own font has."""
    return one_line(text).encode("latin-1", "replace").decode("latin-1")
