"""How large each attention of a graph gets, found by running the model without numbers (torch's fake tensors)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import onnx_ir as ir
import sympy
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from perceiver_export.attention_node import DOMAIN, FOREIGN, OP_TYPE
from perceiver_export.graph_spec import GraphSpec
from perceiver_io.parts.attention import MultiHeadAttention

FUSED_SIZES = range(16, 257)  # of heads whose attention TensorRT makes one kernel of


@dataclass(frozen=True)
class AttentionShape:
    """One attention: its sizes, and whether the number of queries is the same for every input."""

    batch: int
    heads: int
    queries: int
    keys: int
    qk_size: int  # of a head
    v_size: int
    fixed_queries: bool

    @property
    def score_bytes(self) -> int:
        """Of its float32 score matrix."""
        return 4 * self.batch * self.heads * self.queries * self.keys

    @property
    def fusable(self) -> bool:
        """Whether there are several queries, and several heads that have, or can be padded to, one size that TensorRT fuses.

        Of single heads, TensorRT-RTX 1.7 fuses some and not others: do not count on it. Of one query it makes other kernels.
        """
        return (
            self.heads > 1
            and self.queries > 1
            and min(self.qk_size, self.v_size) >= FUSED_SIZES.start
            and max(self.qk_size, self.v_size) in FUSED_SIZES
        )


def attention_shapes(graph: ir.Model, spec: GraphSpec, sizes: Mapping[str, int]) -> list[AttentionShape]:
    """Each attention of a graph in the order of its nodes, with `sizes` for the dynamic sizes by name.

    Of attentions that other packages' modules wrote the traced shapes count, and a size of which nothing is known is taken to
    be the largest of `sizes`.
    """
    found = _run(spec, sizes)
    smaller = _run(spec, {name: max(1, size // 2) for name, size in sizes.items()})
    own = iter([AttentionShape(*shape, fixed_queries=shape[2] == other[2]) for shape, other in zip(found, smaller)])
    nodes = [node for node in graph.graph if (node.domain, node.op_type) == (DOMAIN, OP_TYPE)]
    return [_traced(node, sizes) if FOREIGN in node.attributes else next(own) for node in nodes]


def _traced(node: ir.Node, sizes: Mapping[str, int]) -> AttentionShape:
    """Of a node, from the shapes of its inputs."""
    heads = node.attributes["num_heads"].as_int()
    shapes = [list(value.shape) for value in node.inputs[:3] if value is not None and value.shape is not None]
    (batch, queries, qk), (_, keys, _), (_, _, v) = ([_number(size, sizes) for size in shape] for shape in shapes)
    return AttentionShape(batch, heads, queries, keys, qk // heads, v // heads, fixed_queries=isinstance(shapes[0][1], int))


def _number(size: object, sizes: Mapping[str, int]) -> int:
    """A size as a number: `4*B` for what the tracer says of a product."""
    if isinstance(size, int):
        return size
    symbols = {name: sympy.Integer(value) for name, value in sizes.items()}
    try:
        return int(sympy.sympify(str(size), locals=symbols))
    except (TypeError, ValueError, SyntaxError, AttributeError):
        return max([1, *sizes.values()])


def _run(spec: GraphSpec, sizes: Mapping[str, int]) -> list[tuple[int, int, int, int, int, int]]:
    found: list[tuple[int, int, int, int, int, int]] = []

    def record(q: Tensor, k: Tensor, v: Tensor, *, heads: int, mask: Tensor | None, dropout: float) -> Tensor:
        found.append((q.shape[0], heads, q.shape[1], k.shape[1], q.shape[2] // heads, v.shape[2] // heads))
        return q.new_empty(q.shape[0], q.shape[1], v.shape[2])

    attentions = [module for module in spec.module.modules() if isinstance(module, MultiHeadAttention)]
    usual = [module.attend for module in attentions]
    try:
        for module in attentions:
            module.attend = record
        with torch.no_grad(), FakeTensorMode(allow_non_fake_inputs=True):
            inputs = {}
            for name, example in spec.example.items():
                shape = list(example.shape)
                for axis, dimension in spec.dynamic.get(name, {}).items():
                    shape[axis] = sizes.get(dimension.__name__, shape[axis])
                inputs[name] = torch.empty(shape, dtype=example.dtype)
            spec.module(**inputs)
    finally:
        for module, attend in zip(attentions, usual):
            module.attend = attend
    return found
