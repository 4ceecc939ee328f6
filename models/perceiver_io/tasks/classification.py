"""Classification of text, of images and of sounds: a preprocessor, the encoder, one learned query."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from perceiver_io.config import AudioClassificationConfig, ImageClassificationConfig, ProblemType, TextClassificationConfig
from perceiver_io.parts.decoders import ClassificationDecoder
from perceiver_io.parts.encoder import PerceiverEncoder
from perceiver_io.parts.image_preprocessor import ImagePreprocessor
from perceiver_io.parts.spectrogram import SpectrogramPreprocessor
from perceiver_io.parts.text_preprocessor import TextPreprocessor


class TextClassifier(nn.Module):
    """Text to one logit per label."""

    def __init__(self, config: TextClassificationConfig) -> None:
        super().__init__()
        self.config = config
        self.preprocessor = TextPreprocessor(config.text, initializer_range=config.encoder.initializer_range)
        self.encoder = PerceiverEncoder(config.encoder, input_channels=config.text.channels)
        self.decoder = ClassificationDecoder(config.decoder, config.encoder, num_labels=len(config.labels))

    def encode(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """input_ids (B, L) int64, attention_mask (B, L): zero is padding → latents (B, N, D)."""
        latents: Tensor = self.encoder(self.preprocessor(input_ids), attention_mask)
        return latents

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """input_ids (B, L), attention_mask (B, L) → logits (B, labels)."""
        logits: Tensor = self.decoder(self.encode(input_ids, attention_mask))
        return logits


class ImageClassifier(nn.Module):
    """An image to one logit per label: learned, Fourier or convolutional, as `config.image` says."""

    def __init__(self, config: ImageClassificationConfig) -> None:
        super().__init__()
        self.config = config
        self.preprocessor = ImagePreprocessor(config.image)
        self.encoder = PerceiverEncoder(config.encoder, input_channels=self.preprocessor.channels)
        self.decoder = ClassificationDecoder(config.decoder, config.encoder, num_labels=len(config.labels))

    def encode(self, pixel_values: Tensor) -> Tensor:
        """pixel_values (B, 3, H, W), normalised → latents (B, N, D)."""
        latents: Tensor = self.encoder(self.preprocessor(pixel_values))
        return latents

    def forward(self, pixel_values: Tensor) -> Tensor:
        """pixel_values (B, 3, H, W), normalised → logits (B, labels)."""
        logits: Tensor = self.decoder(self.encode(pixel_values))
        return logits


class AudioClassifier(nn.Module):
    """A window of sound to one logit per label."""

    def __init__(self, config: AudioClassificationConfig) -> None:
        super().__init__()
        self.config = config
        self.preprocessor = SpectrogramPreprocessor(config.audio)
        self.encoder = PerceiverEncoder(config.encoder, input_channels=self.preprocessor.channels)
        self.decoder = ClassificationDecoder(config.decoder, config.encoder, num_labels=len(config.labels))

    def encode(self, audio: Tensor) -> Tensor:
        """audio (B, S) in [-1, 1], S as `config.audio` says → latents (B, N, D)."""
        latents: Tensor = self.encoder(self.preprocessor(audio))
        return latents

    def forward(self, audio: Tensor) -> Tensor:
        """audio (B, S) in [-1, 1] → logits (B, labels)."""
        logits: Tensor = self.decoder(self.encode(audio))
        return logits


def classification_loss(logits: Tensor, targets: Tensor, *, problem: ProblemType) -> Tensor:
    """logits (B, labels) against targets → scalar, as transformers computes it.

    `single_label`: cross-entropy with class numbers (B,). `multi_label`: binary cross-entropy with (B, labels) of 0 and 1.
    `regression`: squared error with (B, labels), or (B,) for a single label.
    """
    if problem == "single_label":
        return F.cross_entropy(logits, targets)
    if problem == "multi_label":
        return F.binary_cross_entropy_with_logits(logits, targets.to(logits.dtype))
    return F.mse_loss(logits.view(targets.shape), targets.to(logits.dtype))
