"""A composition of transformers with parts that have no equivalent here: they stay as they are, around this package's encoder.

Their attention layers become this package's, and Fourier positions too, so that they trace as everything else does.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from perceiver_io.config import EncoderConfig
from perceiver_io.loading.huggingface_names import tensor_name
from perceiver_io.parts.attention import CrossAttentionLayer
from perceiver_io.parts.encoder import PerceiverEncoder
from perceiver_io.parts.positions import FourierPositions

QUERIES = "queries"


class LayerAdapter(nn.Module):
    """A `PerceiverLayer` of transformers, as a cross-attention, with its interface."""

    def __init__(self, theirs: Any, config: EncoderConfig) -> None:
        super().__init__()
        attention = theirs.attention.self
        self.layer = CrossAttentionLayer(
            q_channels=attention.layernorm1.normalized_shape[0],
            kv_channels=attention.layernorm2.normalized_shape[0],
            heads=attention.num_heads,
            qk_channels=attention.query.weight.shape[0],
            v_channels=attention.value.weight.shape[0],
            widening=theirs.mlp.dense1.weight.shape[0] // theirs.mlp.dense1.weight.shape[1],
            query_residual=bool(theirs.attention.use_query_residual),
            activation=config.activation,
        )
        state = theirs.state_dict()
        names = {own: tensor_name("features", f"x.{own}").removeprefix("x.") for own in self.layer.state_dict()}
        self.layer.load_state_dict({own: state[name] for own, name in names.items()})

    def forward(self, hidden_states: Tensor, *args: Any, inputs: Tensor | None = None, **options: Any) -> tuple[Tensor]:
        """Queries (B, Q, ·) and inputs (B, M, ·) → a tuple of (B, Q, ·)."""
        assert inputs is not None  # a decoder's layer always has them
        return (self.layer(hidden_states, inputs),)


class PositionsAdapter(nn.Module):
    """A `PerceiverFourierPositionEncoding` with its interface, sines and cosines beside positions."""

    def __init__(self, theirs: Any) -> None:
        super().__init__()
        self.positions = FourierPositions(theirs.num_bands, tuple(int(size) for size in theirs.max_resolution))
        self.num_dimensions = len(self.positions.max_resolution)

    def output_size(self) -> int:
        """Channels."""
        return self.positions.channels

    def forward(
        self, index_dims: Any, batch_size: int, device: torch.device, dtype: torch.dtype, pos: Tensor | None = None
    ) -> Tensor:
        """(batch, cells, channels) of a grid, or of positions (batch, O, d)."""
        if pos is not None:
            return self.positions.at(pos).to(dtype)
        features: Tensor = self.positions(tuple(index_dims), device=device)
        return features.to(dtype).expand(batch_size, -1, -1)


def _adapt(part: nn.Module, config: EncoderConfig) -> nn.Module:
    """A copy with layers and positions replaced."""
    part = copy.deepcopy(part)
    for module in list(part.modules()):
        for name, child in list(module.named_children()):
            kind = type(child).__name__ if type(child).__module__.startswith("transformers.") else ""
            if kind == "PerceiverLayer":
                setattr(module, name, LayerAdapter(child, config))
            elif kind == "PerceiverFourierPositionEncoding" and child.concat_pos and not child.sine_only:
                setattr(module, name, PositionsAdapter(child))
    return part


class AdaptedModel(nn.Module):
    """Parts of transformers, or of a user's own, around our encoder. `encode` gives latents and the decoder's queries."""

    def __init__(
        self, encoder: PerceiverEncoder, config: EncoderConfig, *, preprocessor: Any, decoder: Any, postprocessor: Any
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.preprocessor: Any = None if preprocessor is None else _adapt(preprocessor, config)
        self.decoder: Any = None if decoder is None else _adapt(decoder, config)
        self.postprocessor: Any = None if postprocessor is None else _adapt(postprocessor, config)

    def encode(self, *inputs: Tensor, mask: Tensor | None = None, **named: Tensor) -> dict[str, Tensor]:
        """An input alone, or those of several modalities by name; mask (B, M): zero ignores → `latents`, and `queries`."""
        several = hasattr(self.preprocessor, "modalities")
        given: Any = named if several else (*inputs, *named.values())[0]
        sizes = plain = None
        if self.preprocessor is not None:
            given, sizes, plain = self.preprocessor(given)
        latents = {"latents": self.encoder(given, mask)}
        queries = None if self.decoder is None else self.decoder.decoder_query(given, sizes, plain)
        return latents if queries is None else {**latents, QUERIES: queries}

    def decode(self, latents: dict[str, Tensor]) -> Any:
        """What `encode` gave → what the decoder, and the postprocessor, make of it. Raises `ValueError` without a decoder."""
        if self.decoder is None:
            raise ValueError("this model has no decoder: it gives latents alone")
        answer = self.decoder(latents.get(QUERIES), latents["latents"])
        decoded = getattr(answer, "logits", answer)
        return decoded if self.postprocessor is None else self.postprocessor(decoded)

    def forward(self, *inputs: Tensor, mask: Tensor | None = None, **named: Tensor) -> Any:
        """Both, one after the other."""
        return self.decode(self.encode(*inputs, mask=mask, **named))
