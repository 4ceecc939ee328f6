"""Attention written out (product, softmax, product) → one `perceiver::Attention`, lowered and planned as this package's own.

Found by what it computes: softmax over the last axis of scale·q·kᵀ, a mask of keys or none, times v; heads apart as
(B, heads, M, c), or folded into the batch as (B·heads, M, c). Exact up to the order of summation; where all keys of an item are
masked the answers differ, for neither means anything. What is no such attention stays, with the reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from perceiver_export.attention_node import DOMAIN, FOREIGN, OP_TYPE
from perceiver_export.passes.exact.name_by_module import module_of
from perceiver_export.passes.patterns import is_stored, only_reader

_MASKED = -1e4  # what is added to, or put in place of, a masked score is at most that
_HEADS_SECOND = (0, 2, 1, 3)


class _NotAttention(Exception):
    """Why a softmax is of no attention that is known here."""


@dataclass
class _Scores:
    """What a softmax is of."""

    query: ir.Value
    key: ir.Value  # (..., M, c)
    scale: float
    mask: ir.Value | None  # a condition of scores
    hidden: bool  # whether that is true where a key is hidden; else where it is seen


def recognise_attention(model: ir.Model) -> tuple[int, dict[str, str]]:
    """Replace every attention that is written out: the number replaced, and by place why others were not."""
    count, left = 0, {}
    for node in [node for node in model.graph if node.op_type == "Softmax"]:
        try:
            _replace(model.graph, node)
        except _NotAttention as reason:
            left[f"{module_of(node) or 'the model'}/{node.name}"] = str(reason)
        else:
            count += 1
    if count:
        model.opset_imports[DOMAIN] = 1
    _drop_unread(model.graph)
    return count, left


def _replace(graph: ir.Graph, softmax: ir.Node) -> None:
    scores, value, product = _matched(softmax)
    new: list[ir.Node] = []
    unsplit = [_unsplit(each) for each in (scores.query, scores.key, value)]
    heads = {heads for each in unsplit if each is not None for heads in [each[1]]}
    joined = None if None in unsplit or len(heads) != 1 else _joined(product.outputs[0], next(iter(heads)))
    if joined is not None:
        count, inputs = next(iter(heads)), [each[0] for each in unsplit if each is not None]
        end = joined
    elif _rank(scores.query) == 3:
        count, inputs, end = 1, [scores.query, scores.key, value], product
    else:
        count = _fixed(scores.query, 1)
        inputs = [_merged(graph, each, count, new) for each in (scores.query, scores.key, value)]
        end = None
    mask = None if scores.mask is None else _key_mask(scores.mask, scores.hidden, inputs[1], new)
    attributes: dict[str, Any] = {"num_heads": count, FOREIGN: 1}
    if not np.isclose(scores.scale, (_fixed(inputs[0], 2) // count) ** -0.5, rtol=1e-6):
        attributes["scale"] = float(scores.scale)
    attention = ir.node(OP_TYPE, inputs if mask is None else [*inputs, mask], attributes, domain=DOMAIN, name=softmax.name)
    result = attention.outputs[0]
    result.shape = ir.Shape([_dims(inputs[0])[0], _dims(inputs[0])[1], _dims(inputs[2])[2]])
    new.append(attention)
    if end is None:
        result = _split(graph, result, count, new)
        end = product
    for node in new:
        node.metadata_props.update(softmax.metadata_props)
        for output in node.outputs:
            output.dtype = output.dtype or ir.DataType.FLOAT
    output = end.outputs[0]
    name, shape = output.name, output.shape
    last = [node for node in graph if node in (end, product)][-1]
    ir.convenience.replace_nodes_and_values(graph, last, [end], new, [output], [result])
    result.name, result.shape = name, shape


def _matched(softmax: ir.Node) -> tuple[_Scores, ir.Value, ir.Node]:
    """Scores, values (..., M, v), and the last product. Raises `_NotAttention`."""
    rank = _rank(softmax.inputs[0])
    axis = softmax.attributes["axis"].as_int() if "axis" in softmax.attributes else -1
    if axis not in (-1, rank - 1):
        raise _NotAttention("its softmax is not over the last axis")
    product = only_reader(softmax.outputs[0])
    if product is None or product.op_type != "MatMul" or product.inputs[0] is not softmax.outputs[0]:
        raise _NotAttention("its softmax is not multiplied with values alone")
    value = product.inputs[1]
    scores = _scores(softmax.inputs[0])
    if value is None or {_rank(each) for each in (scores.query, scores.key, value)} not in ({3}, {4}):
        raise _NotAttention("its queries, keys and values are not of three or four axes each")
    for each in (scores.query, scores.key, value):
        _fixed(each, -1)
        if _rank(each) == 4:
            _fixed(each, 1)
    if scores.mask is not None:
        _key_source(scores.mask, scores.key)
    return scores, value, product


def _scores(value: ir.Value | None) -> _Scores:
    """What makes the scores: a mask, a scale, a product."""
    scale, mask, hidden = 1.0, None, False
    while True:
        node = value.producer() if value is not None else None
        if node is None:
            raise _NotAttention("its scores are an input of the graph")
        if node.op_type == "Where" and mask is None:
            value, mask, hidden = _masked(node)
        elif node.op_type == "Add" and mask is None:
            value, mask, hidden = _added(node)
        elif node.op_type in ("Mul", "Div"):
            number, value = _scalar(node)
            scale = scale * number if node.op_type == "Mul" else scale / number
        elif node.op_type == "MatMul":
            break
        else:
            raise _NotAttention(f"its scores are made by {node.op_type}, not by a product, a scale and a mask of keys")
    query, key = node.inputs
    scale, query = _unscaled(scale, query)
    scale, key = _unscaled(scale, key)
    return _Scores(query, _untransposed(key), scale, mask, hidden)


def _masked(node: ir.Node) -> tuple[ir.Value | None, ir.Value, bool]:
    """Where(hidden, very small, scores) or Where(seen, scores, very small): scores, the condition, whether it is the first."""
    condition, yes, no = node.inputs
    assert condition is not None  # a Where has one
    for number, other, hidden in ((yes, no, True), (no, yes, False)):
        constant = _number(number)
        if constant is not None and constant <= _MASKED:
            return other, condition, hidden
    raise _NotAttention("its scores are chosen by a Where that is no mask")


def _added(node: ir.Node) -> tuple[ir.Value | None, ir.Value, bool]:
    """Scores + Where(seen, 0, very small), or the other way round, spread over heads and queries."""
    for place in (0, 1):
        bias, scores = node.inputs[place], node.inputs[1 - place]
        made = bias.producer() if bias is not None else None
        while made is not None and made.op_type == "Unsqueeze" and made.inputs[0] is not None:
            made = made.inputs[0].producer()
        if bias is None or scores is None or made is None or made.op_type != "Where" or made.inputs[0] is None:
            continue
        spread, whole = _dims(bias), _dims(scores)
        if len(spread) != len(whole) or any(size != 1 for size in spread[1:-1]) or spread[-1] != whole[-1]:
            continue
        yes, no = _number(made.inputs[1]), _number(made.inputs[2])
        if yes == 0 and no is not None and no <= _MASKED:
            return scores, made.inputs[0], False
        if no == 0 and yes is not None and yes <= _MASKED:
            return scores, made.inputs[0], True
    raise _NotAttention("its scores have a bias added that is no mask of keys")


def _scalar(node: ir.Node) -> tuple[float, ir.Value | None]:
    """A stored number, and what it is applied to."""
    for place in (1,) if node.op_type == "Div" else (1, 0):
        number = _number(node.inputs[place])
        if number:
            return number, node.inputs[1 - place]
    raise _NotAttention("its scores are multiplied with something that is no number")


def _unscaled(scale: float, value: ir.Value | None) -> tuple[float, Any]:
    """A factor of queries or keys that is a number."""
    node = value.producer() if value is not None else None
    if node is not None and node.op_type in ("Mul", "Div") and _number(node.inputs[1]):
        number = _number(node.inputs[1])
        assert number is not None  # it was looked at
        return (scale * number if node.op_type == "Mul" else scale / number), node.inputs[0]
    return scale, value


def _untransposed(value: ir.Value) -> ir.Value:
    """Keys (..., M, c) of keys (..., c, M)."""
    node = value.producer()
    if node is not None and node.op_type == "Transpose" and node.inputs[0] is not None:
        axes = list(node.attributes["perm"].as_ints())
        if axes == [*range(len(axes) - 2), len(axes) - 1, len(axes) - 2]:
            return node.inputs[0]
        if axes == [0, 2, 3, 1]:  # (B, M, heads, c) at once to (B, heads, c, M)
            swapped = ir.node("Transpose", [node.inputs[0]], {"perm": _HEADS_SECOND}, name=f"{node.name}.keys")
            shape = _dims(node.inputs[0])
            swapped.outputs[0].shape = ir.Shape([shape[0], shape[2], shape[1], shape[3]])
            swapped.outputs[0].dtype = ir.DataType.FLOAT
            if isinstance(node.graph, ir.Graph):
                node.graph.insert_before(node, swapped)
            return swapped.outputs[0]
    raise _NotAttention("its keys are not transposed right before the product")


def _unsplit(value: ir.Value) -> tuple[ir.Value, int] | None:
    """(B, M, heads·c) that was split into heads, (B, heads, M, c) or (B·heads, M, c); and how many."""
    node = value.producer()
    if node is not None and node.op_type == "Reshape" and _rank(value) == 3 and node.inputs[0] is not None:
        if _rank(node.inputs[0]) != 4 or _dims(node.inputs[0])[2:] != _dims(value)[1:]:
            return None
        node = node.inputs[0].producer()
    if node is None or node.op_type != "Transpose" or list(node.attributes["perm"].as_ints()) != list(_HEADS_SECOND):
        return None
    split = node.inputs[0].producer() if node.inputs[0] is not None else None
    if split is None or split.op_type != "Reshape" or split.inputs[0] is None or _rank(split.inputs[0]) != 3:
        return None
    apart, whole = _dims(split.outputs[0]), _dims(split.inputs[0])
    heads, size = apart[2], apart[3]
    if not (isinstance(heads, int) and isinstance(size, int)) or apart[:2] != whole[:2] or whole[2] != heads * size:
        return None
    return split.inputs[0], heads


def _joined(output: ir.Value, heads: int) -> ir.Node | None:
    """The node that puts heads (B, heads, Q, v) or (B·heads, Q, v) together again to (B, Q, heads·v)."""
    node = only_reader(output)
    if node is not None and node.op_type == "Reshape" and _rank(output) == 3:
        apart = _dims(node.outputs[0])
        if len(apart) != 4 or apart[1] != heads or apart[2:] != _dims(output)[1:]:
            return None
        node = only_reader(node.outputs[0])
    if node is None or node.op_type != "Transpose" or list(node.attributes["perm"].as_ints()) != list(_HEADS_SECOND):
        return None
    together = only_reader(node.outputs[0])
    if together is None or together.op_type != "Reshape" or _rank(together.outputs[0]) != 3:
        return None
    before, after = _dims(node.outputs[0]), _dims(together.outputs[0])
    fits = before[:2] == after[:2] and isinstance(before[3], int) and after[2] == heads * before[3]
    return together if fits else None


def _merged(graph: ir.Graph, value: ir.Value, heads: int, new: list[ir.Node]) -> ir.Value:
    """(B, heads, M, c) → (B, M, heads·c)."""
    batch, _, length, size = _dims(value)
    swapped = ir.node("Transpose", [value], {"perm": _HEADS_SECOND})
    swapped.outputs[0].shape = ir.Shape([batch, length, heads, size])
    flat = ir.node("Reshape", [swapped.outputs[0], _integers(graph, [0, 0, heads * int(size)])])  # type: ignore[arg-type]
    flat.outputs[0].shape = ir.Shape([batch, length, heads * int(size)])  # type: ignore[arg-type]
    new += [swapped, flat]
    return flat.outputs[0]


def _split(graph: ir.Graph, value: ir.Value, heads: int, new: list[ir.Node]) -> ir.Value:
    """(B, Q, heads·v) → (B, heads, Q, v)."""
    batch, length, width = _dims(value)
    size = int(width) // heads  # type: ignore[arg-type]
    apart = ir.node("Reshape", [value, _integers(graph, [0, 0, heads, size])])
    apart.outputs[0].shape = ir.Shape([batch, length, heads, size])
    swapped = ir.node("Transpose", [apart.outputs[0]], {"perm": _HEADS_SECOND})
    new += [apart, swapped]
    return swapped.outputs[0]


def _key_source(mask: ir.Value, key: ir.Value) -> tuple[ir.Value, bool]:
    """The (B, M) that a condition of scores was spread from, and whether it was negated. Raises `_NotAttention`."""
    length, negated, value = _dims(key)[-2], False, mask
    while _rank(value) != 2:
        node = value.producer()
        if node is None or node.inputs[0] is None or node.op_type not in ("Not", "Unsqueeze", "Expand", "Reshape", "Cast"):
            raise _NotAttention("its mask is not one of keys, the same for all queries")
        between = _dims(value)[1:-1]
        if _dims(value)[-1] != length or (between and between[-1] != 1):
            raise _NotAttention("its mask is not one of keys, the same for all queries")
        if node.op_type == "Reshape" and (_rank(node.inputs[0]) < 3 or _dims(node.inputs[0])[-1] != length):
            raise _NotAttention("its mask is put together in a way that is not known")
        negated ^= node.op_type == "Not"
        value = node.inputs[0]
    return value, negated


def _key_mask(mask: ir.Value, hidden: bool, key: ir.Value, new: list[ir.Node]) -> ir.Value:
    """(B, M), true where a key is seen, for keys (B, M, c). Raises `_NotAttention`."""
    value, negated = _key_source(mask, key)
    if _dims(value) != _dims(key)[:2]:
        raise _NotAttention("its mask is not one of the keys' batch and length")
    if negated == hidden:
        return value
    bits = ir.node("Cast", [value], {"to": ir.DataType.BOOL})
    node = ir.node("Not", [bits.outputs[0]])
    for each in (bits, node):
        each.outputs[0].dtype, each.outputs[0].shape = ir.DataType.BOOL, value.shape
    new += [bits, node]
    return node.outputs[0]


def _number(value: ir.Value | None) -> float | None:
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


def _integers(graph: ir.Graph, numbers: Sequence[int]) -> ir.Value:
    name = f"shape.{'.'.join(map(str, numbers))}"
    if name not in graph.initializers:
        tensor = ir.tensor(np.array(numbers, np.int64), name=name)
        value = ir.Value(name=name, shape=ir.Shape([len(numbers)]), type=ir.TensorType(tensor.dtype), const_value=tensor)
        graph.register_initializer(value)
    return graph.initializers[name]


def _rank(value: ir.Value | None) -> int:
    return 0 if value is None or value.shape is None else len(value.shape)


def _dims(value: ir.Value) -> list[int | str]:
    if value.shape is None:
        raise _NotAttention("its shapes are not known")
    return [size if isinstance(size, int) else str(size) for size in value.shape]


def _fixed(value: ir.Value, axis: int) -> int:
    size = _dims(value)[axis]
    if not isinstance(size, int):
        raise _NotAttention("the number of its heads or channels varies")
    return size


def _drop_unread(graph: ir.Graph) -> None:
    for node in reversed(list(graph)):
        if not any(output.uses() or output.is_graph_output() for output in node.outputs):
            graph.remove(node, safe=True)
