"""A linear layer after `x + MLP(x)` → one on x, and one in place of the MLP's last: what is thrown away is not computed.

(a + (h·W + b))·F + c = a·F + (h·(W·F) + (b·F + c)). Exact up to rounding. Applies where the layer has fewer outputs than
inputs: flow's decoder ends in 2 channels, so its MLP's second layer has 322 → 2 in place of 322 → 322 on 182,528 queries.
"""

from __future__ import annotations

import onnx_ir as ir

from perceiver_export.passes.patterns import Linear, drop_unread, is_stored, linear, linear_at, only_reader, stored, substitute


def fold_mlp_output(model: ir.Model) -> int:
    """Rewrite every such layer; the number rewritten."""
    return sum(_absorb(layer) for node in list(model.graph) if (layer := linear_at(node)) is not None)


def _absorb(last: Linear) -> bool:
    total = last.x.producer()
    if total is None or total.op_type != "Add" or only_reader(last.x) is not last.product:
        return False
    if any(value is None or is_stored(value) for value in total.inputs) or last.weight.shape[1] >= last.weight.shape[0]:
        return False
    contract = next((found for value in total.inputs if (found := linear(value)) is not None), None)
    if contract is None:
        return False
    kept = next(value for value in total.inputs if value is not contract.y)
    weight, bias, matrix = last.weight, last.bias, last.product.inputs[1]
    assert matrix is not None  # a linear layer has one
    contract.replace(contract.weight @ weight, contract.bias @ weight + bias, "absorbed")
    product = ir.node("MatMul", [kept, stored(last.graph, f"{matrix.name}.kept", weight)], name=last.product.name)
    product.outputs[0].shape = last.product.outputs[0].shape
    answer = ir.node("Add", [product.outputs[0], contract.y], name=last.addition.name)
    substitute(last.graph, [total, last.product, last.addition], [product, answer])
    drop_unread(last.graph)
    return True
