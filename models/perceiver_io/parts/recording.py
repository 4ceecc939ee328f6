"""Looking inside a model: hidden states and attention weights of whatever is computed within a block of code."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial

from torch import Tensor, nn

from perceiver_io.parts.attention import CrossAttentionLayer, SelfAttentionLayer, attention_weights, scaled_dot_product
from perceiver_io.parts.encoder import PerceiverEncoder


@dataclass
class Recording:
    """What was seen, in the order and with the repetitions of transformers' outputs of the same names.

    hidden_states: the latents (B, N, D) before each self-attention layer, and after the last one of each block.
    attentions: the weights (B, heads, N, N) of each self-attention.
    cross_attentions: the weights (B, heads, Q, M), of the encoder's and then of the decoder's.
    """

    hidden_states: list[Tensor] = field(default_factory=list)
    attentions: list[Tensor] = field(default_factory=list)
    cross_attentions: list[Tensor] = field(default_factory=list)


@contextlib.contextmanager
def record(model: nn.Module) -> Iterator[Recording]:
    """Record every layer of `model` that runs inside the `with` block.

    >>> with record(model) as seen:
    ...     logits = model(input_ids)
    >>> seen.cross_attentions[0].shape  # (B, heads, latents, inputs)
    """
    seen = Recording()
    hooks = []

    def before(module: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        seen.hidden_states.append(arguments[0])

    def after(module: nn.Module, arguments: tuple[Tensor, ...], output: Tensor) -> None:
        seen.hidden_states.append(output)

    layers = [module for module in model.modules() if isinstance(module, (CrossAttentionLayer, SelfAttentionLayer))]
    attends = [layer.attention.attend for layer in layers]
    try:
        for layer in layers:
            into = seen.attentions if isinstance(layer, SelfAttentionLayer) else seen.cross_attentions
            layer.attention.attend = partial(_attend_and_keep, into)
        for encoder in (module for module in model.modules() if isinstance(module, PerceiverEncoder)):
            hooks += [layer.register_forward_pre_hook(before) for layer in encoder.self_attention]
            hooks.append(encoder.self_attention[-1].register_forward_hook(after))
        yield seen
    finally:
        for hook in hooks:
            hook.remove()
        for layer, attend in zip(layers, attends):
            layer.attention.attend = attend


def _attend_and_keep(
    into: list[Tensor], q: Tensor, k: Tensor, v: Tensor, *, heads: int, mask: Tensor | None, dropout: float
) -> Tensor:
    into.append(attention_weights(q, k, heads=heads, mask=mask))
    return scaled_dot_product(q, k, v, heads=heads, mask=mask, dropout=dropout)
