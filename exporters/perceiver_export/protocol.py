"""A module that can be exported: `encode(**inputs)` gives latents, `decode(latents, **queries)` gives outputs.

No base class. Latents and outputs are a tensor, or several: a dictionary, a named tuple, a tuple, an object with fields. What
`encode` gives goes to `decode` as it was.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

LATENTS = "latents"


class ProtocolError(ValueError):
    """A module that does not follow the protocol; the message says in what."""


@dataclass(frozen=True)
class TensorInput:
    """A tensor that a graph takes: its name there, the keyword of the method it goes to, its shape with the batch, its type.

    A string in `shape` is a size of that name, which is dynamic.
    """

    name: str
    argument: str
    shape: tuple[int | str, ...]
    dtype: str = "float32"


def check_protocol(model: nn.Module, inputs: Sequence[TensorInput], queries: Sequence[TensorInput]) -> None:
    """Raise `ProtocolError` for a module that lacks a method, or whose method does not take what is declared."""
    kind = type(model).__name__
    if not isinstance(model, nn.Module):
        raise ProtocolError(f"{kind} is no torch.nn.Module: give a module with encode and decode")
    for method, says in (("encode", "encode(**inputs) -> latents"), ("decode", "decode(latents, **queries) -> outputs")):
        if not callable(getattr(model, method, None)):
            raise ProtocolError(f"{kind} has no method {method}: give it {says}, or wrap it in a module that has")
    for method, given, leading in (("encode", inputs, 0), ("decode", queries, 1)):
        parameters = list(inspect.signature(getattr(model, method)).parameters.values())[leading:]
        kinds = {parameter.kind for parameter in parameters}
        if inspect.Parameter.VAR_KEYWORD in kinds:
            continue
        known = [parameter.name for parameter in parameters]
        unknown = [each.argument for each in given if each.argument not in known]
        needed = [parameter.name for parameter in parameters if parameter.default is inspect.Parameter.empty]
        missing = [name for name in needed if name not in {each.argument for each in given}]
        if unknown or missing:
            what = f"has no parameter {unknown[0]}" if unknown else f"needs {missing[0]}, which is not declared"
            raise ProtocolError(f"{kind}.{method}({', '.join(known)}) {what}: declare what it takes under the same names")


@dataclass(frozen=True)
class Structure:
    """How several tensors were one value: the type of what held them (None: a tensor alone), and their names."""

    names: tuple[str, ...]
    kind: str  # "tensor", "mapping", "tuple" or "fields"
    maker: Any = None

    @classmethod
    def of(cls, value: Any, where: str) -> tuple[Structure, tuple[Tensor, ...]]:
        """Take a value apart. Raises `ProtocolError` for what holds anything but tensors."""
        if isinstance(value, Tensor):
            return cls((LATENTS,), "tensor"), (value,)
        if isinstance(value, tuple) and hasattr(value, "_fields"):
            found, kind = dict(zip(value._fields, value)), "fields"
        elif isinstance(value, Mapping):
            found, kind = {str(name): each for name, each in value.items() if each is not None}, "mapping"
        elif dataclasses.is_dataclass(value) and not isinstance(value, type):
            found, kind = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}, "fields"
        elif isinstance(value, (tuple, list)) and value:
            found, kind = {LATENTS if place == 0 else f"{LATENTS}_{place}": each for place, each in enumerate(value)}, "tuple"
        else:
            found, kind = {}, ""
        wrong = [name for name, each in found.items() if not isinstance(each, Tensor)]
        if wrong or not found:
            held = f"{type(found[wrong[0]]).__name__} under {wrong[0]}" if wrong else type(value).__name__
            raise ProtocolError(f"{where} gave {held}: return a tensor, or several as a dictionary, a tuple or a named tuple")
        return cls(tuple(found), kind, type(value)), tuple(found.values())

    def together(self, tensors: Sequence[Tensor]) -> Any:
        """The value again."""
        if self.kind == "tensor":
            return tensors[0]
        named = dict(zip(self.names, tensors))
        if self.kind == "mapping":
            return named
        return self.maker(**named) if self.kind == "fields" else tuple(tensors)


def named_outputs(value: Any, names: Sequence[str]) -> tuple[Tensor, ...]:
    """What `decode` gave, in the order of the declared outputs. Raises `ProtocolError` where these are others."""
    structure, tensors = Structure.of(value, "decode")
    if structure.kind in ("mapping", "fields"):
        found = dict(zip(structure.names, tensors))
        missing = [name for name in names if name not in found]
        surplus = [name for name in found if name not in names]
        if missing or surplus:
            raise ProtocolError(
                f"decode gave {', '.join(found)}, declared are {', '.join(names)}: declare each output under its own name"
            )
        return tuple(found[name] for name in names)
    if len(tensors) != len(names):
        raise ProtocolError(f"decode gave {len(tensors)} tensors, declared are {', '.join(names)}: declare each of them")
    return tensors
