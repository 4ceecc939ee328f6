"""Models of one's own, tiny, that no task here is made for; `package:function` for the command line too."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

import perceiver_io as pio

ENCODER = pio.EncoderConfig(num_latents=12, latent_channels=32, layers_per_block=2, self_attention_heads=4)


def varied(model: nn.Module) -> Any:
    """With weights that matter, always the same, in evaluation mode."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.3, generator=generator)
    return model.eval()


class Occupancy(nn.Module):
    """A point cloud to whether a position is inside: encode once, decode any positions."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = pio.PerceiverEncoder(ENCODER, input_channels=3)
        self.positions = pio.FourierPositions(4, (16, 16, 16))
        self.decoder = pio.BasicDecoder(pio.DecoderConfig(), ENCODER, query_channels=self.positions.channels, output_channels=1)

    def encode(self, points: Tensor, mask: Tensor) -> Tensor:
        return self.encoder(points, mask)

    def decode(self, latents: Tensor, positions: Tensor) -> Tensor:
        return self.decoder(latents, self.positions.at(positions))


def occupancy_item(points: int, positions: int = 9) -> dict[str, Any]:
    """What an `Occupancy` is asked, always the same for the same numbers."""
    random = np.random.default_rng(points)
    counts = {"points": points, "positions": positions}
    return {name: random.uniform(-1, 1, (count, 3)).astype(np.float32) for name, count in counts.items()}


def make_occupancy() -> Occupancy:
    return varied(Occupancy())


class Action(NamedTuple):
    actions: Tensor
    value: Tensor


class Policy(nn.Module):
    """A picture, joints and the latents of the frame before to actions over a horizon and a value, in plain torch."""

    def __init__(self) -> None:
        super().__init__()
        self.patches, self.joints = nn.Conv2d(3, 16, 8, stride=8), nn.Linear(7, 16)
        self.read = nn.MultiheadAttention(16, 2, batch_first=True)
        self.time, self.write = nn.Linear(1, 16), nn.MultiheadAttention(16, 2, batch_first=True)
        self.action, self.value = nn.Linear(16, 4), nn.Linear(16, 1)

    def encode(self, image: Tensor, joints: Tensor, memory: Tensor) -> Tensor:
        seen = torch.cat([self.patches(image).flatten(2).transpose(1, 2), self.joints(joints)[:, None]], dim=1)
        return memory + self.read(memory, seen, seen, need_weights=False)[0]

    def decode(self, latents: Tensor, times: Tensor) -> Action:
        steps = self.time(times)
        answers = steps + self.write(steps, latents, latents, need_weights=False)[0]
        return Action(self.action(answers), self.value(latents.mean(dim=1)))


class Classifier(nn.Module):
    """Points to labels, from several latents by name."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = pio.PerceiverEncoder(ENCODER, input_channels=3)
        self.decoder = pio.ClassificationDecoder(pio.DecoderConfig(), ENCODER, num_labels=3)

    def encode(self, points: Tensor) -> dict[str, Tensor]:
        return {"latents": self.encoder(points), "centre": points.mean(dim=1)}

    def decode(self, latents: dict[str, Tensor]) -> Tensor:
        return self.decoder(latents["latents"]) + latents["centre"]


class QueriesTalk(Occupancy):
    """Answers depend on the other queries."""

    def decode(self, latents: Tensor, positions: Tensor) -> Tensor:
        return super().decode(latents, positions) + positions.mean(dim=(1, 2), keepdim=True)


class PaddingLeaks(Occupancy):
    """Latents depend on padding."""

    def encode(self, points: Tensor, mask: Tensor) -> Tensor:
        return self.encoder(points)
