"""GELU as the tracer writes it, x·(½·(1 + erf(x/√2))) → ONNX Runtime's `BiasGelu`, or `Gelu` where no bias is added.

One pass over memory in place of six. Exact up to rounding. Applies where the constants are those and nothing else reads what
is between.
"""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir

from perceiver_export.passes.patterns import MICROSOFT, drop_unread, is_vector, only_reader, substitute


def fuse_gelu(model: ir.Model) -> int:
    """Fuse every GELU; the number fused."""
    count = sum(_fuse(model.graph, node) for node in list(model.graph) if node.op_type == "Erf")
    if count:
        model.opset_imports[MICROSOFT] = 1
        drop_unread(model.graph)
    return count


def _fuse(graph: ir.Graph, erf: ir.Node) -> bool:
    division = erf.inputs[0].producer() if erf.inputs[0] is not None else None
    x = division.inputs[0] if division is not None else None
    if division is None or x is None or not _is(division, "Div", math.sqrt(2)) or only_reader(division.outputs[0]) is not erf:
        return False
    chain = [division, erf]
    for op_type, number in (("Add", 1.0), ("Mul", 0.5), ("Mul", None)):
        after = only_reader(chain[-1].outputs[0])
        if after is None or not (_is(after, op_type, number) if number is not None else after.op_type == op_type):
            return False
        chain.append(after)
    if x not in chain[-1].inputs:
        return False
    addition = x.producer()
    if addition is not None and addition.op_type == "Add" and {use.node for use in x.uses()} == {division, chain[-1]}:
        bias = next((value for value in addition.inputs if is_vector(value)), None)
        rest = next((value for value in addition.inputs if value is not bias), None)
        if bias is not None and rest is not None and not x.is_graph_output():
            substitute(graph, [addition, *chain], [ir.node("BiasGelu", [rest, bias], domain=MICROSOFT)])
            return True
    substitute(graph, chain, [ir.node("Gelu", [x], domain=MICROSOFT)])
    return True


def _is(node: ir.Node, op_type: str, number: float) -> bool:
    """Whether it is this operator with this stored number."""
    arrays = [value.const_value.numpy() for value in node.inputs if value is not None and value.const_value is not None]
    return node.op_type == op_type and any(array.size == 1 and np.allclose(array, number, rtol=1e-6) for array in arrays)
