"""Attention that other people's modules write, while they are traced: one node where torch has one call, products for einsum.

`scaled_dot_product_attention` becomes a `perceiver::Attention` where its mask is one of keys or none; `einsum` of two tensors
becomes a product of matrices, so that passes see one form. What is written as product, softmax, product is found later, in the
graph (passes/attention/recognise_attention.py).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from perceiver_export.attention_node import DOMAIN, FOREIGN, OP_TYPE


class ForeignAttention(TorchFunctionMode):
    """Replaces those two functions for the time of a `with` block."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        replacement = _REPLACED.get(func)
        found = None if replacement is None else replacement(*args, **kwargs)
        return func(*args, **kwargs) if found is None else found


def _attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor | None:
    """One node; None for what it cannot say: causal masks, masks of queries, fewer heads of keys."""
    if is_causal or enable_gqa or query.ndim not in (3, 4) or key.ndim != query.ndim or value.ndim != query.ndim:
        return None
    heads = query.shape[1] if query.ndim == 4 else 1
    mask = None
    if attn_mask is not None:
        mask = _of_keys(attn_mask, query.ndim)
        if mask is None:
            return None
        mask = mask.expand(query.shape[0], -1).to(torch.int64)
    flat = [tensor.transpose(1, 2).flatten(2) if query.ndim == 4 else tensor for tensor in (query, key, value)]
    q, k, v = flat
    attributes: dict[str, Any] = {"num_heads": heads, FOREIGN: 1}
    if scale is not None:
        attributes["scale"] = float(scale)
    node: Tensor = torch.onnx.ops.symbolic(
        f"{DOMAIN}::{OP_TYPE}",
        (q, k, v) if mask is None else (q, k, v, mask),
        attributes,
        dtype=q.dtype,
        shape=(q.shape[0], q.shape[1], v.shape[2]),
        version=1,
    )
    return node.unflatten(2, (heads, value.shape[-1])).transpose(1, 2) if query.ndim == 4 else node


def _of_keys(mask: Tensor, axes: int) -> Tensor | None:
    """(B or 1, M) of a bool mask that is the same for all heads and queries; None for another."""
    if mask.dtype != torch.bool:
        return None
    shape = (1,) * (axes - mask.ndim) + tuple(mask.shape)
    between = shape[1:-1]
    if len(shape) != axes or any(not isinstance(size, int) or size != 1 for size in between):
        return None
    return mask.reshape(shape[0], shape[-1])


def _einsum(equation: Any, *operands: Any) -> Tensor | None:
    """A product of matrices; None where it is none: more operands, sums over one of them, letters twice."""
    if not isinstance(equation, str) or len(operands) != 2 or "." in equation:
        return None
    left_side, _, out = equation.replace(" ", "").partition("->")
    left, _, right = left_side.partition(",")
    x, y = operands
    if not out or any(len(set(letters)) != len(letters) for letters in (left, right, out)):
        return None
    batch = [letter for letter in out if letter in left and letter in right]
    summed = [letter for letter in left if letter in right and letter not in out]
    rows, columns = ([letter for letter in side if letter in out and letter not in batch] for side in (left, right))
    if (len(rows), len(columns), len(summed)) != (1, 1, 1) or len(left) != len(batch) + 2 or len(right) != len(batch) + 2:
        return None
    x = x.permute([left.index(letter) for letter in (*batch, *rows, *summed)])
    y = y.permute([right.index(letter) for letter in (*batch, *summed, *columns)])
    made = [*batch, *rows, *columns]
    product: Tensor = torch.matmul(x, y)
    return product if made == list(out) else product.permute([made.index(letter) for letter in out])


_REPLACED: dict[Any, Callable[..., Tensor | None]] = {
    F.scaled_dot_product_attention: _attention,
    torch.einsum: _einsum,
}
