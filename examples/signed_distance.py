"""Encode once, decode anything: the signed distance to a scanned surface, at as many positions as you like.

    python examples/signed_distance.py                        # trains, exports to signed-distance/, measures
    python examples/signed_distance_view.py signed-distance   # on the device: a million positions, time, memory, a picture

A scan is an array of surface points (M, 3). `encode` makes latents of it once; `decode` takes positions and answers each with
its distance to the surface in the units of the scan, negative inside. Robots ask such a model what is free, where to grasp,
how far a gripper is from a shelf. An occupancy decoder is the same with a logit in place of the distance.
Shapes are unions of rounded boxes and spheres, generated, so that distances are known.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

import perceiver_deploy as pd
import perceiver_io as pio
import perceiver_runtime as pr

FEWEST, MOST = 64, 4096  # points of a scan


class Shapes:
    """A batch of unions of three rounded boxes, in [-1, 1]; a box without sides is a sphere."""

    def __init__(self, batch: int, generator: torch.Generator) -> None:
        def uniform(low: float, high: float, *shape: int) -> Tensor:
            return low + (high - low) * torch.rand(batch, 3, *shape, generator=generator)

        self.generator = generator
        self.centres, self.radii = uniform(-0.4, 0.4, 3), uniform(0.05, 0.25)
        self.sides = uniform(0.05, 0.3, 3) * (uniform(0, 1) > 0.3)[..., None]

    def distance(self, positions: Tensor) -> Tensor:
        """(B, O, 3) → (B, O, 1), negative inside."""
        outside = (positions[:, :, None] - self.centres[:, None]).abs() - self.sides[:, None]  # (B, O, 3 boxes, 3 axes)
        to_box = outside.clamp(min=0).norm(dim=-1) + outside.amax(dim=-1).clamp(max=0)
        nearest: Tensor = (to_box - self.radii[:, None]).amin(dim=-1, keepdim=True)
        return nearest

    def surface(self, count: int) -> Tensor:
        """Points near the surface, as a scanner gives them: (B, count, 3). Positions anywhere, moved along the gradient."""
        points = torch.rand(len(self.centres), count, 3, generator=self.generator) * 2 - 1
        for _ in range(8):
            points = points.detach().requires_grad_()
            with torch.enable_grad():
                distance = self.distance(points)
                (slope,) = torch.autograd.grad(distance.sum(), points)
            points = points - distance * nn.functional.normalize(slope, dim=-1)
        return points.detach()


class SignedDistance(nn.Module):
    """A scan (B, M, 3) to distances at positions."""

    def __init__(self, latents: int = 32, channels: int = 64) -> None:
        super().__init__()
        config = pio.EncoderConfig(num_latents=latents, latent_channels=channels, layers_per_block=2, self_attention_heads=4)
        self.positions = pio.FourierPositions(6, (16, 16, 16))
        self.encoder = pio.PerceiverEncoder(config, input_channels=self.positions.channels)
        self.query = nn.Linear(self.positions.channels, channels)
        decoder = pio.DecoderConfig(heads=4, query_residual=True)
        self.decoder = pio.BasicDecoder(decoder, config, query_channels=channels, output_channels=1)

    def encode(self, points: Tensor, mask: Tensor) -> Tensor:
        """(B, M, 3), (B, M) → latents (B, N, D)."""
        return self.encoder(self.positions.at(points), mask)  # type: ignore[no-any-return]

    def decode(self, latents: Tensor, positions: Tensor) -> Tensor:
        """(B, N, D), (B, O, 3) → distances (B, O, 1)."""
        return self.decoder(latents, self.query(self.positions.at(positions)))  # type: ignore[no-any-return]


def train(model: SignedDistance, steps: int, batch_size: int) -> None:
    """On new shapes in each step: half of the positions are near the surface."""
    generator = torch.Generator().manual_seed(0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps)
    for step in range(steps):
        shapes = Shapes(batch_size, generator)
        points, anywhere = shapes.surface(160), torch.rand(batch_size, 160, 3, generator=generator) * 2 - 1
        near = points + 0.05 * torch.randn(points.shape, generator=generator)
        positions = torch.cat([near.clamp(-1, 1), anywhere], dim=1)
        mask = torch.ones(points.shape[:2], dtype=torch.int64)
        loss = (model.decode(model.encode(points, mask), positions) - shapes.distance(positions)).abs().mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 100 == 0 or step == steps - 1:
            print(f"step {step}: mean error {loss.item():.4f}", flush=True)


def export(model: SignedDistance, bundle: Path) -> None:
    """Positions are queries, each answered on its own, so the device decodes them in chunks."""
    pd.export_model(
        model,
        bundle,
        inputs={"points": pd.Arrays(("M", 3), {"M": (FEWEST, MOST)}, mask="mask", values=(-1.0, 1.0))},
        queries={"positions": pd.Positions(3)},
        outputs={"distance": pd.Arrays(("O", 1))},
        force=True,
    )


def measure(bundle: Path, count: int) -> dict[str, float]:
    """On shapes never seen, at positions anywhere: mean error, and how much inside and inside overlap (IoU)."""
    shapes = Shapes(count, torch.Generator().manual_seed(1))
    scans, positions = shapes.surface(1024), torch.rand(count, 20_000, 3, generator=shapes.generator) * 2 - 1
    truth = shapes.distance(positions).numpy()
    with pr.load(bundle, task="arrays") as shape:
        items = [{"points": scan.numpy(), "positions": each.numpy()} for scan, each in zip(scans, positions)]
        found = np.stack([answer["distance"] for answer in shape.map(items)])
    both, either = ((found < 0) & (truth < 0)).sum(), ((found < 0) | (truth < 0)).sum()
    result = {"mean_error": float(np.abs(found - truth).mean()), "iou": float(both / either)}
    print(f"{count} shapes never seen: mean error {result['mean_error']:.4f}, IoU of the inside {result['iou']:.3f}")
    return result


def main(arguments: list[str] | None = None) -> dict[str, float]:
    """Train, export, measure; a scan for the other program."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, default=Path("signed-distance"), help="the bundle and, beside it, a scan")
    parser.add_argument("--steps", type=int, default=2000, help="of training (default: 2000)")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--test", type=int, default=20, help="shapes to measure with (default: 20)")
    options = parser.parse_args(arguments)
    torch.manual_seed(0)
    model = SignedDistance()
    train(model, options.steps, options.batch_size)
    export(model, options.output)
    scan = Shapes(1, torch.Generator().manual_seed(7)).surface(2048)[0]
    np.save(options.output.with_suffix(".npy"), scan.numpy())
    return measure(options.output, options.test)


if __name__ == "__main__":
    main()
