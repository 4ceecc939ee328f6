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
from perceiver_export.passes.attention.written_masks import (
    NotAttention,
    added_mask,
    chosen_mask,
    dims_of,
    key_mask,
    key_source,
    number_of,
    rank_of,
)
from perceiver_export.passes.exact.name_by_module import module_of
from perceiver_export.passes.patterns import only_reader

_HEADS_SECOND = (0, 2, 1, 3)


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
    _drop_whole_splits(model.graph)
    for node in [node for node in model.graph if node.op_type == "Softmax"]:
        try:
            _replace(model.graph, node)
        except NotAttention as reason:
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
    elif rank_of(scores.query) == 3:
        count, inputs, end = 1, [scores.query, scores.key, value], product
    else:
        count = _fixed(scores.query, 1)
        inputs = [_merged(graph, each, count, new) for each in (scores.query, scores.key, value)]
        end = None
    mask = None if scores.mask is None else key_mask(scores.mask, scores.hidden, inputs[1], new)
    inputs = _one_batch(graph, inputs, mask, new)
    attributes: dict[str, Any] = {"num_heads": count, FOREIGN: 1}
    if not np.isclose(scores.scale, (_fixed(inputs[0], 2) // count) ** -0.5, rtol=1e-6):
        attributes["scale"] = float(scores.scale)
    attention = ir.node(OP_TYPE, inputs if mask is None else [*inputs, mask], attributes, domain=DOMAIN, name=softmax.name)
    result = attention.outputs[0]
    result.shape = ir.Shape([dims_of(inputs[0])[0], dims_of(inputs[0])[1], dims_of(inputs[2])[2]])
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


def _one_batch(graph: ir.Graph, inputs: list[ir.Value], mask: ir.Value | None, new: list[ir.Node]) -> list[ir.Value]:
    """Queries, keys and values, those with a batch of one (learned ones, often) repeated for each item of the others'."""
    whole = next((each for each in (*inputs, *([] if mask is None else [mask])) if dims_of(each)[0] != 1), None)
    if whole is None or all(dims_of(each)[0] != 1 for each in inputs):
        return inputs
    batch = ir.node("Shape", [whole], {"start": 0, "end": 1})
    size = ir.node("Concat", [batch.outputs[0], _integers(graph, [1, 1])], {"axis": 0})
    for node, count in ((batch, 1), (size, 3)):
        node.outputs[0].dtype, node.outputs[0].shape = ir.DataType.INT64, ir.Shape([count])
    new += [batch, size]
    repeated = []
    for value in inputs:
        if dims_of(value)[0] == 1:
            node = ir.node("Expand", [value, size.outputs[0]])
            node.outputs[0].shape = ir.Shape([dims_of(whole)[0], *dims_of(value)[1:]])
            new.append(node)
            value = node.outputs[0]
        repeated.append(value)
    return repeated


def _matched(softmax: ir.Node) -> tuple[_Scores, ir.Value, ir.Node]:
    """Scores, values (..., M, v), and the last product. Raises `NotAttention`."""
    rank = rank_of(softmax.inputs[0])
    axis = softmax.attributes["axis"].as_int() if "axis" in softmax.attributes else -1
    if axis not in (-1, rank - 1):
        raise NotAttention("its softmax is not over the last axis")
    product = only_reader(softmax.outputs[0])
    if product is None or product.op_type != "MatMul" or product.inputs[0] is not softmax.outputs[0]:
        raise NotAttention("its softmax is not multiplied with values alone")
    value = product.inputs[1]
    scores = _scores(softmax.inputs[0])
    if value is None or {rank_of(each) for each in (scores.query, scores.key, value)} not in ({3}, {4}):
        raise NotAttention("its queries, keys and values are not of three or four axes each")
    for each in (scores.query, scores.key, value):
        _fixed(each, -1)
        if rank_of(each) == 4:
            _fixed(each, 1)
    if scores.mask is not None:
        key_source(scores.mask, scores.key)
    return scores, value, product


def _scores(value: ir.Value | None) -> _Scores:
    """What makes the scores: a mask, a scale, a product."""
    scale, mask, hidden = 1.0, None, False
    while True:
        node = value.producer() if value is not None else None
        if node is None:
            raise NotAttention("its scores are an input of the graph")
        if node.op_type == "Where" and mask is None:
            value, mask, hidden = chosen_mask(node)
        elif node.op_type == "Add" and mask is None:
            value, mask, hidden = added_mask(node)
        elif node.op_type in ("Mul", "Div"):
            number, value = _scalar(node)
            scale = scale * number if node.op_type == "Mul" else scale / number
        elif node.op_type == "MatMul":
            break
        else:
            raise NotAttention(f"its scores are made by {node.op_type}, not by a product, a scale and a mask of keys")
    query, key = node.inputs
    scale, query = _unscaled(scale, query)
    scale, key = _unscaled(scale, key)
    return _Scores(query, _untransposed(key), scale, mask, hidden)


def _scalar(node: ir.Node) -> tuple[float, ir.Value | None]:
    """A stored number, and what it is applied to."""
    for place in (1,) if node.op_type == "Div" else (1, 0):
        number = number_of(node.inputs[place])
        if number:
            return number, node.inputs[1 - place]
    raise NotAttention("its scores are multiplied with something that is no number")


def _unscaled(scale: float, value: ir.Value | None) -> tuple[float, Any]:
    """A factor of queries or keys that is a number."""
    node = value.producer() if value is not None else None
    if node is not None and node.op_type in ("Mul", "Div") and number_of(node.inputs[1]):
        number = number_of(node.inputs[1])
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
            shape = dims_of(node.inputs[0])
            swapped.outputs[0].shape = ir.Shape([shape[0], shape[2], shape[1], shape[3]])
            swapped.outputs[0].dtype = ir.DataType.FLOAT
            if isinstance(node.graph, ir.Graph):
                node.graph.insert_before(node, swapped)
            return swapped.outputs[0]
    raise NotAttention("its keys are not transposed right before the product")


def _unsplit(value: ir.Value) -> tuple[ir.Value, int] | None:
    """(B, M, heads·c) that was split into heads, (B, heads, M, c) or (B·heads, M, c); and how many."""
    node = value.producer()
    if node is not None and node.op_type == "Reshape" and rank_of(value) == 3 and node.inputs[0] is not None:
        if rank_of(node.inputs[0]) != 4 or dims_of(node.inputs[0])[2:] != dims_of(value)[1:]:
            return None
        node = node.inputs[0].producer()
    if node is None or node.op_type != "Transpose" or list(node.attributes["perm"].as_ints()) != list(_HEADS_SECOND):
        return None
    split = node.inputs[0].producer() if node.inputs[0] is not None else None
    if split is None or split.op_type != "Reshape" or split.inputs[0] is None or rank_of(split.inputs[0]) != 3:
        return None
    apart, whole = dims_of(split.outputs[0]), dims_of(split.inputs[0])
    heads, size = apart[2], apart[3]
    if not (isinstance(heads, int) and isinstance(size, int)) or apart[:2] != whole[:2] or whole[2] != heads * size:
        return None
    return split.inputs[0], heads


def _joined(output: ir.Value, heads: int) -> ir.Node | None:
    """The node that puts heads (B, heads, Q, v) or (B·heads, Q, v) together again to (B, Q, heads·v)."""
    node = only_reader(output)
    if node is not None and node.op_type == "Reshape" and rank_of(output) == 3:
        apart = dims_of(node.outputs[0])
        if len(apart) != 4 or apart[1] != heads or apart[2:] != dims_of(output)[1:]:
            return None
        node = only_reader(node.outputs[0])
    if node is None or node.op_type != "Transpose" or list(node.attributes["perm"].as_ints()) != list(_HEADS_SECOND):
        return None
    together = only_reader(node.outputs[0])
    if together is None or together.op_type != "Reshape" or rank_of(together.outputs[0]) != 3:
        return None
    before, after = dims_of(node.outputs[0]), dims_of(together.outputs[0])
    fits = before[:2] == after[:2] and isinstance(before[3], int) and after[2] == heads * before[3]
    return together if fits else None


def _merged(graph: ir.Graph, value: ir.Value, heads: int, new: list[ir.Node]) -> ir.Value:
    """(B, heads, M, c) → (B, M, heads·c)."""
    batch, _, length, size = dims_of(value)
    swapped = ir.node("Transpose", [value], {"perm": _HEADS_SECOND})
    swapped.outputs[0].shape = ir.Shape([batch, length, heads, size])
    flat = ir.node("Reshape", [swapped.outputs[0], _integers(graph, [0, 0, heads * int(size)])])
    flat.outputs[0].shape = ir.Shape([batch, length, heads * int(size)])
    new += [swapped, flat]
    return flat.outputs[0]


def _split(graph: ir.Graph, value: ir.Value, heads: int, new: list[ir.Node]) -> ir.Value:
    """(B, Q, heads·v) → (B, heads, Q, v)."""
    batch, length, width = dims_of(value)
    size = int(width) // heads
    apart = ir.node("Reshape", [value, _integers(graph, [0, 0, heads, size])])
    apart.outputs[0].shape = ir.Shape([batch, length, heads, size])
    swapped = ir.node("Transpose", [apart.outputs[0]], {"perm": _HEADS_SECOND})
    new += [apart, swapped]
    return swapped.outputs[0]


def _integers(graph: ir.Graph, numbers: Sequence[int]) -> ir.Value:
    name = f"shape.{'.'.join(map(str, numbers))}"
    if name not in graph.initializers:
        tensor = ir.tensor(np.array(numbers, np.int64), name=name)
        value = ir.Value(name=name, shape=ir.Shape([len(numbers)]), type=ir.TensorType(tensor.dtype), const_value=tensor)
        graph.register_initializer(value)
    return graph.initializers[name]


def _fixed(value: ir.Value, axis: int) -> int:
    size = dims_of(value)[axis]
    if not isinstance(size, int):
        raise NotAttention("the number of its heads or channels varies")
    return size


def _drop_whole_splits(graph: ir.Graph) -> None:
    """Parts of heads, computed one after the other, of which there is one."""
    for node in [node for node in graph if node.op_type == "Split" and len(node.outputs) == 1]:
        if node.inputs[0] is not None and not node.outputs[0].is_graph_output():
            ir.convenience.replace_all_uses_with(node.outputs[0], node.inputs[0])
            graph.remove(node, safe=True)


def _drop_unread(graph: ir.Graph) -> None:
    for node in reversed(list(graph)):
        if not any(output.uses() or output.is_graph_output() for output in node.outputs):
            graph.remove(node, safe=True)
