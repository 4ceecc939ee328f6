"""Name nodes and stored tensors after the module they come from, so that an error or a viewer points at something.

A node becomes `encoder.cross_attention.attention.query/MatMul`, with a number where a module has several of a kind. A
linear layer's weight, which tracing transposed and left as `val_175`, becomes `….query.weight.T`. Nothing else changes.
"""

from __future__ import annotations

import ast
from collections import Counter

import onnx_ir as ir

_SCOPES, _CLASSES = "pkg.torch.onnx.name_scopes", "pkg.torch.onnx.class_hierarchy"


def name_by_module(model: ir.Model) -> int:
    """Rename every node and every anonymous initializer; drop the tracer's notes."""
    seen: Counter[str] = Counter()

    def unique(name: str) -> str:
        seen[name] += 1
        return name if seen[name] == 1 else f"{name}_{seen[name]}"

    for name in model.graph.initializers:
        seen[name] += 1
    for node in model.graph:
        scope = module_of(node)
        for value in node.inputs:
            if value is not None and value.is_initializer() and value.name and _anonymous(value.name):
                is_weight = node.op_type == "MatMul" and _is_linear(node)
                value.name = unique(f"{scope}.weight.T" if is_weight else "constant")
        node.name = unique(f"{scope}/{node.op_type}".lstrip("/"))
    for node in model.graph:
        node.metadata_props.clear()
        for value in node.outputs:
            value.metadata_props.clear()
    for value in [*model.graph.inputs, *model.graph.initializers.values()]:
        value.metadata_props.clear()
    return len(model.graph)


def _anonymous(name: str) -> bool:
    return name.startswith("val_")


def module_of(node: ir.Node) -> str:
    """The module that a node of a traced graph comes from, empty outside any."""
    scopes = ast.literal_eval(node.metadata_props.get(_SCOPES, "[]"))
    modules = [scope for scope in scopes[:-1] if not scope.startswith("_")]  # "_…" is the tracer's own, outside any module
    return modules[-1] if modules else ""


def _is_linear(node: ir.Node) -> bool:
    return "torch.nn.modules.linear.Linear" in node.metadata_props.get(_CLASSES, "")
