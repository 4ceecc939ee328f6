"""Inputs of a graph against what the manifest says of them, before anything is computed or allocated."""

from __future__ import annotations

from collections.abc import Mapping

from perceiver_runtime.bundle.manifest import GraphEntry, Range
from perceiver_runtime.common.arrays import Array, Tensor
from perceiver_runtime.common.errors import InputError


def check_inputs(name: str, entry: GraphEntry, ranges: Mapping[str, Range], inputs: Mapping[str, Tensor]) -> None:
    """Names, ranks, fixed sizes, ranges of dynamic ones, and one size under one name. Raises `InputError`."""
    if set(inputs) != {spec.name for spec in entry.inputs}:
        raise InputError(f"{name} takes {[spec.name for spec in entry.inputs]}, got {sorted(inputs)}")
    sizes: dict[str, int] = {}
    for spec in entry.inputs:
        shape = tuple(inputs[spec.name].shape)
        if len(shape) != len(spec.shape):
            raise InputError(f"{name} takes {spec.name} with {len(spec.shape)} axes, got the shape {shape}")
        for wanted, size in zip(spec.shape, shape):
            if isinstance(wanted, int):
                low = high = wanted
            else:
                span = ranges.get(wanted)
                low, high = (span.min, span.max) if span is not None else (1, size)
                if sizes.setdefault(wanted, size) != size:
                    raise InputError(f"{name} takes one size {wanted}, got {sizes[wanted]} and in {spec.name} {size}")
            if not low <= size <= high:
                wanted_shape = "[" + ", ".join(map(str, spec.shape)) + "]"
                allowed = "" if isinstance(wanted, int) else f", {wanted} {low} to {high}"
                raise InputError(f"{name} takes {spec.name} of shape {wanted_shape}{allowed}; got {list(shape)}")


def places(inputs: Mapping[str, Array], name: str, count: int) -> Array:
    """The known answer's `name`: places among `count`, from 0. Raises `InputError`."""
    found = inputs[name]
    if found.min() < 0 or found.max() >= count:
        raise InputError(f"{name} holds {found.min()} to {found.max()}, there are {count} from 0")
    return found
