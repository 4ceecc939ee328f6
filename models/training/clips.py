"""Clips of a moving, sounding shape, made by arithmetic: 16 frames of 32x32 and 0.64 s of sound at 8 kHz.

The shape is the class. It flies over a background of two colours, bounces off the edges and turns. It hums: the higher it
flies, the higher the tone; each shape has overtones of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

SHAPES = ("circle", "square", "triangle", "cross", "ring")
OVERTONES = (
    (1.0,),
    (0.7, 0.0, 0.3),
    (0.6, 0.4),
    (0.4, 0.3, 0.3),
    (0.5, 0.0, 0.0, 0.5),
)  # amplitudes of 1, 2, 3, 4 times the tone
FRAMES, SIDE = 16, 32
RATE, FRAMES_PER_SECOND = 8000, 25
SAMPLES = FRAMES * RATE // FRAMES_PER_SECOND
LOWEST, HIGHEST = 120.0, 360.0  # Hz

Floats = NDArray[np.float32]


class Clip(NamedTuple):
    """video (FRAMES, SIDE, SIDE, 3) in [0, 1], audio (SAMPLES,) in [-1, 1], label: a place in `SHAPES`."""

    video: Floats
    audio: Floats
    label: int


def make_clip(generator: np.random.Generator) -> Clip:
    """A clip of a random shape, its colour, size, path and turning random."""
    label = int(generator.integers(len(SHAPES)))
    radius = generator.uniform(0.25, 0.4)  # the frame is [-1, 1] on each axis
    edge = 1 - radius
    start, velocity = generator.uniform(-edge, edge, 2), generator.uniform(-0.12, 0.12, 2)
    times = np.arange(FRAMES)[:, None]
    path = np.abs((start + edge + velocity * times) % (4 * edge) - 2 * edge) - edge  # a reflected straight line
    angles = generator.uniform(0, 2 * np.pi) + generator.uniform(-0.1, 0.1) * times[:, 0]
    low, high = sorted(generator.uniform(0, 1, (2, 3)), key=np.sum)
    colour, other = (low, high) if generator.random() < 0.5 else (high, low)
    colour = np.clip(colour + np.sign(colour.sum() - other.sum()) * 0.25, 0, 1)
    far = np.clip(other + generator.uniform(-0.2, 0.2, 3), 0, 1)
    video = np.stack([_frame(label, radius, centre, angle, colour, (other, far)) for centre, angle in zip(path, angles)])
    return Clip(video.astype(np.float32), _sound(label, path[:, 1], generator), label)


def _frame(
    label: int, radius: float, centre: NDArray[np.float64], angle: float, colour: Floats, behind: tuple[Floats, Floats]
) -> NDArray[np.float64]:
    y, x = (np.mgrid[:SIDE, :SIDE] + 0.5) * 2 / SIDE - 1
    shade = (x[..., None] + 1) / 2
    background = behind[0] * (1 - shade) + behind[1] * shade
    dx, dy = x - centre[0], y - centre[1]
    cosine, sine = np.cos(angle), np.sin(angle)
    inside = _depth(label, (cosine * dx + sine * dy) / radius, (cosine * dy - sine * dx) / radius) * radius
    share = np.clip(inside * SIDE / 2 + 0.5, 0, 1)[..., None]  # the edge is a pixel wide
    frame: NDArray[np.float64] = share * colour + (1 - share) * background
    return frame


def _depth(label: int, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """How far inside the shape of radius 1 a place is; negative outside."""
    depth: NDArray[np.float64] = _DEPTHS.get(SHAPES[label], _ring)(x, y)
    return depth


def _cross(x: NDArray[np.float64], y: NDArray[np.float64]) -> Any:
    return np.maximum(np.minimum(1 - np.abs(x), 0.3 - np.abs(y)), np.minimum(1 - np.abs(y), 0.3 - np.abs(x)))


def _ring(x: NDArray[np.float64], y: NDArray[np.float64]) -> Any:
    return 0.25 - np.abs(np.hypot(x, y) - 0.75)


_DEPTHS: dict[str, Callable[[NDArray[np.float64], NDArray[np.float64]], Any]] = {
    "circle": lambda x, y: 1 - np.hypot(x, y),
    "square": lambda x, y: 0.8 - np.maximum(np.abs(x), np.abs(y)),
    "triangle": lambda x, y: 0.5 - np.maximum(y, np.abs(x) * np.sqrt(0.75) - y / 2),
    "cross": _cross,
}


def _sound(label: int, heights: NDArray[np.float64], generator: np.random.Generator) -> Floats:
    seconds = np.arange(SAMPLES) / RATE
    height = np.interp(seconds * FRAMES_PER_SECOND, np.arange(FRAMES), -heights)  # up is high
    tone = LOWEST * (HIGHEST / LOWEST) ** ((height + 1) / 2)
    phase = 2 * np.pi * (np.cumsum(tone) / RATE + generator.random())
    wave = sum(share * np.sin((number + 1) * phase) for number, share in enumerate(OVERTONES[label]))
    return (0.5 * np.asarray(wave)).astype(np.float32)
