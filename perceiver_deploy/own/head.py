"""From kinds to graphs: which task's bundle a model becomes, and how its tensors are called there."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from perceiver_deploy.own.kinds import LARGEST_CHUNK, Arrays, Kind, Labels, OutputKind, Sizes
from perceiver_deploy.own.task_rows import ROWS, TaskRow, refuse_alone
from perceiver_export.protocol import ProtocolError, TensorInput, check_protocol
from perceiver_export.tasks.own import Probe, probe
from perceiver_runtime import InputError, UsageError
from perceiver_runtime.bundle.manifest import TensorSpec
from perceiver_runtime.tasks.arrays.items import ItemReader
from perceiver_runtime.tasks.arrays.signature import BATCH, QUERIES, Named, Signature

MOST_BATCHED = 64
ARRAYS = "arrays"


@dataclass(frozen=True)
class Head:
    """A model's inputs, queries and outputs by the names that its methods have for them; `row` is None for arrays."""

    inputs: Mapping[str, Kind]
    queries: Mapping[str, Kind]
    outputs: Mapping[str, OutputKind]
    row: TaskRow | None

    @classmethod
    def of(cls, inputs: Mapping[str, Kind], queries: Mapping[str, Kind] | None, outputs: Mapping[str, OutputKind]) -> Head:
        """Check kinds. Raises `UsageError`."""
        queries = queries or {}
        for what, kinds, methods in (
            ("inputs", inputs, Kind),
            ("queries", queries, Kind),
            ("outputs", outputs, OutputKind),
        ):
            needed = "fits" if methods is OutputKind else "tensors"
            if not isinstance(kinds, Mapping) or (not kinds and what != "queries"):
                raise UsageError(f"{what} should be a dictionary of kinds by name, such as {{'points': Arrays(…)}}")
            for name, kind in kinds.items():
                if not str(name).isidentifier() or len(str(name)) > 48:
                    raise UsageError(f"{what}: {name!r} is no name for a tensor: letters, digits and _, 48 at most")
                if not hasattr(kind, needed) or isinstance(kind, type):
                    raise UsageError(f"{name} is {kind!r}, which is no kind of {what}; docs/own-heads.md has those there are")
                if what != "outputs" or not isinstance(kind, Arrays):
                    kind.check(name)  # type: ignore[union-attr]
        types = tuple(type(kind) for kind in inputs.values()), tuple(type(kind) for kind in outputs.values())
        row = next((row for row in ROWS if row.takes(*types) and not queries), None)
        if row is None:
            refuse_alone(outputs)
        head = cls(dict(inputs), dict(queries), dict(outputs), row)
        head._check_names()
        return head

    def _check_names(self) -> None:
        names = [each.argument for each in (*self.input_tensors, *self.query_tensors)]
        twice = [name for name in names if names.count(name) > 1]
        if twice:
            raise UsageError(f"two inputs or queries are called {twice[0]}: give each its own name")
        used = {size for each in (*self.input_tensors, *self.query_tensors) for size in each.shape if isinstance(size, str)}
        unknown = sorted(used - set(self.sizes))
        if unknown:
            raise UsageError(f"the axis {unknown[0]} has no range: give ranges={{{unknown[0]!r}: (smallest, largest)}}")

    @property
    def task(self) -> str:
        """What the bundle is for."""
        return self.row.task if self.row else ARRAYS

    @property
    def input_tensors(self) -> tuple[TensorInput, ...]:
        """What `encode` takes."""
        own = [tensor for name, kind in self.inputs.items() for tensor in kind.tensors(name)]
        names = self.row.tensors if self.row else [tensor.name for tensor in own]
        return tuple(dataclasses.replace(tensor, name=name) for tensor, name in zip(own, names))

    @property
    def query_tensors(self) -> tuple[TensorInput, ...]:
        """What `decode` takes beside latents."""
        return tuple(tensor for name, kind in self.queries.items() for tensor in kind.tensors(name))

    @property
    def output_names(self) -> dict[str, str]:
        """By the model's name, the graph's."""
        if self.row is None:
            return {name: name for name in self.outputs}
        return {name: self.row.output_names[self.row.outputs.index(type(kind))] for name, kind in self.outputs.items()}

    @property
    def sizes(self) -> Sizes:
        """The batch, and all dynamic sizes. Raises `UsageError` for one with two ranges."""
        found: dict[str, tuple[int, int]] = {BATCH: (1, MOST_BATCHED)}
        for name, kind in (*self.inputs.items(), *self.queries.items()):
            for size, span in kind.sizes().items():
                if found.setdefault(size, span) != span:
                    raise UsageError(f"{name} gives the axis {size} the range {span}, another gives {found[size]}: make it one")
        return found

    @property
    def signature(self) -> Signature:
        """As the runtime reads items."""
        renamed = {tensor.argument: tensor.name for tensor in self.input_tensors}
        inputs = []
        for name, kind in self.inputs.items():
            own = kind.runtime(name)
            inputs.append(dataclasses.replace(own, graph={key: renamed[value] for key, value in own.graph.items()}))
        labels = {
            self.output_names[name]: Named(tuple(kind.names), kind.problem)
            for name, kind in self.outputs.items()
            if isinstance(kind, Labels)
        }
        return Signature(tuple(inputs), self.sizes.get(QUERIES, (1, LARGEST_CHUNK))[1], labels)

    @property
    def reader(self) -> ItemReader:
        """Turns items into inputs of graphs."""
        specs = [
            [TensorSpec(each.name, each.dtype, each.shape) for each in tensors]
            for tensors in (self.input_tensors, self.query_tensors)
        ]
        return ItemReader(self.signature, *specs)

    def item(self, number: int, sizes: Mapping[str, int]) -> dict[str, Any]:
        """An item to verify on."""
        values = {name: kind.value(number, sizes) for name, kind in (*self.inputs.items(), *self.queries.items())}
        return values if self.row is None else {name: self.row.item(value) for name, value in values.items()}

    def values(self, tensor: TensorInput, shape: tuple[int, ...]) -> Tensor:
        """What a graph's input may hold, for tracing."""
        if tensor.dtype == "int64":
            return torch.ones(shape, dtype=torch.int64)
        return torch.from_numpy(np.random.default_rng(len(tensor.name)).uniform(-1, 1, shape).astype(np.float32))

    def probe(self, model: nn.Module) -> Probe:
        """What the model gives. Raises `InputError` for one without the protocol, and outputs not of their kind."""
        try:
            check_protocol(model, self.input_tensors, self.query_tensors)
            found = probe(model, self.input_tensors, self.query_tensors, self.output_names, self.sizes, self.values)
        except ProtocolError as error:
            raise InputError(str(error)) from error
        except (RuntimeError, ValueError, TypeError, IndexError, AttributeError, KeyError) as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise InputError(f"{type(model).__name__} cannot be run on inputs as they are declared: {reason}") from error
        for name, kind in self.outputs.items():
            shape = found.outputs[self.output_names[name]]
            reason = kind.fits(shape, self.inputs)
            if reason:
                shown = ", ".join(map(str, shape))
                raise InputError(f"{name} is no {type(kind).__name__}: the model gives ({shown}), {reason}")
        counts = [shape[1] for shape in found.outputs.values()]
        if self.row and len(set(counts)) > 1:
            raise InputError(f"{' and '.join(self.outputs)} are of {' and '.join(map(str, counts))} queries: give one number")
        return found
