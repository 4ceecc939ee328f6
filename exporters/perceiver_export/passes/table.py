"""The rewrites that an export applies and that `--passes` chooses from, in order: a line each, named as its file."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

import onnx_ir as ir

Pass = Callable[[ir.Model], int]  # changes the model, says how often it applied


def _exact(*names: str) -> dict[str, Pass]:
    return {name: getattr(import_module(f"perceiver_export.passes.exact.{name}"), name) for name in names}


# on the graph as it was traced, each attention one node
BEFORE_LOWERING = _exact(
    "fold_kv_projections",
    "fold_query_projections",
    "fold_mlp_output",
)
# after attentions were lowered, for which TensorRT pads the layers that make queries
AFTER_LOWERING = _exact(
    "fold_expanded",
)
# into operators of ONNX Runtime's own, after layers were quantized
FUSIONS = _exact(
    "fuse_gelu",
    "fuse_biases",
)
CONDITIONS = {  # what each applies to, for people
    "recognise_attention": "it is for a product, a softmax over keys and a product with values, written out",
    "fold_kv_projections": "it is for one head, a fixed number of queries, biases and LayerNorm before, where that saves work",
    "fold_query_projections": "it is for one head, any number of queries, biases and LayerNorm before, where that saves work",
    "fold_mlp_output": "it is for a last layer with fewer outputs than inputs, after x + MLP(x)",
    "fold_expanded": "it is for layers of learned latents or queries alone",
    "fuse_gelu": "it is for a GELU, on ONNX Runtime",
    "fuse_biases": "it is for a fused attention whose inputs have biases, on ONNX Runtime",
}
ALL_PASSES = (*BEFORE_LOWERING, *AFTER_LOWERING, *FUSIONS)
