"""Any module that follows the protocol (protocol.py) as two graphs. Nothing here knows what it is made of."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim

from perceiver_export.graph_spec import GraphSpec, traceable
from perceiver_export.protocol import ProtocolError, Structure, TensorInput, named_outputs
from perceiver_export.substitutes import use_substitutes

BATCH = "B"
_SIZES = (5, 7, 11, 13, 17, 19, 23, 29)  # of dynamic axes in examples: no two alike
_DTYPES = {"float32": torch.float32, "int64": torch.int64}
Shape = tuple[str | int, ...]
Sizes = Mapping[str, tuple[int, int]]  # the smallest and the largest of each dynamic size
Values = Callable[[TensorInput, tuple[int, ...]], Tensor]  # what a tensor may hold


class EncodeGraph(nn.Module):
    """Tensors by their graph names → latents, one after the other."""

    def __init__(self, model: Any, inputs: Sequence[TensorInput]) -> None:
        super().__init__()
        self.model: Any = model
        self.inputs = inputs
        self.forward = _with_parameters(self._encode, [each.name for each in inputs])

    def _encode(self, given: Mapping[str, Tensor]) -> Any:
        arguments = {each.argument: given[each.name] for each in self.inputs}
        tensors = Structure.of(self.model.encode(**arguments), "encode")[1]
        return tensors if len(tensors) > 1 else tensors[0]


class DecodeGraph(nn.Module):
    """Latents, then queries → outputs, one after the other."""

    def __init__(self, model: Any, latents: Structure, queries: Sequence[TensorInput], outputs: Sequence[str]) -> None:
        super().__init__()
        self.model: Any = model
        self.latents, self.queries, self.outputs = latents, queries, tuple(outputs)
        self.forward = _with_parameters(self._decode, [*latents.names, *(each.name for each in queries)])

    def _decode(self, given: Mapping[str, Tensor]) -> Any:
        latents = self.latents.together([given[name] for name in self.latents.names])
        queries = {each.argument: given[each.name] for each in self.queries}
        tensors = named_outputs(self.model.decode(latents, **queries), self.outputs)
        return tensors if len(tensors) > 1 else tensors[0]


class FusedGraph(nn.Module):
    """Inputs and queries → outputs."""

    def __init__(self, encode: EncodeGraph, decode: DecodeGraph) -> None:
        super().__init__()
        self.encode, self.decode = encode, decode
        self.forward = _with_parameters(self._both, [each.name for each in (*encode.inputs, *decode.queries)])

    def _both(self, given: Mapping[str, Tensor]) -> Any:
        latents = self.encode(**{each.name: given[each.name] for each in self.encode.inputs})
        tensors = latents if isinstance(latents, tuple) else (latents,)
        queries = {each.name: given[each.name] for each in self.decode.queries}
        return self.decode(**dict(zip(self.decode.latents.names, tensors)), **queries)


def _with_parameters(method: Callable[[Mapping[str, Tensor]], Any], names: Sequence[str]) -> Callable[..., Any]:
    """A `forward` that the tracer sees with parameters of these names."""

    def forward(**given: Tensor) -> Any:
        return method(given)

    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    forward.__signature__ = inspect.Signature([inspect.Parameter(name, kind) for name in names])  # type: ignore[attr-defined]
    return forward


@dataclass(frozen=True)
class Probe:
    """What a module gives: how its latents belong together, and the shapes of latents and outputs by name."""

    structure: Structure
    declared: tuple[str, ...]  # the names that the module has for its outputs
    latents: Mapping[str, Shape]
    outputs: Mapping[str, Shape]
    example: Mapping[str, int] = field(default_factory=dict)  # the sizes that graphs are traced with


@torch.no_grad()
def probe(
    model: Any,
    inputs: Sequence[TensorInput],
    queries: Sequence[TensorInput],
    outputs: Mapping[str, str],
    sizes: Sizes,
    values: Values,
) -> Probe:
    """Run a module at two sets of sizes: an axis that follows a size is that size.

    `outputs` are the names that the module has for them, and those that they get. Raises `ProtocolError`.
    """
    first, second = _example_sizes(inputs, queries, sizes)
    seen = []
    for chosen in (first, second):
        given = {each.argument: values(each, shape_of(each, chosen)) for each in inputs}
        latents = model.encode(**given)
        structure, tensors = Structure.of(latents, "encode")
        asked = {each.argument: values(each, shape_of(each, chosen)) for each in queries}
        seen.append((structure, tensors, named_outputs(model.decode(latents, **asked), list(outputs))))
    (structure, *one), (_, *other) = seen
    names = [structure.names, tuple(outputs.values())]
    shapes = [
        {name: _shape(name, a, b, first, second) for name, a, b in zip(group, mine, others)}
        for group, mine, others in zip(names, one, other)
    ]
    taken = [each.name for each in (*inputs, *queries)]
    used = [*taken, *structure.names, *outputs.values()]
    twice = [name for name in used if used.count(name) > 1]
    if twice:
        raise ProtocolError(f"two tensors are called {twice[0]}: give inputs, queries, latents and outputs names of their own")
    return Probe(structure, tuple(outputs), shapes[0], shapes[1], first)


def shape_of(tensor: TensorInput, sizes: Mapping[str, int]) -> tuple[int, ...]:
    """A tensor's shape with numbers for its sizes."""
    return tuple(size if isinstance(size, int) else sizes[size] for size in tensor.shape)


def _example_sizes(
    inputs: Sequence[TensorInput], queries: Sequence[TensorInput], sizes: Sizes
) -> tuple[dict[str, int], dict[str, int]]:
    """Two sizes for each name, in its range and no two alike where there is room."""
    fixed = {size for each in (*inputs, *queries) for size in each.shape if isinstance(size, int)}
    free = [size for size in _SIZES if size not in fixed]
    first, second = {BATCH: 2}, {BATCH: 3}
    for place, (name, (low, high)) in enumerate((name, span) for name, span in sizes.items() if name != BATCH):
        wanted = free[place % len(free)]
        first[name] = wanted if low <= wanted <= high else min(high, low + wanted)
        others = (first[name] + 2 * place + 2, first[name] - 1, first[name] + 1)
        second[name] = next((size for size in others if low <= size <= high), first[name])
    return first, second


def _shape(name: str, one: Tensor, other: Tensor, first: Mapping[str, int], second: Mapping[str, int]) -> Shape:
    if str(one.dtype) != "torch.float32":
        raise ProtocolError(f"{name} is {str(one.dtype).removeprefix('torch.')}: latents and outputs are float32, give logits")
    found: list[str | int] = []
    for axis, (a, b) in enumerate(zip(one.shape, other.shape)):
        known = [size for size in first if first[size] == a and second[size] == b]
        found.append(a if a == b else known[0] if known else f"{name}_{axis}")
    if len(found) < 2 or found[0] != BATCH:
        shape = tuple(one.shape)
        raise ProtocolError(f"{name} has the shape {shape} for a batch of 2: give the batch first, then one axis or more")
    return tuple(found)


def own_graphs(
    model: nn.Module,
    found: Probe,
    inputs: Sequence[TensorInput],
    queries: Sequence[TensorInput],
    sizes: Sizes,
    values: Values,
    *,
    fused: bool = False,
) -> list[GraphSpec]:
    """What to trace: `encode` and `decode`, and with `fused` both as one graph."""
    traced = traceable(model)
    use_substitutes(traced)
    dims = {name: Dim(name, min=low, max=high) for name, (low, high) in sizes.items()}

    def example(tensors: Sequence[TensorInput]) -> dict[str, Tensor]:
        return {each.name: values(each, shape_of(each, found.example)) for each in tensors}

    def dynamic(tensors: Mapping[str, Shape]) -> dict[str, dict[int, Any]]:
        return {
            name: {axis: dims.setdefault(size, Dim(size, min=1)) for axis, size in enumerate(shape) if isinstance(size, str)}
            for name, shape in tensors.items()
        }

    given, asked = {each.name: each.shape for each in inputs}, {each.name: each.shape for each in queries}
    encode = EncodeGraph(traced, inputs)
    decode = DecodeGraph(traced, found.structure, queries, found.declared)
    with torch.no_grad():
        first = encode(**example(inputs))
    latents = dict(zip(found.latents, first if isinstance(first, tuple) else (first,)))
    specs = [
        GraphSpec("encode", encode, example(inputs), dynamic(given), dict(found.latents), foreign=True),
        GraphSpec("decode", decode, latents | example(queries), dynamic({**found.latents, **asked}), dict(found.outputs), True),
    ]
    both = {**given, **asked}
    whole = FusedGraph(encode, decode)
    fused_spec = GraphSpec("model", whole, example([*inputs, *queries]), dynamic(both), dict(found.outputs), True)
    return specs + [fused_spec] * fused
