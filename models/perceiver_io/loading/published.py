"""The published checkpoints: where they are and what they are made of. The one place where that is written down."""

from __future__ import annotations

from dataclasses import dataclass

from perceiver_io.config import (
    AnyConfig,
    DecoderConfig,
    EncoderConfig,
    FillMaskConfig,
    FlowConfig,
    ImageClassificationConfig,
    ImageInputConfig,
    MultimodalConfig,
)


@dataclass(frozen=True)
class Published:
    """A checkpoint on the Hugging Face hub, from DeepMind."""

    task: str
    config: AnyConfig


def _numbered(count: int) -> tuple[str, ...]:
    """Stand-ins for label names: the checkpoint's own config.json has the real ones."""
    return tuple(f"LABEL_{number}" for number in range(count))


_LANGUAGE = EncoderConfig(
    num_latents=256,
    latent_channels=1280,
    layers_per_block=26,
    self_attention_heads=8,
    cross_attention_heads=8,
    qk_channels=256,
    v_channels=1280,
)
_VISION = EncoderConfig(
    num_latents=512, latent_channels=1024, num_blocks=8, layers_per_block=6, self_attention_heads=8, cross_attention_heads=1
)
_CLASSIFIER = DecoderConfig(query_residual=True)

PUBLISHED: dict[str, Published] = {
    "deepmind/optical-flow-perceiver": Published("flow", FlowConfig()),
    "deepmind/language-perceiver": Published(
        "fill-mask", FillMaskConfig(_LANGUAGE, DecoderConfig(heads=8, qk_channels=256, v_channels=768))
    ),
    "deepmind/vision-perceiver-learned": Published(
        "image-classification",
        ImageClassificationConfig(
            _VISION,
            _CLASSIFIER,
            ImageInputConfig("conv1x1", (224, 224), positions="learned", channels=256),
            labels=_numbered(1000),
        ),
    ),
    "deepmind/vision-perceiver-fourier": Published(
        "image-classification",
        ImageClassificationConfig(_VISION, _CLASSIFIER, ImageInputConfig("pixels", (224, 224)), labels=_numbered(1000)),
    ),
    "deepmind/vision-perceiver-conv": Published(
        "image-classification",
        ImageClassificationConfig(
            _VISION, _CLASSIFIER, ImageInputConfig("conv", (224, 224), max_resolution=(56, 56)), labels=_numbered(1000)
        ),
    ),
    "deepmind/multimodal-perceiver": Published(
        "multimodal",
        MultimodalConfig(
            EncoderConfig(num_latents=784, latent_channels=512, layers_per_block=8, self_attention_heads=8),
            DecoderConfig(),
            labels=_numbered(700),
        ),
    ),
}
