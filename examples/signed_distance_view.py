"""A bundle of signed_distance.py on the device: one scan, a million positions, how long and how much memory, a picture.

    python examples/signed_distance_view.py signed-distance                     # reads signed-distance.npy, writes .png
    python examples/signed_distance_view.py signed-distance --points scan.npy --side 128 --chunk 8192 -o scan.png

Needs numpy, ONNX Runtime and Pillow; no torch. The picture has the surface, lit from the upper left, and slices of which blue
is inside.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

import perceiver_runtime as pr
from perceiver_runtime.commands.benching.memory import peak_memory

Grid = NDArray[np.float32]  # distances (side, side, side) along x, y, z
Picture = NDArray[np.uint8]  # (height, width, 3)


def grid_positions(side: int) -> Grid:
    """Positions of a grid over [-1, 1]: (side³, 3)."""
    axis = np.linspace(-1, 1, side, dtype=np.float32)
    return np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(-1, 3)


def surface(distance: Grid) -> Picture:
    """Seen along z: the first cell that is inside, lit by the slope of the distance there."""
    side = len(distance)
    inside = distance[:, :, ::-1] < 0  # from the eye on
    hit, depth = inside.any(axis=2), side - 1 - inside.argmax(axis=2)
    x, y = np.meshgrid(np.arange(side), np.arange(side), indexing="ij")
    slopes: list[Grid] = list(np.gradient(distance))
    normal = np.stack([slope[x, y, depth] for slope in slopes], axis=-1)
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True) + 1e-9
    light = np.clip(normal @ np.array([-0.5, 0.6, 0.62]), 0, 1)
    shade = np.where(hit, 60 + 190 * light, 255)[..., None] * np.ones(3)
    return _upright(shade)


def slice_at(distance: Grid, place: float) -> Picture:
    """A slice across z: blue inside, white outside, a line each 0.1, the surface black."""
    flat = distance[:, :, int(place * (len(distance) - 1))][..., None]
    colour = np.where(flat < 0, np.array([120, 160, 255]), np.array([255, 255, 255]))
    colour = colour - 40 * (np.abs(flat % 0.1) < 0.015)
    return _upright(np.where(np.abs(flat) < 0.015, 0, colour))


def _upright(values: NDArray[np.floating]) -> Picture:
    """(x, y, 3) as a picture, y up."""
    picture: Picture = np.clip(values.transpose(1, 0, 2)[::-1], 0, 255).astype(np.uint8)
    return picture


def main(arguments: list[str] | None = None) -> dict[str, float]:
    """Encode the scan, decode the grid, say what it took, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--points", type=Path, help="a scan (M, 3) in [-1, 1], .npy (default: the bundle's name with .npy)")
    parser.add_argument("--side", type=int, default=100, help="of the grid: side³ positions (default: 100)")
    parser.add_argument("--chunk", type=int, help="positions decoded at once (default: the bundle's)")
    parser.add_argument("--device", default="auto")
    parser.add_argument("-o", "--output", type=Path, help="the picture (default: the bundle's name with .png)")
    options = parser.parse_args(arguments)
    points = np.load(options.points or options.bundle.with_suffix(".npy"))
    positions = grid_positions(options.side)
    with pr.load(options.bundle, task="arrays", device=options.device) as shape:
        before, start = peak_memory() or 0, time.perf_counter()
        latents = shape.latents({"points": points})
        encoded = time.perf_counter()
        answer = shape.decode(latents, {"positions": positions}, query_chunk=options.chunk)
        decoded = time.perf_counter()
    result = {"encode_s": encoded - start, "decode_s": decoded - encoded, "memory_mb": ((peak_memory() or 0) - before) / 1e6}
    print(
        f"{len(points)} points encoded in {1e3 * result['encode_s']:.0f} ms; {len(positions):,} positions decoded in "
        f"{result['decode_s']:.1f} s; {result['memory_mb']:.0f} MB more than before, {(peak_memory() or 0) / 1e6:.0f} MB in all"
    )
    distance = answer["distance"].reshape(3 * (options.side,))
    panels = [surface(distance), *(slice_at(distance, place) for place in (0.35, 0.5, 0.65))]
    picture = np.concatenate([np.pad(each, ((4, 4), (4, 4), (0, 0)), constant_values=255) for each in panels], axis=1)
    output = options.output or options.bundle.with_suffix(".png")
    Image.fromarray(picture.repeat(2, axis=0).repeat(2, axis=1)).save(output)
    print(f"{output}: the surface, and slices across z")
    return result


if __name__ == "__main__":
    main()
