"""What an export decided and planned, as a record of the manifest's `choices`: for `inspect`, `bench` and limits on memory.

A bundle is right without any of it, and a later export may say more: keys that are not known here are passed over. What is
known has its type, or the bundle is refused when it is opened.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from perceiver_runtime.bundle.manifest import Manifest
from perceiver_runtime.bundle.memory_plan import MemoryPlan
from perceiver_runtime.common.errors import IntegrityError
from perceiver_runtime.common.records import record


@dataclass(frozen=True)
class Cost:
    """Of one run of a graph: floating-point operations, and bytes read and written."""

    flops: int
    moved_bytes: int


@dataclass(frozen=True)
class Costs:
    """Of a graph, before passes and after."""

    before: Cost
    after: Cost


@dataclass(frozen=True)
class Work:
    """The costs of each graph, with `sizes` for the dynamic sizes."""

    sizes: Mapping[str, int]
    graphs: Mapping[str, Costs]


@dataclass(frozen=True)
class AttentionPlan:
    """Of an attention on TensorRT: whether it should be one kernel, else the bytes of its largest score matrix."""

    fuses: bool
    score_bytes: int


@dataclass(frozen=True)
class Choices:
    """Everything in `choices`; `islands` are the nodes that stay float32, by graph and reason.

    `conditions` say what each pass applies to; `unrecognised` are softmaxes of no attention that passes know, by graph and
    place, with the reason.

    `task_package` is what has to be installed for a task that does not come with the runtime.
    """

    passes: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    cost: Work | None = None
    memory: MemoryPlan | None = None
    islands: Mapping[str, Mapping[str, tuple[str, ...]]] = field(default_factory=dict)
    attention: Mapping[str, tuple[AttentionPlan, ...]] = field(default_factory=dict)
    memory_budget: int | None = None
    task_package: str | None = None
    conditions: Mapping[str, str] = field(default_factory=dict)
    unrecognised: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @classmethod
    def of(cls, manifest: Manifest) -> Choices:
        """Raises `IntegrityError`."""
        choices = record(cls, manifest.choices, "manifest.choices", ignored=None)
        counted = [each.after.flops for each in choices.cost.graphs.values()] if choices.cost else []
        scores = [plan.score_bytes for plans in choices.attention.values() for plan in plans]
        if min([0, *counted, *scores, choices.memory_budget or 0]) < 0:
            raise IntegrityError("the manifest counts less than nothing in its choices: do not use this bundle")
        return choices
