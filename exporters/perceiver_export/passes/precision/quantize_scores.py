"""Scores of wide attentions → int8 products for CPUs: queries quantized as they come, keys by their calibrated magnitude.

Of the attentions with one head whose scores are stored (lower_attention_ort.py) the first product, queries by keys, becomes
`com.microsoft::MatMulIntegerToFloat`. Keys are quantized once, before they are transposed, for all groups of queries, to int8:
by the range of each input they would be uint8, and uint8 by uint8 ONNX Runtime multiplies no faster than float32. The second
product stays in float32: shares of many thousand keys are too different in size for 8 bits. On flow-small it would move the
flow by 0.16 px (by 0.06 with each query's shares scaled to its largest first), where the first moves it by 0.02.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from perceiver_export.passes.exact.name_by_module import module_of
from perceiver_export.passes.patterns import MICROSOFT, is_stored, length, width
from perceiver_export.passes.precision.linear_layers import MIN_CHANNELS, Layer, Magnitudes
from perceiver_export.passes.precision.quantize_linear import FORMATS, constant, scales


@dataclass(frozen=True)
class Scores(Layer):
    """The products of all groups of queries, (B, Q, C), by the keys (B, M, C), `x`; `transposed` are those (B, C, M)."""

    transposed: ir.Node
    products: tuple[ir.Node, ...]


def score_products(model: ir.Model) -> list[Scores]:
    """A graph's, where the number of queries is fixed and no smaller than linear layers are."""
    found: list[Scores] = []
    for node in model.graph:
        keys = node.inputs[0] if node.op_type == "Transpose" else None
        channels = width(keys)
        if keys is None or channels is None or channels < MIN_CHANNELS or list(node.attributes["perm"].as_ints()) != [0, 2, 1]:
            continue
        products = tuple(use.node for use in node.outputs[0].uses())
        queries = [length(product.inputs[0]) for product in products]
        count = sum(filter(None, queries))
        if None in queries or count < MIN_CHANNELS or any(not _is_score(product, node) for product in products):
            continue
        name = f"{module_of(node)}/scores"
        taken = sum(each.name.partition("_")[0] == name for each in found)
        unique = name if not taken else f"{name}_{taken + 1}"
        found.append(Scores(unique, keys, 2 * channels * count, node, products))
    return found


def _is_score(product: ir.Node, keys: ir.Node) -> bool:
    return product.op_type == "MatMul" and product.inputs[1] is keys.outputs[0] and not is_stored(product.inputs[0])  # type: ignore[arg-type]


def quantize_scores(model: ir.Model, layers: Magnitudes) -> int:
    """Quantize the score products named; how many attentions that are."""
    graph, form = model.graph, FORMATS["int8"]
    chosen = [scores for scores in score_products(model) if scores.name in layers]
    for scores in chosen:
        scale = constant(graph, f"{scores.x.name}.scale", scales(np.array(layers[scores.name]), form))
        zero = constant(graph, f"{scores.x.name}.zero", np.zeros((), np.int8))
        keys = ir.node("QuantizeLinear", [scores.x, scale, zero])
        transposed = ir.node("Transpose", [keys.outputs[0]], {"perm": [0, 2, 1]})
        for node, shape in ((keys, scores.x.shape), (transposed, scores.transposed.outputs[0].shape)):
            _like(node, scores.transposed)
            node.outputs[0].dtype, node.outputs[0].shape = ir.DataType.INT8, shape
        graph.insert_before(scores.transposed, [keys, transposed])
        for product in scores.products:
            queries = ir.node("DynamicQuantizeLinear", [product.inputs[0]], num_outputs=3)
            _typed(queries, product.inputs[0])
            inputs = [queries.outputs[0], transposed.outputs[0], queries.outputs[1], scale, queries.outputs[2]]
            integer = ir.node("MatMulIntegerToFloat", inputs, domain=MICROSOFT)
            for node in (queries, integer):
                _like(node, product)
            graph.insert_before(product, queries)
            output, result = product.outputs[0], integer.outputs[0]
            result.shape, result.type, name = output.shape, output.type, output.name
            ir.convenience.replace_nodes_and_values(graph, product, [product], [integer], [output], [result])
            result.name = name
        graph.remove(scores.transposed, safe=True)
        model.opset_imports[MICROSOFT] = 1
    return len(chosen)


def _typed(node: ir.Node, x: ir.Value | None) -> None:
    """What a DynamicQuantizeLinear gives: integers, their scale, their zero point."""
    shapes = (x.shape if x is not None else None, ir.Shape([]), ir.Shape([]))
    for output, dtype, shape in zip(node.outputs, (ir.DataType.UINT8, ir.DataType.FLOAT, ir.DataType.UINT8), shapes):
        output.dtype, output.shape = dtype, shape


def _like(node: ir.Node, other: ir.Node) -> None:
    node.metadata_props.update(other.metadata_props)
