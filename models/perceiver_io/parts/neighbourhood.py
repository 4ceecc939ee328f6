"""What stands near each token of a text, by convolutions."""

from __future__ import annotations

from torch import Tensor, nn

from perceiver_io.parts.part import part


@part
class Neighbourhood(nn.Module):
    """Two convolutions over a text, each of `reach` tokens to either side: (B, L, C) to (B, L, C).

    Padding counts as nothing, so a text in a batch is as it is alone.
    """

    def __init__(self, channels: int, reach: int) -> None:
        super().__init__()
        self.first, self.second = (nn.Conv1d(channels, channels, 2 * reach + 1, padding=reach) for _ in range(2))
        self.activation = nn.GELU()

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """tokens (B, L, C), mask (B, L): zero is padding → (B, L, C)."""
        present = None if mask is None else mask.to(tokens.dtype)[:, None]  # (B, 1, L)
        near = tokens.transpose(1, 2)
        for convolution in (self.first, self.second):
            near = near if present is None else near * present
            near = self.activation(convolution(near))
        return near.transpose(1, 2)
