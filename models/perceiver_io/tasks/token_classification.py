"""Token classification: a label for each byte of a text. Each byte's own vector is its query."""

from __future__ import annotations

from torch import Tensor, nn

from perceiver_io.config import TokenClassificationConfig
from perceiver_io.parts.decoders import BasicDecoder
from perceiver_io.parts.encoder import PerceiverEncoder
from perceiver_io.parts.neighbourhood import Neighbourhood
from perceiver_io.parts.text_preprocessor import TextPreprocessor


class TokenClassifier(nn.Module):
    """Text to one logit per label, for each of its tokens.

    >>> model(input_ids, attention_mask).shape  # (B, L, labels)
    """

    def __init__(self, config: TokenClassificationConfig) -> None:
        super().__init__()
        self.config = config
        self.preprocessor = TextPreprocessor(config.text, initializer_range=config.encoder.initializer_range)
        self.neighbourhood = Neighbourhood(config.text.channels, config.neighbours) if config.neighbours else None
        self.encoder = PerceiverEncoder(config.encoder, input_channels=config.text.channels)
        self.decoder = BasicDecoder(
            config.decoder, config.encoder, query_channels=config.text.channels, output_channels=len(config.labels)
        )

    def encode(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """input_ids (B, L) int64, attention_mask (B, L): zero is padding → latents (B, N, D), queries (B, L, channels)."""
        tokens: Tensor = self.preprocessor(input_ids)
        if self.neighbourhood is not None:
            tokens = tokens + self.neighbourhood(self.preprocessor.embedding(input_ids), attention_mask)
        return self.encoder(tokens, attention_mask), tokens

    def decode(self, latents: Tensor, queries: Tensor) -> Tensor:
        """latents (B, N, D), queries (B, L, channels) → logits (B, L, labels), each of its query alone."""
        logits: Tensor = self.decoder(latents, queries)
        return logits

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """input_ids (B, L), attention_mask (B, L) → logits (B, L, labels)."""
        return self.decode(*self.encode(input_ids, attention_mask))
