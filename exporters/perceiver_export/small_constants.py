"""Constants that torch's ONNX optimizer would take for 0 or 1."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator

import onnx_ir as ir

_NEUTRAL = {"Add": 0.0, "Sub": 0.0, "Mul": 1.0, "Div": 1.0}
_REL_TOL, _ABS_TOL = 1e-5, 1e-8  # of onnxscript's rewriter


@contextlib.contextmanager
def small_constants_kept(graph: ir.Graph) -> Iterator[None]:
    """Inside the block, scalars that are nearly neutral are inputs of the graph; after it they are initializers.

    onnxscript's rewriter drops `x + c` where |c| is 1e-8 or less, and `x * c` where c is within 1e-5 of 1. RMSNorm with an
    epsilon of 1e-8 would divide by zero.
    """
    held: dict[str, ir.TensorProtocol] = {}
    for node in list(graph):
        for place, value in enumerate(node.inputs):
            tensor = None if value is None else ir.convenience.get_const_tensor(value)
            if tensor is not None and node.op_type in _NEUTRAL and _nearly(tensor, _NEUTRAL[node.op_type]):
                name = f"small_constant_{len(held)}"
                held[name] = tensor
                graph.inputs.append(ir.Value(name=name, shape=ir.Shape(()), type=ir.TensorType(tensor.dtype)))
                node.replace_input_with(place, graph.inputs[-1])
    yield
    for value in [value for value in graph.inputs if value.name in held]:
        graph.inputs.remove(value)
        if value.uses():
            value.const_value = held[value.name or ""]
            graph.register_initializer(value)


def _nearly(tensor: ir.TensorProtocol, neutral: float) -> bool:
    """Within the rewriter's tolerance of a neutral scalar, and not equal to it."""
    if len(tensor.shape) or not tensor.dtype.is_floating_point():
        return False
    value = float(tensor.numpy())
    return value != neutral and math.isclose(value, neutral, rel_tol=_REL_TOL, abs_tol=_ABS_TOL)
