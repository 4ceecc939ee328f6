"""Images to tokens with positions. The kinds are those of `ImageInputConfig`."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from perceiver_io.config import ImageInputConfig
from perceiver_io.parts.part import part
from perceiver_io.parts.positions import FourierPositions, LearnedGrid


def space_to_depth(images: Tensor, size: int) -> Tensor:
    """Squares of `size` pixels to vectors, channels fastest: (..., C, H, W) → (..., H/size, W/size, size·size·C)."""
    *leading, channels, height, width = images.shape
    blocks = images.reshape(*leading, channels, height // size, size, width // size, size)  # (…, C, h, s, w, s)
    first = len(leading)
    order = [*range(first), *(first + axis for axis in (1, 3, 2, 4, 0))]
    return blocks.permute(order).flatten(-3)


def grid_size(config: ImageInputConfig) -> tuple[int, int]:
    """The token grid (rows, columns) of images of the training size."""

    def cells(side: int) -> int:
        if config.kind == "patches":
            return side // config.downsample
        if config.kind != "conv":
            return -(-side // config.downsample)
        halved = (side + 1) // 2
        return (halved + 1) // 2 if config.padding == "same" else (halved - 1) // 2

    return cells(config.size[0]), cells(config.size[1])


class ConvDownsample(nn.Module):
    """A 7x7 convolution of stride 2, batch normalisation, and 3x3 pooling of stride 2: a quarter of the size.

    `padding` "transformers": three zeros on each side before the convolution and none before pooling, 224 → 55, as the
    published Hugging Face checkpoints are run. "same": as TensorFlow and JAX pad, 224 → 56, as DeepMind trained them.
    """

    def __init__(self, image_channels: int, channels: int, *, padding: str) -> None:
        super().__init__()
        self.padding = padding
        self.convolution = nn.Conv2d(image_channels, channels, 7, stride=2, bias=False)
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, images: Tensor) -> Tensor:
        """images (B, image_channels, H, W) → (B, channels, about H/4, about W/4)."""
        images = F.pad(images, _same_padding(images, kernel=7) if self.padding == "same" else (3, 3, 3, 3))
        features = F.relu(self.norm(self.convolution(images)))
        if self.padding == "same":
            features = F.pad(features, _same_padding(features, kernel=3))  # zeros: nothing is below them after a ReLU
        return F.max_pool2d(features, 3, stride=2)


def _same_padding(images: Tensor, *, kernel: int) -> tuple[int, int, int, int]:
    """left, right, top, bottom for stride 2: the output has half the size, rounded up; an odd pixel goes last."""

    def pair(size: int) -> tuple[int, int]:
        total = kernel - 2 + size % 2
        return total // 2, total - total // 2

    return (*pair(images.shape[-1]), *pair(images.shape[-2]))


@part
class ImagePreprocessor(nn.Module):
    """Images to tokens: `features`, then `positions` appended."""

    def __init__(self, config: ImageInputConfig) -> None:
        super().__init__()
        self.kind, self.downsample = config.kind, config.downsample
        token_channels = config.channels
        if config.kind == "conv":
            self.convolution: nn.Module = ConvDownsample(config.image_channels, config.channels, padding=config.padding)
        elif config.kind == "conv1x1":
            self.convolution = nn.Conv2d(config.image_channels, config.channels, 1, stride=config.downsample)
        elif config.kind == "pixels":
            token_channels = config.image_channels
        else:
            token_channels = config.image_channels * config.downsample**2
        self.positions: FourierPositions | LearnedGrid
        if config.positions == "fourier":
            self.positions = FourierPositions(config.fourier_bands, config.max_resolution)
        else:
            self.positions = LearnedGrid(grid_size(config), config.position_channels)
        self.channels = token_channels + self.positions.channels

    def features(self, images: Tensor) -> Tensor:
        """images (B, image_channels, H, W) → tokens on their grid (B, h, w, token channels)."""
        if self.kind == "patches":
            return space_to_depth(images, self.downsample)
        if self.kind == "pixels":
            return images[:, :, :: self.downsample, :: self.downsample].permute(0, 2, 3, 1)
        result: Tensor = self.convolution(images).permute(0, 2, 3, 1)
        return result

    def forward(self, images: Tensor) -> Tensor:
        """images (B, image_channels, H, W) → (B, h·w, channels)."""
        tokens = self.features(images)
        positions = self.positions(tokens.shape[1:-1], device=tokens.device).to(tokens.dtype)
        return torch.cat([tokens.flatten(1, 2), positions.expand(tokens.shape[0], -1, -1)], dim=-1)
