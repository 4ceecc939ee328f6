"""The 3×3 patches and their linear layer as one 3×3 convolution with zero padding: exact, without 54 channels in memory."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from perceiver_io.parts.flow_stem import PatchStem, StemOutput


class PatchConvolutionStem(nn.Module):
    """A `PatchStem` with its weights laid out for a convolution over the two frames' six channels."""

    def __init__(self, stem: PatchStem) -> None:
        super().__init__()
        weight = stem.projection.weight.detach()  # (channels, 54), each row (frame, kernel row, kernel column, colour)
        kernel = weight.view(-1, 2, 3, 3, 3).permute(0, 1, 4, 2, 3).flatten(1, 2)  # (channels, 6, 3, 3)
        self.convolution = nn.Conv2d(6, kernel.shape[0], 3, padding=1)
        with torch.no_grad():
            self.convolution.weight.copy_(kernel)
            self.convolution.bias.copy_(stem.projection.bias.detach())  # type: ignore[union-attr]
        self.grid_size = stem.grid_size

    def forward(self, frames: Tensor) -> StemOutput:
        """frames (B, 2, 3, H, W) in [-1, 1]."""
        tokens = self.convolution(frames.flatten(1, 2)).flatten(2).transpose(1, 2)
        return StemOutput(tokens, tokens)
