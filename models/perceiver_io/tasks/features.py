"""The Perceiver IO as a construction kit: any preprocessor, any decoder, any postprocessor around one encoder."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from perceiver_io.config import EncoderConfig, FeaturesConfig
from perceiver_io.parts.encoder import PerceiverEncoder
from perceiver_io.parts.multimodal_preprocessor import MultimodalPreprocessor
from perceiver_io.parts.part import part
from perceiver_io.parts.queried_decoders import ModalitiesDecoder
from perceiver_io.parts.text_preprocessor import TextPreprocessor

POSITIONS, OUTPUT = "_positions", "_output"  # of a modality, after its name


@part
class PerceiverModel(nn.Module):
    """Inputs to latents, and with a decoder to answers. Compose a task of your own with it.

    `preprocessor` makes (B, M, input_channels) of the inputs (without one they are that already), `decoder` takes latents and
    whatever queries it needs, `postprocessor` takes what the decoder gives.

    >>> encoder = EncoderConfig(num_latents=64, latent_channels=128, layers_per_block=4, self_attention_heads=8)
    >>> image = ImagePreprocessor(ImageInputConfig("patches", size=(32, 32), downsample=4))
    >>> decoder = ClassificationDecoder(DecoderConfig(), encoder, num_labels=10)
    >>> model = PerceiverModel(encoder, input_channels=image.channels, preprocessor=image, decoder=decoder)
    >>> model(torch.zeros(1, 3, 32, 32)).shape
    torch.Size([1, 10])
    """

    def __init__(
        self,
        encoder: EncoderConfig,
        *,
        input_channels: int,
        preprocessor: nn.Module | None = None,
        decoder: nn.Module | None = None,
        postprocessor: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.preprocessor = preprocessor or nn.Identity()
        self.encoder = PerceiverEncoder(encoder, input_channels=input_channels)
        self.decoder, self.postprocessor = decoder, postprocessor

    def encode(self, *inputs: Tensor, mask: Tensor | None = None, **named: Tensor) -> Tensor:
        """Inputs as the preprocessor takes them, mask (B, M): zero ignores an input → latents (B, N, D).

        `named` inputs are those of several modalities; of another preprocessor, its inputs in order.
        """
        several = named and isinstance(self.preprocessor, MultimodalPreprocessor)
        tokens = self.preprocessor(named) if several else self.preprocessor(*inputs, *named.values())
        latents: Tensor = self.encoder(tokens, mask)
        return latents

    def decode(self, latents: Tensor, queries: Tensor | None = None, **named: Tensor) -> Any:
        """What the decoder and the postprocessor make of latents (B, N, D). Raises `ValueError` without a decoder.

        `named` are queries under whatever name. Of several modalities the positions of `image` are `image_positions`, and the
        answers a dictionary with `image_output`, so that inputs, queries and outputs have names of their own.
        """
        if self.decoder is None:
            raise ValueError("this model has no decoder: it gives latents alone")
        several = isinstance(self.decoder, ModalitiesDecoder)
        if several:
            decoded = self.decoder(latents, **{name.removesuffix(POSITIONS): each for name, each in named.items()})
        else:
            decoded = self.decoder(latents, *(each for each in (queries, *named.values()) if each is not None))
        answer = decoded if self.postprocessor is None else self.postprocessor(decoded)
        return {f"{name}{OUTPUT}": each for name, each in answer.items()} if several else answer

    def forward(self, *inputs: Tensor, mask: Tensor | None = None, queries: Tensor | None = None) -> Any:
        """Latents (B, N, D) without a decoder, else what it and the postprocessor make of them."""
        latents = self.encode(*inputs, mask=mask)
        return latents if self.decoder is None else self.decode(latents, queries)


class FeatureExtractor(PerceiverModel):
    """The model of a `FeaturesConfig`: vectors (B, M, channels), or token ids (B, M), to latents."""

    def __init__(self, config: FeaturesConfig) -> None:
        text = TextPreprocessor(config.text, initializer_range=config.encoder.initializer_range) if config.text else None
        super().__init__(config.encoder, input_channels=config.channels, preprocessor=text)
        self.config = config
