"""Pairs of frames with known motion, made from photographs and procedural textures.

Each frame is a background and up to four foreground shapes with soft outlines, every layer with its own texture and its
own affine motion, drawn back to front: so there is occlusion, and motion that breaks at the outlines. Then brightness,
contrast and noise, a little different in the two frames. The photographs come with scikit-image, scikit-learn and
matplotlib; `HELD_OUT` names those that training never sees.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple

import matplotlib
import numpy as np
import skimage
import sklearn
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

TRAINING = [
    "astronaut.png",
    "camera.png",
    "rocket.jpg",
    "brick.png",
    "gravel.png",
    "grass.png",
    "coins.png",
    "moon.png",
    "ihc.png",
    "page.png",
    "text.png",
    "hubble_deep_field.jpg",
    "retina.jpg",
    "flower.jpg",
    "china.jpg",
    "grace_hopper.jpg",
]
HELD_OUT = ["chelsea.png", "coffee.png"]


def photograph(name: str) -> Tensor:
    """A photograph by file name, from whichever of the three packages has it: uint8 (3, H, W)."""
    folders = (
        Path(skimage.__file__).parent / "data",
        Path(sklearn.__file__).parent / "datasets/images",
        Path(matplotlib.__file__).parent / "mpl-data/sample_data",
    )
    path = next(folder / name for folder in folders if (folder / name).is_file())
    with Image.open(path) as image:
        return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1).contiguous()


def procedural_texture(side: int, generator: torch.Generator) -> Tensor:
    """Coloured noise over several octaves, sometimes cut into flat patches: float (3, side, side) in [0, 1]."""
    total = torch.zeros(1, 3, side, side)
    for octave in range(2, int(math.log2(side)) + 1):
        cells = 2**octave
        weight = torch.rand(1, generator=generator).item() ** 2
        noise = torch.rand(1, 3, cells, cells, generator=generator) - 0.5
        total += weight * F.interpolate(noise, (side, side), mode="bicubic", align_corners=False)
    total = total / total.std().clamp(min=1e-3) * 0.25 + 0.5
    if torch.rand(1, generator=generator).item() < 0.3:
        total = (total * 4).round() / 4
    return total[0].clamp(0, 1)


def texture_bank(names: list[str], *, count: int, procedural: int, side: int, generator: torch.Generator) -> Tensor:
    """Random crops of the named photographs at random scales, then procedural textures: uint8 (count, 3, side, side)."""
    photographs = [photograph(name) for name in names]
    bank = []
    for index in range(count - procedural):
        image = photographs[index % len(photographs)]
        crop = int(side * (0.5 + 1.5 * torch.rand(1, generator=generator).item()))
        crop = min(crop, image.shape[1], image.shape[2])
        top = int(torch.randint(image.shape[1] - crop + 1, (1,), generator=generator))
        left = int(torch.randint(image.shape[2] - crop + 1, (1,), generator=generator))
        piece = image[None, :, top : top + crop, left : left + crop].float()
        bank.append(F.interpolate(piece, (side, side), mode="bilinear", antialias=True)[0].round().to(torch.uint8))
    bank += [(procedural_texture(side, generator) * 255).round().to(torch.uint8) for _ in range(procedural)]
    return torch.stack(bank)


class Pairs(NamedTuple):
    """frames (B, 2, 3, H, W) in [-1, 1]; flow (B, H, W, 2) as (dx, dy) in pixels, from the first frame to the second."""

    frames: Tensor
    flow: Tensor


class PairMaker:
    """Draws batches of pairs from a bank of textures, on the bank's device."""

    def __init__(self, bank: Tensor, *, height: int, width: int, generator: torch.Generator) -> None:
        self.bank, self.height, self.width, self.generator = bank, height, width, generator
        ys, xs = torch.meshgrid(torch.arange(height) - (height - 1) / 2, torch.arange(width) - (width - 1) / 2, indexing="ij")
        self.grid = torch.stack([xs, ys], dim=-1).to(bank.device)  # (H, W, 2), pixels from the centre

    def _uniform(self, low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(*shape, generator=self.generator, device=self.bank.device)

    def _motions(self, batch: int, max_motion: float) -> tuple[Tensor, Tensor]:
        """Affine motions x → A·x + t about the frame's centre: (B, 2, 2), (B, 2)."""
        radius = max_motion * self._uniform(0, 1, batch).sqrt()
        direction = self._uniform(0, 2 * math.pi, batch)
        shift = torch.stack([radius * direction.cos(), radius * direction.sin()], dim=-1)
        spread = 0.35 * max_motion / (self.width / 2)  # so that the corners move by a share of max_motion more
        bend = self._uniform(-spread, spread, batch, 2, 2) * self._uniform(0, 1, batch, 1, 1)
        linear = torch.eye(2, device=self.bank.device) + bend
        return linear, shift

    def _draw(self, textures: Tensor, points: Tensor, transform: Tensor, offset: Tensor) -> Tensor:
        """Textures (B, 3, S, S) at points (B, H, W, 2), after the layer's own placement: (B, 3, H, W)."""
        side = textures.shape[-1]
        placed = torch.einsum("bij,bhwj->bhwi", transform, points) + offset[:, None, None]
        return F.grid_sample(textures, placed * (2 / side), mode="bilinear", padding_mode="reflection", align_corners=False)

    def _outline(self, batch: int) -> dict[str, Tensor]:
        short = min(self.height, self.width)
        centre = torch.stack([self._uniform(-0.5, 0.5, batch) * self.width, self._uniform(-0.5, 0.5, batch) * self.height], -1)
        harmonics = self._uniform(-0.3, 0.3, batch, 5) / torch.arange(1, 6, device=self.bank.device).sqrt()
        return {
            "centre": centre,
            "radius": self._uniform(0.1, 0.45, batch) * short,
            "squash": self._uniform(0.4, 1.0, batch),
            "angle": self._uniform(0, math.pi, batch),
            "harmonics": harmonics,
            "phases": self._uniform(0, 2 * math.pi, batch, 5),
        }

    def _mask(self, shape: dict[str, Tensor], points: Tensor) -> Tensor:
        """How much of each pixel the shape covers: (B, 1, H, W) in [0, 1]."""
        x, y = (points - shape["centre"][:, None, None]).unbind(-1)
        cos, sin = shape["angle"].cos()[:, None, None], shape["angle"].sin()[:, None, None]
        x, y = cos * x + sin * y, (cos * y - sin * x) / shape["squash"][:, None, None]
        theta = torch.atan2(y, x)
        radius = torch.ones_like(theta)
        for k in range(5):
            wave = torch.cos((k + 1) * theta + shape["phases"][:, k, None, None])
            radius = radius + shape["harmonics"][:, k, None, None] * wave
        inside = radius.clamp(min=0.2) * shape["radius"][:, None, None] - torch.hypot(x, y)
        return (inside + 0.5).clamp(0, 1)[:, None]

    def make(self, batch: int, *, max_motion: float, layers: int = 4) -> Pairs:
        """A batch of pairs whose layers move by up to about `max_motion` pixels."""
        points = self.grid.expand(batch, -1, -1, -1)
        images = [torch.zeros(batch, 3, self.height, self.width, device=self.bank.device) for _ in range(2)]
        flow = torch.zeros(batch, self.height, self.width, 2, device=self.bank.device)
        for layer in range(layers + 1):
            picks = torch.randint(len(self.bank), (batch,), generator=self.generator, device=self.bank.device)
            textures = self.bank[picks].float() / 255
            turn, zoom = self._uniform(0, 2 * math.pi, batch), self._uniform(0.6, 1.5, batch)
            rotation = torch.stack([turn.cos(), -turn.sin(), turn.sin(), turn.cos()], -1).view(batch, 2, 2)
            rotation = rotation * zoom[:, None, None]
            offset = self._uniform(-40, 40, batch, 2)
            linear, shift = self._motions(batch, max_motion)
            motion = torch.einsum("bij,bhwj->bhwi", linear, points) + shift[:, None, None] - points
            origins = torch.einsum("bij,bhwj->bhwi", torch.linalg.inv(linear), points - shift[:, None, None])
            shape = self._outline(batch)
            present = (self._uniform(0, 1, batch) < 0.6).float()[:, None, None, None]
            for frame, where in enumerate((points, origins)):
                drawn = self._draw(textures, where, rotation, offset)
                mask = torch.ones_like(drawn[:, :1]) if layer == 0 else self._mask(shape, where) * present
                images[frame] = images[frame] * (1 - mask) + drawn * mask
                if frame == 0:
                    flow = torch.where(mask.squeeze(1)[..., None] > 0.5, motion, flow)
        return Pairs(self._photometry(torch.stack(images, dim=1)), flow)

    def _photometry(self, frames: Tensor) -> Tensor:
        """Exposure and colour of the pair, small differences between its frames, noise: [0, 1] → [-1, 1]."""
        batch = frames.shape[0]
        gain = self._uniform(0.6, 1.3, batch, 1, 3, 1, 1) * self._uniform(0.96, 1.04, batch, 2, 1, 1, 1)
        lift = self._uniform(-0.15, 0.15, batch, 1, 3, 1, 1) + self._uniform(-0.02, 0.02, batch, 2, 1, 1, 1)
        frames = (frames - 0.5) * gain + 0.5 + lift
        noise = torch.randn(frames.shape, generator=self.generator, device=frames.device)
        frames = frames + noise * self._uniform(0, 0.03, batch, 1, 1, 1, 1)
        return frames.clamp(0, 1) * 2 - 1
