"""Autoencoding of video, sound and label together (arXiv 2107.14795, section 4.3).

The inputs become one sequence, the latents are read by queries for the three outputs. A query of a pixel or of a run of
samples is its position, padded with channels that say which modality it is of; the label has a learned query.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from perceiver_io.config import MultimodalConfig
from perceiver_io.parts.decoders import BasicDecoder
from perceiver_io.parts.encoder import PerceiverEncoder
from perceiver_io.parts.multimodal_preprocessor import (
    AudioPreprocessor,
    MultimodalPreprocessor,
    NamedVectors,
    OneHotPreprocessor,
    VideoPreprocessor,
)
from perceiver_io.parts.part import part
from perceiver_io.parts.positions import FourierPositions, TrainablePositions
from perceiver_io.parts.postprocessors import (
    AudioPostprocessor,
    ClassificationPostprocessor,
    MultimodalPostprocessor,
    ProjectionPostprocessor,
)

AUDIO, IMAGE, LABEL = "audio", "image", "label"  # the names of the published checkpoint


class Reconstruction(NamedTuple):
    """rgb (B, pixels asked for, 3), samples (B, runs asked for, samples_per_patch), logits (B, labels)."""

    rgb: Tensor
    samples: Tensor
    logits: Tensor


@part
class MultimodalDecoder(nn.Module):
    """Queries of three modalities, padded with learned channels to one width, and the cross-attention they share."""

    def __init__(self, config: MultimodalConfig) -> None:
        super().__init__()
        self.video = FourierPositions(config.video_bands, config.video_max_resolution)
        self.audio = FourierPositions(config.audio_bands, (config.audio_samples,))
        self.label = TrainablePositions(1, config.label_query_channels)
        widths = {AUDIO: self.audio.channels, IMAGE: self.video.channels, LABEL: config.label_query_channels}
        channels = max(widths.values()) + config.query_padding
        self.padding = NamedVectors({name: channels - width for name, width in widths.items()})
        self.decoder = BasicDecoder(
            config.decoder, config.encoder, query_channels=channels, output_channels=config.output_channels
        )

    def forward(self, latents: Tensor, queries: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """latents (B, N, D), position features (B, O, own channels) by modality → (B, O, output_channels) by modality."""
        padded = {
            name: torch.cat([own, self.padding[name].expand(*own.shape[:2], -1)], dim=-1) for name, own in queries.items()
        }
        return {name: self.decoder(latents, each) for name, each in padded.items()}


class MultimodalAutoencoder(nn.Module):
    """A clip to itself and to its label: `encode` once, decode any pixels, any runs of samples, the label."""

    def __init__(self, config: MultimodalConfig) -> None:
        super().__init__()
        self.config = config
        self.preprocessor = MultimodalPreprocessor(
            {
                AUDIO: AudioPreprocessor(
                    samples_per_patch=config.samples_per_patch, bands=config.audio_bands, max_resolution=config.audio_samples
                ),
                IMAGE: VideoPreprocessor(
                    patch=config.video_patch, bands=config.video_bands, max_resolution=config.video_max_resolution
                ),
                LABEL: OneHotPreprocessor(num_labels=len(config.labels)),
            },
            min_padding=config.input_padding,
            mask_lengths={LABEL: 1},
        )
        self.encoder = PerceiverEncoder(config.encoder, input_channels=self.preprocessor.channels)
        self.decoder = MultimodalDecoder(config)
        self.postprocessor = MultimodalPostprocessor(
            {
                AUDIO: AudioPostprocessor(config.output_channels, config.samples_per_patch),
                IMAGE: ProjectionPostprocessor(config.output_channels, 3),
                LABEL: ClassificationPostprocessor(config.output_channels, len(config.labels)),
            }
        )

    def encode(self, video: Tensor, audio: Tensor, label: Tensor | None = None) -> Tensor:
        """video (B, T, 3, H, W) in [0, 1], audio (B, S, 1), label (B, labels) or masked → latents (B, N, D)."""
        inputs = {AUDIO: audio, IMAGE: video} | ({} if label is None else {LABEL: label})
        latents: Tensor = self.encoder(self.preprocessor(inputs))
        return latents

    def decode_video(self, latents: Tensor, query_positions: Tensor) -> Tensor:
        """query_positions (B, O, 3) as (time, y, x), see `output_positions` → rgb (B, O, 3), about [0, 1]."""
        return self._decode(latents, IMAGE, self.decoder.video.at(query_positions))

    def decode_audio(self, latents: Tensor, query_positions: Tensor) -> Tensor:
        """query_positions (B, P, 1), see `output_positions` → samples (B, P, samples_per_patch)."""
        return self._decode(latents, AUDIO, self.decoder.audio.at(query_positions))

    def decode_label(self, latents: Tensor) -> Tensor:
        """latents (B, N, D) → logits (B, labels)."""
        return self._decode(latents, LABEL, self.decoder.label(latents.shape[0]))

    def _decode(self, latents: Tensor, name: str, queries: Tensor) -> Tensor:
        outputs: dict[str, Tensor] = self.postprocessor(self.decoder(latents, {name: queries}))
        return outputs[name]

    def forward(
        self, video: Tensor, audio: Tensor, *, pixels: Tensor, patches: Tensor, label: Tensor | None = None
    ) -> Reconstruction:
        """A clip, and which outputs: `pixels` (O,) and `patches` (P,), int64 places in the flattened clip."""
        latents = self.encode(video, audio, label)
        frames, (height, width) = self.config.num_frames, self.config.frame_size
        patch_count = self.config.audio_samples // self.config.samples_per_patch
        video_positions = output_positions(pixels, (frames, height, width)).expand(latents.shape[0], -1, -1)
        audio_positions = output_positions(patches, (patch_count,)).expand(latents.shape[0], -1, -1)
        return Reconstruction(
            self.decode_video(latents, video_positions),
            self.decode_audio(latents, audio_positions),
            self.decode_label(latents),
        )


def output_positions(places: Tensor, size: tuple[int, ...]) -> Tensor:
    """Places (O,) in a flattened grid of `size` → positions (O, len(size)) in [-1, 1).

    -1 + 2·i/n: not the linspace of the inputs, which has both ends. So transformers places sub-sampled queries, and the
    published checkpoint is run.
    """
    indices = torch.stack(torch.unravel_index(places, size), dim=-1)
    return -1 + 2 * indices / torch.tensor(size, device=places.device)


def multimodal_loss(
    found: Reconstruction,
    rgb: Tensor,
    samples: Tensor,
    labels: Tensor,
    *,
    video_weight: float = 1.0,
    audio_weight: float = 1.0,
    label_weight: float = 1.0,
) -> Tensor:
    """Weighted sum of mean absolute errors of video and sound, and the label's cross-entropy → scalar.

    rgb and samples as in `Reconstruction`, labels (B,) class numbers. The paper weighs the three against one another to trade
    reconstruction for accuracy (appendix).
    """
    video_error, audio_error = (found.rgb - rgb).abs().mean(), (found.samples - samples).abs().mean()
    return video_weight * video_error + audio_weight * audio_error + label_weight * F.cross_entropy(found.logits, labels)
