"""What a graph costs at given sizes, without running it: floating-point operations, bytes moved, and memory at its peak.

Operations are those of products and convolutions, a multiplication and an addition counting two. Bytes moved are what all nodes
read and write, weights included. The peak is of what lives at once while nodes run in order, each on ONNX Runtime's CPU
provider without its arena: reshaped values share memory, elementwise results take the place of an operand that ends there, a
fused attention copies queries, keys and values. Shapes come from ONNX Runtime's symbolic shape inference.
"""

from __future__ import annotations

import importlib
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass

import onnx
import onnx_ir as ir

from perceiver_export.passes.patterns import MICROSOFT

_VIEWS = {"Reshape", "Squeeze", "Unsqueeze", "Identity"}
# of those it does not know: what has their shapes, and values of as many bytes
_INFERRED_AS = {"DynamicQuantizeMatMul": "MatMul", "MatMulIntegerToFloat": "MatMulInteger", "ReduceL2": "ReduceSum"}
_IN_PLACE = {"Add", "Sub", "Mul", "Div", "Softmax", "Erf", "Neg", "Sqrt", "Sin", "Cos"}


class UnknownCost(Exception):
    """A graph whose shapes cannot be told without running it."""


@dataclass(frozen=True)
class Cost:
    """Of one graph at one set of sizes."""

    flops: int
    moved_bytes: int
    weight_bytes: int
    peak_bytes: int  # of activations, inputs and outputs; weights come on top
    output_bytes: int


@dataclass(frozen=True)
class _Tensor:
    shape: tuple[int, ...]
    bytes: int


def graph_cost(model: ir.Model, sizes: Mapping[str, int]) -> Cost:
    """The cost of a lowered graph, with `sizes` for the dynamic sizes of its inputs by name. Raises `UnknownCost`."""
    tensors = _tensors(model, sizes)
    stored = {name: _Tensor(tuple(value.shape), value.const_value.nbytes) for name, value in model.graph.initializers.items()}  # type: ignore[arg-type,union-attr]
    tensors |= stored
    flops = moved = 0
    for node in model.graph:
        flops += _flops(node, tensors)
        if node.op_type not in _VIEWS:
            names = [value.name for value in (*node.inputs, *node.outputs) if value is not None and value.name]
            moved += sum(tensors[name].bytes for name in names)
    weights = sum(tensor.bytes for tensor in stored.values())
    outputs = sum(tensors[value.name or ""].bytes for value in model.graph.outputs)
    return Cost(flops, moved, weights, _peak(model.graph, tensors), outputs)


def _tensors(model: ir.Model, sizes: Mapping[str, int]) -> dict[str, _Tensor]:
    """Shapes and bytes of all that is computed, by name."""
    copy = model.clone()
    for value in copy.graph.inputs:
        own = [size if isinstance(size, int) else sizes.get(str(size)) for size in value.shape or ()]
        if None in own:
            raise UnknownCost(f"the input {value.name} has sizes that were not given")
        value.shape = ir.Shape(own)
    for name, value in list(copy.graph.initializers.items()):
        tensor = value.const_value
        if tensor is None or tensor.dtype == ir.DataType.INT64:
            continue  # what makes shapes
        del copy.graph.initializers[name]
        value.shape, value.dtype, value.const_value = ir.Shape(tensor.shape), tensor.dtype, None  # type: ignore[arg-type]
        copy.graph.inputs.append(value)
    for node in copy.graph:
        if node.op_type in _INFERRED_AS:
            node.op_type, node.domain = _INFERRED_AS[node.op_type], ""
            node.resize_inputs(2)
        for output in node.outputs:
            output.shape = None
    inferred = _inferred(ir.to_proto(copy))
    found = {}
    for value in (*inferred.graph.value_info, *inferred.graph.output, *inferred.graph.input):
        shape = tuple(dimension.dim_value for dimension in value.type.tensor_type.shape.dim)
        bits = ir.DataType(value.type.tensor_type.elem_type).bitwidth
        found[value.name] = _Tensor(shape, math.prod(shape) * bits // 8)
    return found


def _inferred(model: onnx.ModelProto) -> onnx.ModelProto:
    """With all shapes. As `SymbolicShapeInference.infer_shapes`, which leaves a file behind where it fails."""
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # which is read while ONNX Runtime is imported
    library = importlib.import_module("onnxruntime.tools.symbolic_shape_infer")
    inference = library.SymbolicShapeInference(2**31 - 1, True, False, 0)
    complete = False
    try:
        inference._preprocess(model)
        while inference.run_:
            complete = inference._infer_impl()
    except Exception as error:  # each operator that it does not know fails in its own way
        raise UnknownCost(f"shapes cannot be inferred: {error!r}") from error
    if not complete:
        raise UnknownCost("shapes cannot be inferred")
    inference._update_output_from_vi()
    return inference.out_mp_  # type: ignore[no-any-return]


def _flops(node: ir.Node, tensors: Mapping[str, _Tensor]) -> int:
    if not node.inputs or node.inputs[0] is None:
        return 0
    shapes = [tensors[value.name or ""].shape if value is not None else () for value in node.inputs]
    output = tensors[node.outputs[0].name or ""].shape
    if node.op_type in ("MatMul", "DynamicQuantizeMatMul", "MatMulIntegerToFloat"):
        return 2 * math.prod(output) * shapes[0][-1]
    if node.op_type == "Conv":
        return 2 * math.prod(output) * math.prod(shapes[1][1:])
    if (node.domain, node.op_type) == (MICROSOFT, "MultiHeadAttention"):
        (batch, queries, width), keys, value_width = shapes[0], shapes[1][1], shapes[2][2]
        return 2 * batch * queries * keys * (width + value_width)
    return 0


def _peak(graph: ir.Graph, tensors: Mapping[str, _Tensor]) -> int:
    """Bytes of what lives at once at most; a value lives from its node to its last reader."""
    nodes = list(graph)
    owner: dict[str, str] = {}  # by value: the value whose memory it is in

    def root(value: ir.Value) -> str:
        return owner.get(value.name or "", value.name or "")

    last: dict[str, int] = {value.name or "": -1 for value in graph.inputs}
    places: list[list[tuple[str, int]]] = []
    for index, node in enumerate(nodes):
        first = node.inputs[0] if node.inputs else None
        if first is not None and first.name not in graph.initializers and (node.op_type in _VIEWS or _is_read_transposed(node)):
            for output in node.outputs:
                owner[output.name or ""] = root(first)
        for value in node.inputs:
            if value is not None and value.name not in graph.initializers:
                last[root(value)] = index
        places.append([(root(output), tensors[output.name or ""].bytes) for output in node.outputs if output.name])
    for value in (*graph.inputs, *graph.outputs):
        last[root(value)] = len(nodes)  # the caller's, or for it
    live = sum(tensors[value.name or ""].bytes for value in graph.inputs)
    peak, sizes = live, {value.name or "": tensors[value.name or ""].bytes for value in graph.inputs}
    ends: dict[int, list[str]] = {}
    for name, index in last.items():
        ends.setdefault(index, []).append(name)
    for index, (node, made) in enumerate(zip(nodes, places)):
        ending = [name for name in ends.get(index, []) if name in sizes]
        for name, size in made:
            if name in sizes:
                continue
            donor = next((each for each in ending if sizes[each] == size and node.op_type in _IN_PLACE), None)
            if donor is not None:
                ending.remove(donor)
                del sizes[donor]
                live -= size
            sizes[name] = size
            live += size
        peak = max(peak, live + _workspace(node, tensors))
        for name in ending:
            live -= sizes.pop(name)
        for name, _ in made:
            if name not in last:  # nothing reads it
                live -= sizes.pop(name, 0)
    return peak


def _is_read_transposed(node: ir.Node) -> bool:
    """Whether it swaps the last two axes for products alone, which ONNX Runtime makes part of the product."""
    if node.op_type != "Transpose":
        return False
    axes = list(node.attributes["perm"].as_ints()) if "perm" in node.attributes else []
    swapped = [*range(len(axes) - 2), len(axes) - 1, len(axes) - 2]
    return axes == swapped and all(use.node.op_type == "MatMul" for use in node.outputs[0].uses())


def _workspace(node: ir.Node, tensors: Mapping[str, _Tensor]) -> int:
    """What a node allocates for itself."""
    if node.op_type == "MultiHeadAttention":
        return sum(tensors[value.name or ""].bytes for value in node.inputs[:3] if value is not None)
    return 0
