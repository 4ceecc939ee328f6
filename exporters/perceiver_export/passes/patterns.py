"""What passes look for in a traced graph, and how they store what they computed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

MICROSOFT = "com.microsoft"  # the domain of ONNX Runtime's own operators


@dataclass(frozen=True)
class Linear:
    """A MatMul with a stored matrix (in, out) and the Add of a stored bias (out,) after it; nothing else reads the product."""

    graph: ir.Graph
    product: ir.Node
    addition: ir.Node

    @property
    def x(self) -> ir.Value:
        """What it is applied to."""
        value = self.product.inputs[0]
        assert value is not None  # a MatMul has two inputs
        return value

    @property
    def y(self) -> ir.Value:
        """What it gives."""
        return self.addition.outputs[0]

    @property
    def weight(self) -> NDArray[np.float64]:
        """(in, out)."""
        return _array(self.product.inputs[1])

    @property
    def bias(self) -> NDArray[np.float64]:
        """(out,)."""
        return _array(self.addition.inputs[_bias_place(self.addition)])

    def replace(self, weight: NDArray[np.floating], bias: NDArray[np.floating], why: str) -> None:
        """Other numbers, of another output size maybe; `why` ends their names."""
        for node, place, array in ((self.product, 1, weight), (self.addition, _bias_place(self.addition), bias)):
            old = node.inputs[place]
            assert old is not None  # it was stored
            node.replace_input_with(place, stored(self.graph, f"{old.name}.{why}", array))
            if not old.uses():
                self.graph.initializers.pop(old.name or "", None)
        for output in (self.product.outputs[0], self.addition.outputs[0]):
            if output.shape is not None:
                output.shape = ir.Shape([*list(output.shape)[:-1], int(weight.shape[1])])


def linear(value: ir.Value | None) -> Linear | None:
    """The linear layer that makes `value`, which has one reader."""
    addition = value.producer() if value is not None else None
    if addition is None or addition.op_type != "Add" or len(list(addition.outputs[0].uses())) != 1:
        return None
    return _linear(addition)


def linear_after(value: ir.Value) -> Linear | None:
    """The linear layer that alone reads `value`."""
    product = only_reader(value)
    found = linear_at(product) if product is not None else None
    return found if found is not None and found.x is value else None


def linear_at(product: ir.Node) -> Linear | None:
    """The linear layer that a MatMul is of."""
    addition = only_reader(product.outputs[0]) if product.op_type == "MatMul" else None
    return _linear(addition) if addition is not None and addition.op_type == "Add" else None


def _linear(addition: ir.Node) -> Linear | None:
    bias_place = _bias_place(addition)
    bias, value = addition.inputs[bias_place], addition.inputs[1 - bias_place]
    product = value.producer() if value is not None else None
    if product is None or product.op_type != "MatMul" or len(list(product.outputs[0].uses())) != 1:
        return None
    weight = product.inputs[1]
    if bias is None or not is_stored(bias) or weight is None or not is_stored(weight) or product.graph is None:
        return None
    if _array(weight).ndim != 2 or _array(bias).ndim != 1 or not isinstance(product.graph, ir.Graph):
        return None
    return Linear(product.graph, product, addition)


def _bias_place(addition: ir.Node) -> int:
    first = addition.inputs[0]
    return 0 if first is not None and is_stored(first) else 1


@dataclass(frozen=True)
class LayerNorm:
    """A LayerNormalization over the last axis with a stored scale and bias (channels,)."""

    graph: ir.Graph
    node: ir.Node

    @property
    def scale(self) -> NDArray[np.float64]:
        """(channels,)."""
        return _array(self.node.inputs[1])

    @property
    def bias(self) -> NDArray[np.float64]:
        """(channels,)."""
        return _array(self.node.inputs[2])

    def replace(self, scale: float, bias: float, why: str) -> None:
        """The same scale and the same bias for all channels."""
        for place, number in ((1, scale), (2, bias)):
            old = self.node.inputs[place]
            assert old is not None  # it was stored
            array = np.full(_array(old).shape, number, np.float32)
            self.node.replace_input_with(place, stored(self.graph, f"{old.name}.{why}", array))
            if not old.uses():
                self.graph.initializers.pop(old.name or "", None)


def layer_norm(value: ir.Value) -> LayerNorm | None:
    """The layer normalization that makes `value`."""
    node = value.producer()
    if node is None or node.op_type != "LayerNormalization" or len(node.inputs) != 3 or not isinstance(node.graph, ir.Graph):
        return None
    axis = node.attributes["axis"].as_int() if "axis" in node.attributes else -1
    rank = len(value.shape) if value.shape is not None else 0
    if axis not in (-1, rank - 1) or not all(each is not None and is_stored(each) for each in node.inputs[1:]):
        return None
    return LayerNorm(node.graph, node)


def substitute(graph: ir.Graph, old: list[ir.Node], new: list[ir.Node]) -> None:
    """Put `new` nodes where `old` ones were: the last one's output is the last old one's, under its name."""
    for node in new:
        node.metadata_props.update(old[-1].metadata_props)
        dtype = old[-1].outputs[0].dtype
        node.outputs[0].type = None if dtype is None else ir.TensorType(dtype)  # each its own: types are changed in place
    output, result = old[-1].outputs[0], new[-1].outputs[0]
    result.shape, name = output.shape, output.name
    ir.convenience.replace_nodes_and_values(graph, old[-1], old, new, [output], [result])
    result.name = name


def drop_unread(graph: ir.Graph) -> None:
    """Remove stored tensors that nothing reads."""
    for name in [name for name, value in graph.initializers.items() if not value.uses()]:
        del graph.initializers[name]


def only_reader(value: ir.Value) -> ir.Node | None:
    """The node that alone reads `value`, once; None also where it is an output of the graph."""
    uses = list(value.uses())
    return uses[0].node if len(uses) == 1 and not value.is_graph_output() else None


def is_stored(value: ir.Value) -> bool:
    """Whether its numbers are in the graph."""
    return value.is_initializer() and value.const_value is not None


def stored(graph: ir.Graph, name: str, array: NDArray[np.floating]) -> ir.Value:
    """A float32 tensor in the graph; `name` gets a number where it is taken."""
    unique, number = name, 1
    while unique in graph.initializers:
        number += 1
        unique = f"{name}_{number}"
    tensor = ir.tensor(np.ascontiguousarray(array, np.float32), name=unique)
    value = ir.Value(name=unique, shape=ir.Shape(array.shape), type=ir.TensorType(tensor.dtype), const_value=tensor)
    graph.register_initializer(value)
    return value


def is_vector(value: ir.Value | None) -> bool:
    """Whether it is a stored tensor of one axis."""
    return value is not None and is_stored(value) and value.shape is not None and len(value.shape) == 1


def width(value: ir.Value | None) -> int | None:
    """The last size of its shape, where that is fixed."""
    if value is None or value.shape is None or not isinstance(value.shape[-1], int):
        return None
    return value.shape[-1]


def length(value: ir.Value | None) -> int | None:
    """The middle size of (B, length, channels), where that is fixed."""
    if value is None or value.shape is None or len(value.shape) != 3 or not isinstance(value.shape[1], int):
        return None
    return value.shape[1]


def _array(value: ir.Value | None) -> NDArray[np.float64]:
    assert value is not None  # callers have checked
    assert value.const_value is not None
    return value.const_value.numpy().astype(np.float64)
