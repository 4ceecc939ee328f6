"""The graph check against onnx's own parser: what is accepted means the same to both, field by field.

Mutations are of the encoding: tags, wire types, order, repetition, lengths, and bytes of all kinds. For each graph that is
accepted, what the engine would be given (`CheckedGraph.content`) and the file are read by onnx, and both messages have to be
equal, with no field that onnx does not know; likewise as the C++ library reads them.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import onnx

from perceiver_runtime.bundle.graph_check import GraphCheck
from perceiver_runtime.bundle.manifest import GraphEntry

# onnx.proto's fields that hold messages, by the path to them: where to go on with mutations
_NESTED = {
    (): {7, 8, 14},
    (7,): {1, 5, 11, 12, 13, 16},
    (7, 1): {5, 9},
    (7, 5): {13, 16},
    (7, 11): {2},
    (7, 12): {2},
    (7, 13): {2},
    (7, 11, 2): {1},
    (7, 12, 2): {1},
    (7, 11, 2, 1): {2},
    (7, 12, 2, 1): {2},
}
Field = tuple[int, int, bytes]  # number, wire type, what follows the tag and the length


class Difference(Exception):
    """A graph that was accepted means something else to onnx."""


def against_onnx(check: GraphCheck, entry: GraphEntry) -> Callable[[bytes], bool]:
    """What takes a file's bytes: whether they were accepted. Raises `Difference`, and `IntegrityError` as the check does."""

    def run(data: bytes) -> bool:
        given = check.model(data, entry)
        try:
            theirs = onnx.ModelProto.FromString(data)
        except Exception as error:
            raise Difference(f"onnx cannot read it: {error}") from error
        ours = onnx.ModelProto.FromString(given.content)
        if ours.SerializeToString(deterministic=True) != theirs.SerializeToString(deterministic=True):
            raise Difference("onnx sees something else in the file than in what an engine is given")
        if _in_cpp(given.content) != _in_cpp(data):
            raise Difference("onnx in C++ sees something else in the file than in what an engine is given")
        if check.model(given.content, entry).content != given.content:
            raise Difference("the canonical encoding is not its own canonical encoding")
        return True

    return run


def _in_cpp(data: bytes) -> bytes | type[Exception]:
    """The message as the C++ library of protobuf reads it, which is another one than Python's; with shapes, or why not."""
    try:
        return onnx.shape_inference.infer_shapes(data).SerializeToString(deterministic=True)  # type: ignore[arg-type]
    except Exception as error:
        return type(error)


def mutate(data: bytes, rng: random.Random) -> bytes:
    """The encoding changed in one to three places, in whatever message."""
    for _ in range(rng.randint(1, 3)):
        data = _mutate(data, rng, ())
    return data


def _mutate(data: bytes, rng: random.Random, path: tuple[int, ...]) -> bytes:
    fields = _split(data)
    if not fields:
        return data
    place = rng.randrange(len(fields))
    if not path:  # nearly everything is in the graph
        place = next((at for at, field in enumerate(fields) if field[0] == 7 and rng.random() < 0.9), place)
    number, wire_type, content = fields[place]
    if number in _NESTED.get(path, ()) and wire_type == 2 and rng.random() < 0.85:
        fields[place] = number, wire_type, _mutate(content, rng, (*path, number))
        return _join(fields)
    kind = rng.randrange(9)
    if kind == 0:  # again, perhaps changed
        fields.insert(rng.randrange(len(fields) + 1), (number, wire_type, _shake(content, rng)))
    elif kind == 1:  # another order
        fields.insert(rng.randrange(len(fields)), fields.pop(place))
    elif kind == 2:  # another wire type, with a content of its form
        other = rng.choice([0, 1, 2, 3, 4, 5, 6, 7])
        fields[place] = (
            number,
            other,
            {0: varint(rng.getrandbits(40)), 1: rng.randbytes(8), 5: rng.randbytes(4)}.get(other, content),
        )
    elif kind == 3:  # a tag that is cut by some, or of an unknown field
        fields[place] = rng.choice([number + (1 << 29), number + (1 << 32), rng.randrange(1, 40), 0]), wire_type, content
    elif kind == 4:
        fields[place] = number, wire_type, _shake(content, rng)
    elif kind == 5:
        del fields[place]
    elif kind == 6 and wire_type == 0 and content:  # a number that is too long, or too large
        value = rng.choice(
            [content[:-1] + bytes([content[-1] | 0x80, 0]), varint(rng.getrandbits(64)), varint(-1), bytes([255] * 9 + [127])]
        )
        fields[place] = number, wire_type, value
    elif kind == 7:  # numbers one by one or packed
        fields[place] = (number, 2, content) if wire_type == 0 else (number, 0, content[:1] or b"\0")
    else:
        raw = _join(fields)
        cut = rng.randrange(len(raw))
        return raw[:cut] + rng.choice([b"", rng.randbytes(1), b"\0", b"\xff"]) + raw[cut + 1 :]
    return _join(fields)


def _shake(content: bytes, rng: random.Random) -> bytes:
    """The content, perhaps with a byte changed, removed or added."""
    if not content or rng.random() < 0.3:
        return content
    place = rng.randrange(len(content))
    return content[:place] + rng.choice([b"", rng.randbytes(1), rng.randbytes(2), b"\xc3", b"\0"]) + content[place + 1 :]


def _split(data: bytes) -> list[Field]:
    """The fields of a message; what cannot be read any more is left out."""
    fields, position = [], 0
    while position < len(data):
        tag, position = _number(data, position)
        start = position
        if tag & 7 == 0:
            _, position = _number(data, position)
        elif tag & 7 == 2:
            length, start = _number(data, position)
            position = start + length
        else:
            position += {1: 8, 5: 4}.get(tag & 7, 0)
        fields.append((tag >> 3, tag & 7, data[start:position]))
    return fields


def _join(fields: list[Field]) -> bytes:
    pieces = []
    for number, wire_type, content in fields:
        pieces += [varint(number << 3 | wire_type), varint(len(content)) if wire_type == 2 else b"", content]
    return b"".join(pieces)


def _number(data: bytes, position: int) -> tuple[int, int]:
    result = shift = 0
    while position < len(data):
        byte = data[position]
        position += 1
        result |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            break
    return result, position


def varint(value: int) -> bytes:
    """A protobuf number; what is negative takes all 64 bits."""
    value &= (1 << 64) - 1
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])
