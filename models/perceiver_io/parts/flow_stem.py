"""From two frames to input tokens and per-pixel query features. Two kinds, one interface: see `FlowStemConfig`."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from perceiver_io.config import FlowStemConfig


class StemOutput(NamedTuple):
    """tokens (B, h·w, channels) on the stem's grid; query_features (B, H·W, query_channels), one per pixel."""

    tokens: Tensor
    query_features: Tensor


class PatchStem(nn.Module):
    """One token per pixel: the 3×3 neighbourhoods of both frames, 2·27 values, through one linear layer.

    The 27 values of a frame run over the neighbourhood in row-major order with colour fastest; outside the frame they
    are zero. The first frame's come first.
    """

    def __init__(self, config: FlowStemConfig) -> None:
        super().__init__()
        self.projection = nn.Linear(2 * 27, config.channels)

    @staticmethod
    def grid_size(height: int, width: int) -> tuple[int, int]:
        """The token grid of frames of this size."""
        return height, width

    def forward(self, frames: Tensor) -> StemOutput:
        """frames (B, 2, 3, H, W) in [-1, 1]."""
        batch, _, _, height, width = frames.shape
        patches = F.unfold(frames.flatten(0, 1), kernel_size=3, padding=1)  # (B·2, 3·9, H·W), colour slowest
        patches = patches.view(batch, 2, 3, 9, height * width).permute(0, 4, 1, 3, 2)  # (B, H·W, 2, 9, 3)
        tokens = self.projection(patches.flatten(2))
        return StemOutput(tokens, tokens)


class ResidualBlock(nn.Module):
    """Two 3×3 convolutions with a residual connection, pre-activation."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, channels, h, w) → the same shape."""
        result: Tensor = x + self.second(F.relu(self.first(F.relu(x))))
        return result


def local_attention(first: Tensor, second: Tensor, *, radius: int, scale: Tensor) -> Tensor:
    """Which of the cells around the same place in `second` each cell of `first` looks like: attention within a window.

    first, second (B, C, h, w), compared by cosine → weights (B, (2·radius + 1)², h, w) that sum to one over the offsets,
    which run row by row; outside the grid is nothing to match. FlowNet's correlation (arXiv 1504.06852, section 3), with a
    softmax.
    """
    height, width = first.shape[-2:]
    first = F.normalize(first, dim=1)
    padded = F.pad(F.normalize(second, dim=1), [radius] * 4)
    offsets = range(2 * radius + 1)
    cosines = [(first * padded[:, :, y : y + height, x : x + width]).sum(dim=1) for y in offsets for x in offsets]
    return torch.softmax(torch.stack(cosines, dim=1) * scale, dim=1)


class ConvStem(nn.Module):
    """Tokens at a quarter of the resolution, from strided and residual convolutions.

    Both frames go through the same strided convolutions; each cell of the first attends to the cells around its place in
    the second, and the attention weights, which say where it went, join its features.

    Each token also holds the query features of its 4×4 pixels (a learned upsampling, as a sub-pixel convolution), to
    which a 3×3 convolution of the frames adds detail.
    """

    stride = 4
    reduced_channels, matched_channels = 32, 64  # after each of the two strided convolutions

    def __init__(self, config: FlowStemConfig) -> None:
        super().__init__()
        self.radius = config.window_radius
        reduced, matched = self.reduced_channels, self.matched_channels
        self.reduce = nn.Conv2d(3, reduced, 7, stride=2, padding=3)
        self.reduce_again = nn.Conv2d(reduced, matched, 5, stride=2, padding=2)
        self.describe = nn.Conv2d(matched, matched, 3, padding=1)
        self.match_scale = nn.Parameter(torch.tensor(10.0))
        self.merge = nn.Conv2d((2 * self.radius + 1) ** 2 + matched, config.channels, 3, padding=1)
        self.blocks = nn.Sequential(*(ResidualBlock(config.channels) for _ in range(config.residual_blocks)))
        self.upsample = nn.Conv2d(config.channels, self.stride**2 * config.query_channels, 1)
        self.detail = nn.Conv2d(6, config.query_channels, 3, padding=1)

    @classmethod
    def grid_size(cls, height: int, width: int) -> tuple[int, int]:
        """The token grid of frames of this size: each side over four, rounded up."""
        return (height + cls.stride - 1) // cls.stride, (width + cls.stride - 1) // cls.stride

    def forward(self, frames: Tensor) -> StemOutput:
        """frames (B, 2, 3, H, W) in [-1, 1]."""
        batch, _, _, height, width = frames.shape
        reduced = F.relu(self.reduce_again(F.relu(self.reduce(frames.flatten(0, 1)))))
        first, second = self.describe(reduced).view(batch, 2, -1, *reduced.shape[-2:]).unbind(1)
        matches = local_attention(first, second, radius=self.radius, scale=self.match_scale)
        tokens = self.blocks(self.merge(torch.cat([matches, first], dim=1)))
        upsampled = F.pixel_shuffle(self.upsample(F.relu(tokens)), self.stride)[:, :, :height, :width]
        query_features = upsampled + self.detail(frames.flatten(1, 2))
        return StemOutput(tokens.flatten(2).transpose(1, 2), query_features.flatten(2).transpose(1, 2))


FLOW_STEMS: dict[str, type[PatchStem] | type[ConvStem]] = {"patches": PatchStem, "conv": ConvStem}
