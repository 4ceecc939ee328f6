"""The part of onnx.proto that bundles use, for protobuf.py: field numbers and types are onnx.proto's.

What is left out is refused: subgraphs, local functions, training information, sparse tensors, strings, sequences, whatever
comes next.
"""

from __future__ import annotations

from perceiver_runtime.bundle.protobuf import Field, Kind, Schema


def _one(kind: Kind) -> Field:
    return Field(kind)


def _many(schema: Schema) -> Field:
    return Field("message", repeated=True, schema=schema)


_NAMES = Field("text", repeated=True)
_PAIR = Schema("a pair", {1: _one("text"), 2: _one("text")})
_DIMENSION = Schema("a dimension", {1: _one("int64"), 2: _one("text"), 3: _one("text")})
_SHAPE = Schema("a shape", {1: _many(_DIMENSION)})
_TENSOR_TYPE = Schema("a tensor type", {1: _one("int32"), 2: Field("message", schema=_SHAPE)})
_TYPE = Schema("a type", {1: Field("message", schema=_TENSOR_TYPE), 6: _one("text")})
_VALUE = Schema("a value", {1: _one("text"), 2: Field("message", schema=_TYPE), 3: _one("text"), 4: _many(_PAIR)})
_ATTRIBUTE = Schema(
    "an attribute",
    {
        1: _one("text"),
        2: _one("float"),
        3: _one("int64"),
        4: _one("bytes"),
        7: Field("float", repeated=True),
        8: Field("int64", repeated=True),
        9: Field("bytes", repeated=True),
        13: _one("text"),
        20: _one("int32"),
    },
)
_NODE = Schema(
    "a node",
    {
        1: _NAMES,
        2: _NAMES,
        3: _one("text"),
        4: _one("text"),
        5: _many(_ATTRIBUTE),
        6: _one("text"),
        7: _one("text"),
        9: _many(_PAIR),
    },
)
_TENSOR = Schema(
    "a tensor",
    {
        1: Field("int64", repeated=True),
        2: _one("int32"),
        4: Field("float", repeated=True, packed=True),
        5: Field("int32", repeated=True, packed=True),
        7: Field("int64", repeated=True, packed=True),
        8: _one("text"),
        9: _one("bytes"),
        10: Field("double", repeated=True, packed=True),
        11: Field("uint64", repeated=True, packed=True),
        12: _one("text"),
        13: _many(_PAIR),
        14: _one("int32"),
        16: _many(_PAIR),
    },
)
_GRAPH = Schema(
    "a graph",
    {
        1: _many(_NODE),
        2: _one("text"),
        5: _many(_TENSOR),
        10: _one("text"),
        11: _many(_VALUE),
        12: _many(_VALUE),
        13: _many(_VALUE),
        16: _many(_PAIR),
    },
)
_OPSET = Schema("an opset", {1: _one("text"), 2: _one("int64")})
MODEL = Schema(
    "a model",
    {
        1: _one("int64"),
        2: _one("text"),
        3: _one("text"),
        4: _one("text"),
        5: _one("int64"),
        6: _one("text"),
        7: Field("message", schema=_GRAPH),
        8: _many(_OPSET),
        14: _many(_PAIR),
    },
)
