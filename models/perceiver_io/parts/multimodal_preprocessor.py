"""Video, sound and label to one sequence of tokens, each modality padded with learned channels of its own."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from perceiver_io.parts.image_preprocessor import space_to_depth
from perceiver_io.parts.part import part
from perceiver_io.parts.positions import FourierPositions


class NamedVectors(nn.Module):
    """A learned vector (1, channels) per name. A module and not a ParameterDict, which torch.nn.DataParallel does not copy."""

    def __init__(self, channels: Mapping[str, int]) -> None:
        super().__init__()
        for name, count in channels.items():
            self.register_parameter(name, nn.Parameter(torch.randn(1, count)))

    def __getitem__(self, name: str) -> Tensor:
        vector: Tensor = getattr(self, name)
        return vector


@part
class VideoPreprocessor(nn.Module):
    """Patches of each frame, with Fourier features of (time, y, x)."""

    def __init__(self, *, patch: int, bands: int, max_resolution: tuple[int, int, int], channels: int = 3) -> None:
        super().__init__()
        self.patch = patch
        self.positions = FourierPositions(bands, max_resolution)
        self.channels = channels * patch**2 + self.positions.channels

    def forward(self, video: Tensor) -> Tensor:
        """video (B, T, 3, H, W) → (B, T·H/patch·W/patch, channels)."""
        patches = space_to_depth(video, self.patch)  # (B, T, h, w, patch·patch·3)
        positions = self.positions(patches.shape[1:-1], device=video.device).to(video.dtype)
        return torch.cat([patches.flatten(1, 3), positions.expand(video.shape[0], -1, -1)], dim=-1)


@part
class AudioPreprocessor(nn.Module):
    """Runs of samples, with Fourier features of time."""

    def __init__(self, *, samples_per_patch: int, bands: int, max_resolution: int) -> None:
        super().__init__()
        self.samples_per_patch = samples_per_patch
        self.positions = FourierPositions(bands, (max_resolution,))
        self.channels = samples_per_patch + self.positions.channels

    def forward(self, audio: Tensor) -> Tensor:
        """audio (B, S, 1) → (B, S/samples_per_patch, channels)."""
        patches = audio.reshape(audio.shape[0], -1, self.samples_per_patch)
        positions = self.positions(patches.shape[1:-1], device=audio.device).to(audio.dtype)
        return torch.cat([patches, positions.expand(audio.shape[0], -1, -1)], dim=-1)


@part
class OneHotPreprocessor(nn.Module):
    """Scores per label as a single token."""

    def __init__(self, *, num_labels: int) -> None:
        super().__init__()
        self.channels = num_labels

    def forward(self, label: Tensor) -> Tensor:
        """label (B, num_labels) → (B, 1, num_labels)."""
        return label[:, None]


@part
class MultimodalPreprocessor(nn.Module):
    """Several modalities to one sequence, in the alphabetical order of their names.

    Each is padded with learned channels to a common width: the widest one's plus `min_padding`. A modality that is left out
    becomes `mask_lengths[name]` copies of its learned mask token, whatever its input was.
    """

    def __init__(self, modalities: Mapping[str, nn.Module], *, min_padding: int, mask_lengths: Mapping[str, int]) -> None:
        super().__init__()
        self.mask_lengths = dict(mask_lengths)
        widths = {name: int(module.channels) for name, module in modalities.items()}  # type: ignore[arg-type]
        self.channels = max(widths.values()) + min_padding
        self.modalities = nn.ModuleDict({name: modalities[name] for name in sorted(modalities)})
        self.padding = NamedVectors({name: self.channels - width for name, width in widths.items()})
        self.mask = NamedVectors(dict.fromkeys(widths, self.channels))

    def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Inputs by name, at least one → (B, all tokens, channels)."""
        batch = next(iter(inputs.values())).shape[0]
        tokens = []
        for name, module in self.modalities.items():
            if name in inputs:
                own = module(inputs[name])
                tokens.append(torch.cat([own, self.padding[name].expand(*own.shape[:2], -1)], dim=-1))
            else:
                tokens.append(self.mask[name].expand(batch, self.mask_lengths[name], -1))
        return torch.cat(tokens, dim=1)
