"""A point-cloud classifier: trained on shapes that are generated, exported, run with numpy and ONNX Runtime.

    python examples/point_cloud.py                     # trains, exports to point-cloud/, runs clouds of 16 to 4,096 points
    python examples/point_cloud.py -o OUT --steps 200

A cloud is an array (M, 3) of any length, so the input is `Arrays(("M", 3), {"M": (16, 4096)}, mask="mask")`: the graph takes
any M, and clouds of different lengths in one batch, whose padding the mask hides. Outputs are `Labels`, so the bundle knows
names. To use it for your own clouds, replace `cloud` by what reads them, and `SHAPES` by your labels.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import perceiver_deploy as pd
import perceiver_io as pio
import perceiver_runtime as pr

Points = NDArray[np.float32]
FEWEST, MOST = 16, 4096  # points of a cloud


def on_box(random: np.random.Generator, count: int) -> NDArray[np.float64]:
    """Points on the faces of a cube."""
    points = random.uniform(-1, 1, (count, 3))
    points[np.arange(count), random.integers(0, 3, count)] = random.choice([-1, 1], count)
    return points


def on_round(radius: Callable[[NDArray[np.float64]], NDArray[np.float64]]) -> Callable[..., NDArray[np.float64]]:
    """Points around the z axis, at a radius that depends on the height."""

    def points(random: np.random.Generator, count: int) -> NDArray[np.float64]:
        angle, height = random.uniform(0, 2 * np.pi, count), random.uniform(-1, 1, count)
        return np.stack([radius(height) * np.cos(angle), radius(height) * np.sin(angle), height], axis=1)

    return points


def on_torus(random: np.random.Generator, count: int) -> NDArray[np.float64]:
    """Points on a ring."""
    around, across = random.uniform(0, 2 * np.pi, (2, count))
    distance = 0.8 + 0.3 * np.cos(across)
    return np.stack([distance * np.cos(around), distance * np.sin(around), 0.3 * np.sin(across)], axis=1)


SHAPES: dict[str, Callable[[np.random.Generator, int], NDArray[np.float64]]] = {
    "sphere": on_round(lambda height: np.sqrt(1 - height**2)),
    "cube": on_box,
    "cylinder": on_round(lambda height: np.full_like(height, 0.6)),
    "cone": on_round(lambda height: 0.9 * (1 - height) / 2),
    "torus": on_torus,
}


def cloud(random: np.random.Generator, kind: str, count: int) -> Points:
    """A shape of some size and proportions, standing, turned around its height, measured with noise: (count, 3)."""
    points = SHAPES[kind](random, count) * random.uniform(0.8, 1.2, 3) * random.uniform(0.5, 1)
    angle = random.uniform(0, 2 * np.pi)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    measured: Points = (points @ turn + random.normal(0, 0.02, (count, 3))).astype(np.float32)
    return measured


class CloudClassifier(nn.Module):
    """Points (B, M, 3) to logits. `encode` and `decode` are all that an export needs."""

    def __init__(self, latents: int = 16, channels: int = 64) -> None:
        super().__init__()
        config = pio.EncoderConfig(num_latents=latents, latent_channels=channels, layers_per_block=2, self_attention_heads=4)
        self.positions = pio.FourierPositions(4, (8, 8, 8))
        self.encoder = pio.PerceiverEncoder(config, input_channels=self.positions.channels)
        self.decoder = pio.ClassificationDecoder(pio.DecoderConfig(), config, num_labels=len(SHAPES))

    def encode(self, points: Tensor, mask: Tensor) -> Tensor:
        """(B, M, 3), (B, M) → latents (B, N, D)."""
        return self.encoder(self.positions.at(points / 2), mask)  # type: ignore[no-any-return]

    def decode(self, latents: Tensor) -> Tensor:
        """(B, N, D) → logits (B, labels)."""
        return self.decoder(latents)  # type: ignore[no-any-return]


def batch(random: np.random.Generator, size: int, count: int) -> tuple[Tensor, Tensor]:
    """Clouds (size, count, 3) and their labels (size,)."""
    labels = random.integers(0, len(SHAPES), size)
    clouds = [cloud(random, list(SHAPES)[label], count) for label in labels]
    return torch.from_numpy(np.stack(clouds)), torch.from_numpy(labels)


def train(model: CloudClassifier, steps: int, batch_size: int) -> None:
    """On clouds of 32 to 256 points, each seen once."""
    random = np.random.default_rng(0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps)
    for step in range(steps):
        points, labels = batch(random, batch_size, int(2 ** random.uniform(5, 8)))
        mask = torch.ones(points.shape[:2], dtype=torch.int64)
        loss = nn.functional.cross_entropy(model.decode(model.encode(points, mask)), labels)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 100 == 0 or step == steps - 1:
            print(f"step {step}: loss {loss.item():.3f}", flush=True)


def export(model: CloudClassifier, bundle: Path) -> None:
    """Checked against torch on clouds of the fewest and of the most points, and on a batch with padding."""
    pd.export_model(
        model,
        bundle,
        inputs={"points": pd.Arrays(("M", 3), {"M": (FEWEST, MOST)}, mask="mask")},
        outputs={"logits": pd.Labels(tuple(SHAPES))},
        force=True,
    )


def run_on_device(bundle: Path, each: int) -> dict[int, float]:
    """Accuracy by number of points, on shapes never seen, with numpy and ONNX Runtime alone."""
    random, names = np.random.default_rng(1), list(SHAPES)
    accuracy = {}
    with pr.load(bundle, task="arrays") as classify:
        for count in (16, 64, 256, 1024, 4096):
            kinds = [names[number % len(names)] for number in range(each)]
            answers = classify([{"points": cloud(random, kind, count)} for kind in kinds])
            found = [classify.labels(answer, "logits", top_k=1)[0].label for answer in answers]
            accuracy[count] = float(np.mean([one == other for one, other in zip(found, kinds)]))
            print(f"{count:5} points: {accuracy[count]:.1%} of {each} clouds")
    return accuracy


def main(arguments: list[str] | None = None) -> dict[int, float]:
    """Train, export, run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, default=Path("point-cloud"), help="the bundle (default: point-cloud)")
    parser.add_argument("--steps", type=int, default=600, help="of training (default: 600)")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--test", type=int, default=200, help="clouds of each length to measure with (default: 200)")
    options = parser.parse_args(arguments)
    torch.manual_seed(0)
    model = CloudClassifier()
    train(model, options.steps, options.batch_size)
    export(model, options.output)
    return run_on_device(options.output, options.test)


if __name__ == "__main__":
    main()
