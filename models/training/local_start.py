"""Start attention local, so that a small model trains in an hour on a CPU.

Attention of random weights spreads over the whole input, and it takes many thousands of steps to find out that near things
matter. Here the latents begin with a code of a place, sines and cosines, and the query and key layers as maps of that code
and of the inputs' own, by which each head looks at one place near its query's. It is only where training begins: all of it
is trained on, and the layout of the model is the usual one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from perceiver_io.parts.attention import MultiHeadAttention
from perceiver_io.parts.encoder import PerceiverEncoder


class Code(NamedTuple):
    """Channels that hold the cosines and the sines of a place, one of each per frequency."""

    cosines: Tensor
    sines: Tensor


@torch.no_grad()
def look_near(
    attention: MultiHeadAttention, queries: Code, keys: Code, turns: Sequence[Tensor | None], *, gain: Tensor
) -> None:
    """Let head h attend where the keys' code is its query's, turned by the angles `turns[h]`; None leaves the head alone.

    `gain` per frequency: how much it counts. Few high frequencies make a sharp look, low ones a wide one.
    """
    size, count = attention.query.out_features // attention.heads, len(gain)
    for head, turn in enumerate(turns):
        if turn is None:
            continue
        first, second = head * size + torch.arange(count), head * size + count + torch.arange(count)
        for layer in (attention.query, attention.key):
            layer.weight[head * size : (head + 1) * size] *= 0.1
        cosine, sine = gain * torch.cos(turn), gain * torch.sin(turn)
        attention.query.weight[first, queries.cosines], attention.query.weight[first, queries.sines] = cosine, -sine
        attention.query.weight[second, queries.cosines], attention.query.weight[second, queries.sines] = sine, cosine
        attention.key.weight[first, keys.cosines], attention.key.weight[second, keys.sines] = gain, gain


@torch.no_grad()
def write_places(table: Tensor, code: Code, angles: Tensor, *, amplitude: float) -> None:
    """Begin the first rows of `table` with the code of places: angles (rows, frequencies)."""
    rows = torch.arange(len(angles))[:, None]
    table[rows, code.cosines], table[rows, code.sines] = amplitude * torch.cos(angles), amplitude * torch.sin(angles)


@torch.no_grad()
def soften(encoder: PerceiverEncoder) -> None:
    """Let self-attention begin with small changes, which leave the code readable."""
    layers: Any = encoder.self_attention
    for layer in layers:
        layer.attention.output.weight *= 0.3
        layer.mlp.contract.weight *= 0.3


# Texts: radians per byte, half of them up to a bit less than a byte's Nyquist frequency, half for the coarse place.
_COUNT = 16
TEXT_CODE = Code(torch.arange(_COUNT), torch.arange(_COUNT, 2 * _COUNT))
BYTE_FREQUENCIES = torch.cat(
    [
        torch.logspace(math.log10(math.pi / 256), math.log10(0.2 * math.pi), _COUNT // 2),
        torch.linspace(0.25, 0.95, _COUNT // 2) * math.pi,
    ]
)


def read_bytes_near(attention: MultiHeadAttention, offsets: Sequence[float | None], *, gain: float, width: float) -> None:
    """Let head h attend `offsets[h]` bytes further than its query's place, and `width` bytes around there."""
    turns = [None if offset is None else offset * BYTE_FREQUENCIES for offset in offsets]
    window = torch.exp(-((BYTE_FREQUENCIES * width) ** 2) / 4)  # on queries and on keys: a Gaussian
    look_near(attention, TEXT_CODE, TEXT_CODE, turns, gain=gain * window)


def start_text(encoder: PerceiverEncoder, positions: Tensor) -> None:
    """Start an encoder of text and its table of positions (max_positions, channels): latents spread evenly over the text."""
    length, latents = len(positions), len(encoder.latents)
    step = length / latents
    write_places(positions, TEXT_CODE, torch.arange(length)[:, None] * BYTE_FREQUENCIES, amplitude=0.2)
    write_places(encoder.latents, TEXT_CODE, (torch.arange(latents)[:, None] + 0.5) * step * BYTE_FREQUENCIES, amplitude=1.0)
    heads = encoder.cross_attention.attention.heads
    read_bytes_near(encoder.cross_attention.attention, [head - (heads - 1) / 2 for head in range(heads)], gain=0.8, width=0)
    layers: Any = encoder.self_attention
    for layer in layers:
        offsets: list[float | None] = [-2 * step, -step, step, 2 * step]
        read_bytes_near(layer.attention, offsets, gain=0.7, width=step / 4)
    soften(encoder)
