"""From a decoder's channels to outputs: one linear layer each."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from perceiver_io.parts.part import part


@part
class ProjectionPostprocessor(nn.Module):
    """Any outputs to fewer channels: pixels, say."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.projection = nn.Linear(in_channels, out_channels)

    def forward(self, decoded: Tensor) -> Tensor:
        """decoded (B, O, in_channels) → (B, O, out_channels)."""
        result: Tensor = self.projection(decoded)
        return result


@part
class AudioPostprocessor(ProjectionPostprocessor):
    """Each output to a run of samples: (B, P, in_channels) → (B, P, samples_per_patch)."""

    def __init__(self, in_channels: int, samples_per_patch: int) -> None:
        super().__init__(in_channels, samples_per_patch)


@part
class ClassificationPostprocessor(ProjectionPostprocessor):
    """The first output to logits."""

    def __init__(self, in_channels: int, num_labels: int) -> None:
        super().__init__(in_channels, num_labels)

    def forward(self, decoded: Tensor) -> Tensor:
        """decoded (B, O, in_channels) → logits (B, num_labels)."""
        return super().forward(decoded)[:, 0]


@part
class MultimodalPostprocessor(nn.Module):
    """A postprocessor for each modality."""

    def __init__(self, modalities: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.modalities = nn.ModuleDict(dict(modalities))

    def forward(self, decoded: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Decoded outputs by modality, some or all → outputs by modality."""
        return {name: self.modalities[name](each) for name, each in decoded.items()}
