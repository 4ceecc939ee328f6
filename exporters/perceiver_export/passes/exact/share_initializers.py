"""Equal stored tensors become one: a layer that is applied eight times keeps its weights once.

Tracing repeats a shared layer, and transposing a linear layer's weight leaves a copy at each repetition. Equal means type,
shape and every byte (by a 512-bit hash).
"""

from __future__ import annotations

import hashlib

import numpy as np
import onnx_ir as ir

Identity = tuple[str, tuple[int, ...], bytes]


def identity(tensor: ir.TensorProtocol) -> Identity:
    """What two equal tensors have in common: type, shape and a hash of the bytes."""
    array = tensor.numpy()
    data = np.ascontiguousarray(array).view(np.uint8)  # of one axis where the tensor has none
    return str(tensor.dtype), array.shape, hashlib.blake2b(data.data).digest()


def share_initializers(model: ir.Model) -> int:
    """Merge equal initializers; the number that went."""
    known: dict[Identity, ir.Value] = {}
    gone = []
    for value in model.graph.initializers.values():
        if value.const_value is None or value.is_graph_output():
            continue
        first = known.setdefault(identity(value.const_value), value)
        if first is not value:
            ir.convenience.replace_all_uses_with(value, first)
            gone.append(value)
    for value in gone:
        del model.graph.initializers[value.name or ""]
    return len(gone)
