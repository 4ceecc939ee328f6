"""`perceiver::Attention` → what ONNX Runtime's CUDA provider has a kernel for that never stores the score matrix.

Heads are padded to multiples of 8 (pad_to_eights.py), and attentions become `com.microsoft::MultiHeadAttention`. In float32 and
with fewer than 256 queries and keys that provider takes MatMul and Softmax by itself. Those with a mask, texts', become MatMul,
Softmax, MatMul (decompose_attention.py), as for the CPU. Not measured on a GPU yet.
"""

from __future__ import annotations

import onnx_ir as ir

from perceiver_export.passes.attention.decompose_attention import attention_nodes, decompose_attention
from perceiver_export.passes.attention.lower_attention_ort import fuse_attention
from perceiver_export.passes.attention.pad_to_eights import pad_to_eights


def lower_attention_cuda(model: ir.Model) -> int:
    """Replace every attention node; the number replaced."""
    count = len(attention_nodes(model))
    pad_to_eights(model)
    decompose_attention(model, [node for node in attention_nodes(model) if len(node.inputs) > 3], flat=True)
    fuse_attention(model)
    return count
