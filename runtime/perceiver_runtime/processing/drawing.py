"""Lines on pictures: motion as arrows, tracks of points. numpy alone."""

from __future__ import annotations

import colorsys
from typing import Any

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
Color = tuple[int, int, int]
_EDGE, _ARROW = (0, 0, 0), (255, 230, 0)
_HEAD = 0.35  # of an arrow's length
_ANGLE = np.deg2rad(150)


def draw_arrows(frame: Pixels, field: NDArray[Any], *, full: float, step: int = 16) -> Pixels:
    """A copy of the frame (H, W, 3) with an arrow of the field (H, W, 2) every `step` pixels.

    Motion of `full` pixels has an arrow as long as 0.9 steps, other motion in proportion, less than 0.25 pixels none.
    """
    picture = frame.copy()
    rows = np.arange(step // 2, frame.shape[0], step)
    columns = np.arange(step // 2, frame.shape[1], step)
    magnified = 0.9 * step / max(full, 1e-6)
    ends = []
    for row in rows:
        for column in columns:
            motion = field[row, column]
            if np.isfinite(motion).all() and np.hypot(*motion) >= 0.25:
                tip = np.array([column, row], np.float64)
                ends += _arrow(tip, tip + magnified * motion)
    for width, color in ((1, _EDGE), (0, _ARROW)):
        for start, end in ends:
            draw_line(picture, start, end, color, width=width)
    return picture


def _arrow(start: NDArray[Any], end: NDArray[Any]) -> list[tuple[NDArray[Any], NDArray[Any]]]:
    """The three lines of an arrow."""
    lines = [(start, end)]
    for turn in (_ANGLE, -_ANGLE):
        rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
        lines.append((end, end + _HEAD * rotation @ (end - start)))
    return lines


def draw_line(picture: Pixels, start: NDArray[Any], end: NDArray[Any], color: Color, *, width: int = 0) -> None:
    """A line between two points (x, y), in place, and `width` pixels more to each side; what is outside is left out."""
    count = min(4 * sum(picture.shape[:2]), int(np.ceil(np.abs(end - start).max()))) + 1
    places = np.rint(np.linspace(start, end, count)).astype(np.int64)
    for down in range(-width, width + 1):
        for across in range(-width, width + 1):
            x, y = places[:, 0] + across, places[:, 1] + down
            inside = (x >= 0) & (x < picture.shape[1]) & (y >= 0) & (y < picture.shape[0])
            picture[y[inside], x[inside]] = color


class TrackDrawing:
    """The ways of points: `add` each frame's positions (K, 2), NaN where a point is lost; then draw them `over` a frame.

    A way has a colour of its own, a dot where it is at the end, and a cross where it was lost.
    """

    def __init__(self, height: int, width: int) -> None:
        self._ways = np.zeros((height, width, 3), np.uint8)
        self._drawn = np.zeros((height, width, 3), np.uint8)  # not 0 where a way is
        self._last: NDArray[Any] | None = None

    def add(self, positions: NDArray[Any]) -> None:
        """The positions in the next frame."""
        if self._last is None:
            self._last = positions.copy()
        for number, (before, now) in enumerate(zip(self._last, positions)):
            if np.isfinite(before).all() and np.isfinite(now).all():
                self._line(before, now, point_color(number))
            elif np.isfinite(before).all():
                for corner in ((3, 3), (3, -3)):
                    self._line(before - corner, before + corner, point_color(number))
        self._last = positions.copy()

    def over(self, frame: Pixels) -> Pixels:
        """The frame with the ways on it."""
        picture = np.where(self._drawn > 0, self._ways, frame).astype(np.uint8)
        for number, place in enumerate(self._last if self._last is not None else ()):
            if np.isfinite(place).all():
                draw_line(picture, place, place, _EDGE, width=2)
                draw_line(picture, place, place, point_color(number), width=1)
        return picture

    def _line(self, start: NDArray[Any], end: NDArray[Any], color: Color) -> None:
        draw_line(self._ways, start, end, color)
        draw_line(self._drawn, start, end, (1, 1, 1))


def point_color(number: int) -> Color:
    """Bright, and unlike that of the numbers around."""
    red, green, blue = colorsys.hsv_to_rgb(number * 0.618034 % 1, 0.85, 1.0)
    return round(255 * red), round(255 * green), round(255 * blue)
