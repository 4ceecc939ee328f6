"""A bfloat16 graph → a float32 one that rounds where the other does, for checking where nothing computes in bfloat16.

Every tensor that was bfloat16 is float32 and has been through a cast to bfloat16 and back. What is left out: hardware
multiplies bfloat16 operands exactly and sums in float32, as this does, but in an order of its own.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

BFLOAT16, FLOAT = ir.DataType.BFLOAT16, ir.DataType.FLOAT


def emulate_bfloat16(model: ir.Model) -> int:
    """Rewrite a graph; the number of roundings it now has."""
    graph, count = model.graph, 0
    for value in graph.initializers.values():
        if value.const_value is not None and value.const_value.dtype == BFLOAT16:
            array = value.const_value.numpy().astype(np.float32)
            value.const_value = ir.tensor(array, name=value.name)
            value.dtype = FLOAT
    lowered = [node for node in graph if any(output.dtype == BFLOAT16 for output in node.outputs)]
    for node in lowered:
        if node.op_type == "Cast":
            node.attributes["to"] = ir.AttrInt64("to", FLOAT)
        for output in node.outputs:
            uses = list(output.uses())
            down = ir.node("Cast", [output], {"to": BFLOAT16})
            up = ir.node("Cast", [down.outputs[0]], {"to": FLOAT})
            output.dtype, down.outputs[0].dtype, up.outputs[0].dtype = FLOAT, BFLOAT16, FLOAT
            down.outputs[0].shape = up.outputs[0].shape = output.shape
            graph.insert_after(node, [down, up])
            for use in uses:
                use.node.replace_input_with(use.idx, up.outputs[0])
            count += 1
    return count
