"""What an arrays bundle takes and gives: the manifest's `processor`, beside the shapes that its graphs have there.

An item is a dictionary by name. Each of `inputs` is a plain array, or of a kind that has a processor (a picture, a text). What
`decode` takes beside what `encode` gives are queries: those with the axis `O` are answered each on its own, so in chunks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from perceiver_runtime.bundle.manifest import Manifest, TensorSpec
from perceiver_runtime.common.errors import IntegrityError
from perceiver_runtime.common.records import record
from perceiver_runtime.tasks.kinds import KINDS
from perceiver_runtime.tasks.labels import PROBLEM_TYPES

BATCH, QUERIES = "B", "O"  # names of sizes
ARRAY = "array"


@dataclass(frozen=True)
class ItemInput:
    """One of an item's inputs.

    `kind` is `array`, or a kind that has a processor with `constants`, whose results go to the inputs `graph` of `encode`, by
    the processor's names for them. An array may have a `mask`: items of different length are then padded to one batch.
    """

    name: str
    kind: str = ARRAY
    mask: str | None = None
    graph: Mapping[str, str] = field(default_factory=dict)
    constants: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Named:
    """The names of an output's last axis, and how its values become probabilities: see `Labels`."""

    names: tuple[str, ...]
    problem: str


@dataclass(frozen=True)
class Signature:
    """A bundle's inputs in order, its outputs that are labels, and how many queries are decoded at once."""

    inputs: tuple[ItemInput, ...]
    query_chunk: int
    labels: Mapping[str, Named] = field(default_factory=dict)

    @classmethod
    def of(cls, manifest: Manifest) -> Signature:
        """Read the manifest's `processor`. Raises `IntegrityError` where that is not what its graphs take."""
        if not {"encode", "decode"} <= set(manifest.graphs):
            raise IntegrityError("an arrays bundle has the graphs encode and decode, this one has not: export the bundle again")
        found = record(cls, manifest.processor, "manifest.processor")
        encode = {spec.name: spec for spec in manifest.graphs["encode"].inputs}
        taken = [name for each in found.inputs for name in _graph_names(each)]
        known = {ARRAY, *(name for name, kind in KINDS.items() if kind.from_row is not None)}
        wrong = [each.kind for each in found.inputs if each.kind not in known]
        if wrong:
            raise IntegrityError(f"the manifest has an input of the kind {wrong[0][:40]!r}: upgrade perceiver-runtime")
        outputs = {spec.name: spec for spec in manifest.graphs["decode"].outputs}
        misnamed = [
            name
            for name, label in found.labels.items()
            if name not in outputs or label.problem not in PROBLEM_TYPES or outputs[name].shape[-1] != len(label.names)
        ]
        specs = [*encode.values(), *manifest.graphs["decode"].inputs]
        batched = all(len(spec.shape) > 0 and spec.shape[0] == BATCH for spec in specs)
        queried = all(QUERIES not in spec.shape or spec.shape[1] == QUERIES for spec in specs)
        if sorted(taken) != sorted(encode) or misnamed or not batched or not queried or found.query_chunk < 1:
            raise IntegrityError("the manifest's inputs and labels are not those of its graphs: export the bundle again")
        return found


def _graph_names(given: ItemInput) -> list[str]:
    own = [given.name] if given.kind == ARRAY else list(given.graph.values())
    return own + ([given.mask] if given.kind == ARRAY and given.mask is not None else [])


def query_specs(manifest: Manifest) -> list[TensorSpec]:
    """The inputs of `decode` that `encode` does not give."""
    made = {spec.name for spec in manifest.graphs["encode"].outputs}
    return [spec for spec in manifest.graphs["decode"].inputs if spec.name not in made]
