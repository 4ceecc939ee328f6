"""Tensors as the Open Inference Protocol names them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from perceiver_runtime.bundle.manifest import TensorSpec

DATATYPES = {"float32": "FP32", "int64": "INT64", "bytes": "BYTES"}


@dataclass(frozen=True)
class WireSpec:
    """A tensor of a model: as `TensorSpec`, and of `bytes` too. One that is `optional` may be left out."""

    name: str
    dtype: str
    shape: tuple[Any, ...]
    optional: bool = False

    @classmethod
    def of(cls, spec: TensorSpec) -> WireSpec:
        """A graph's input or output."""
        return cls(spec.name, spec.dtype, spec.shape)

    def sizes(self) -> list[int]:
        """The shape, with -1 for what varies."""
        return [size if isinstance(size, int) else -1 for size in self.shape]

    def described(self) -> dict[str, Any]:
        """As a model's metadata has it."""
        return {"name": self.name, "datatype": DATATYPES[self.dtype], "shape": self.sizes()}


def named(specs: Sequence[WireSpec]) -> str:
    """Their names, for people."""
    return ", ".join(f"{spec.name} (may be left out)" if spec.optional else spec.name for spec in specs)
