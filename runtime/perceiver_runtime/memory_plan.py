"""How much memory a bundle needs, and what fits into how much: from numbers that the export left in the manifest.

They are of weights and of the values that live at once while a graph runs on ONNX Runtime's CPU provider, for the sizes that
the export planned for: one input of the usual size. Python, numpy and ONNX Runtime take about 60 MB more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from perceiver_runtime.errors import InputError, IntegrityError
from perceiver_runtime.manifest import Manifest


@dataclass(frozen=True)
class MemoryPlan:
    """Bytes: of the weights, of `encode` at its peak, of what is kept from it, and of each decoder as (fixed, of a query)."""

    weights: int
    encode: int
    kept: int
    decoders: Mapping[str, tuple[int, int]]

    @classmethod
    def of(cls, manifest: Manifest) -> MemoryPlan:
        """Read the manifest's `choices["memory"]`. Raises `InputError` where there is none, `IntegrityError`."""
        if "memory" not in manifest.choices:
            raise InputError("this bundle has no memory plan: export it again for ONNX Runtime, or leave out the memory limit")
        return cls.read(manifest.choices["memory"])

    @classmethod
    def read(cls, found: Any) -> MemoryPlan:
        """From JSON. Raises `IntegrityError`."""
        try:
            decoders = {str(name): (_bytes(fixed), _bytes(each)) for name, (fixed, each) in found["decoders"].items()}
            return cls(_bytes(found["weights"]), _bytes(found["encode"]), _bytes(found["kept"]), decoders)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise IntegrityError(f"the manifest's memory plan is not understood ({error}): export the bundle again") from error

    def peak(self, queries: int) -> int:
        """Bytes for one input that is decoded `queries` at once."""
        decoding = [self.kept + fixed + each * queries for fixed, each in self.decoders.values()]
        return self.weights + max([self.encode, *decoding])

    def queries(self, limit: int, usual: int) -> int:
        """The most queries, `usual` at most, that may be decoded at once within `limit` bytes. Raises `InputError`."""
        self._check(limit)
        room = limit - self.weights - self.kept
        return min([usual, *((room - fixed) // each for fixed, each in self.decoders.values() if each)])

    def batch(self, limit: int, usual: int) -> int:
        """The most inputs, `usual` at most, that may be run at once within `limit` bytes. Raises `InputError`."""
        self._check(limit)
        return min(usual, (limit - self.weights) // max(1, self.peak(1) - self.weights))

    def _check(self, limit: int) -> None:
        least = self.peak(1)
        if limit < least:
            raise InputError(
                f"this bundle needs {least / 1e6:.0f} MB, {self.weights / 1e6:.0f} of them weights, and may have "
                f"{limit / 1e6:.0f}: allow more, or export it with a smaller --memory-budget, a smaller --image-size or --int8"
            )


def _bytes(number: object) -> int:
    if type(number) is not int or number < 0:
        raise ValueError(f"{number!r} is no number of bytes")
    return number
