"""Masks of keys in attention that is written out: what stands for one in a traced graph, and the (B, M) that it comes from."""

from __future__ import annotations

import onnx_ir as ir

from perceiver_export.passes.patterns import is_stored

_MASKED = -1e4  # what is added to, or put in place of, a masked score is at most that


class NotAttention(Exception):
    """Why a softmax is of no attention that is known here."""


def chosen_mask(node: ir.Node) -> tuple[ir.Value | None, ir.Value, bool]:
    """Where(hidden, very small, scores) or Where(seen, scores, very small): scores, the condition, whether it is the first."""
    condition, yes, no = node.inputs
    assert condition is not None  # a Where has one
    for number, other, hidden in ((yes, no, True), (no, yes, False)):
        constant = number_of(number)
        if constant is not None and constant <= _MASKED:
            return other, condition, hidden
    raise NotAttention("its scores are chosen by a Where that is no mask")


def added_mask(node: ir.Node) -> tuple[ir.Value | None, ir.Value, bool]:
    """Scores + Where(seen, 0, very small), or the other way round, spread over heads and queries."""
    for place in (0, 1):
        bias, scores = node.inputs[place], node.inputs[1 - place]
        made = bias.producer() if bias is not None else None
        while made is not None and made.op_type == "Unsqueeze" and made.inputs[0] is not None:
            made = made.inputs[0].producer()
        if bias is None or scores is None or made is None or made.op_type != "Where" or made.inputs[0] is None:
            continue
        spread, whole = dims_of(bias), dims_of(scores)
        if len(spread) != len(whole) or any(size != 1 for size in spread[1:-1]) or spread[-1] != whole[-1]:
            continue
        yes, no = number_of(made.inputs[1]), number_of(made.inputs[2])
        if yes == 0 and no is not None and no <= _MASKED:
            return scores, made.inputs[0], False
        if no == 0 and yes is not None and yes <= _MASKED:
            return scores, made.inputs[0], True
    raise NotAttention("its scores have a bias added that is no mask of keys")


def key_source(mask: ir.Value, key: ir.Value) -> tuple[ir.Value, bool]:
    """The (B, M) that a condition of scores was spread from, and whether it was negated. Raises `NotAttention`.

    It is the same for all queries: its last axis but one is 1, or was made of heads (B, heads, M) and folded into the batch.
    """
    length, negated, value, batch = dims_of(key)[-2], False, mask, None
    while rank_of(value) != 2:
        node, shape = value.producer(), dims_of(value)
        known = node is not None and node.op_type in ("Not", "Unsqueeze", "Expand", "Reshape", "Cast")
        if not known or node is None or node.inputs[0] is None or shape[-1] != length or (batch is None and shape[-2] != 1):
            raise NotAttention("its mask is not one of keys, the same for all queries")
        apart = dims_of(node.inputs[0])
        if node.op_type == "Reshape" and _wide(apart) != _wide(shape):
            if batch is not None or len(apart) < 3 or apart[-1] != length or not all(isinstance(n, int) for n in apart[1:-1]):
                raise NotAttention("its mask is put together in a way that is not known")
            batch = apart[0]
        negated ^= node.op_type == "Not"
        value = node.inputs[0]
    if batch is not None and dims_of(value)[0] != batch:
        raise NotAttention("its mask is put together in a way that is not known")
    return value, negated


def key_mask(mask: ir.Value, hidden: bool, key: ir.Value, new: list[ir.Node]) -> ir.Value:
    """(B, M), true where a key is seen, for keys (B, M, c). Raises `NotAttention`."""
    value, negated = key_source(mask, key)
    if dims_of(value) != dims_of(key)[:2]:
        raise NotAttention("its mask is not one of the keys' batch and length")
    if negated == hidden:
        return value
    bits = ir.node("Cast", [value], {"to": ir.DataType.BOOL})
    node = ir.node("Not", [bits.outputs[0]])
    for each in (bits, node):
        each.outputs[0].dtype, each.outputs[0].shape = ir.DataType.BOOL, value.shape
    new += [bits, node]
    return node.outputs[0]


def _wide(dims: list[int | str]) -> list[int | str]:
    """A shape without axes of 1."""
    return [size for size in dims if size != 1]


def number_of(value: ir.Value | None) -> float | None:
    """A stored number, repeated or not."""
    while value is not None and not is_stored(value):
        node = value.producer()
        if node is None or node.op_type not in ("Expand", "Cast", "Unsqueeze", "Reshape"):
            return None
        value = node.inputs[0]
    if value is None or value.const_value is None:
        return None
    array = value.const_value.numpy()
    return float(array.reshape(-1)[0]) if array.size == 1 else None


def rank_of(value: ir.Value | None) -> int:
    """How many axes it has, 0 where that is not known."""
    return 0 if value is None or value.shape is None else len(value.shape)


def dims_of(value: ir.Value) -> list[int | str]:
    """Its shape, symbols as texts. Raises `NotAttention` where that is not known."""
    if value.shape is None:
        raise NotAttention("its shapes are not known")
    return [size if isinstance(size, int) else str(size) for size in value.shape]
