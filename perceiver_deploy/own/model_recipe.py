"""The cases of a model of one's own, from its kinds: smallest sizes, odd ones in a batch, largest; the user's own inputs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from perceiver_deploy.own.head import Head
from perceiver_deploy.own.kinds import Arrays, Text
from perceiver_deploy.own.recipe import Names, ProtocolRecipe, known_outputs
from perceiver_deploy.own.sample_files import FILES
from perceiver_deploy.tasks import samples
from perceiver_deploy.tasks.recipe import Case, ExportOptions, Inputs, shape_text
from perceiver_deploy.verification.comparison import TOLERANCES, Comparison
from perceiver_export.tasks.own import Probe
from perceiver_runtime import InputError
from perceiver_runtime.bundle.manifest import Range
from perceiver_runtime.processing.text import to_bytes
from perceiver_runtime.tasks.arrays.items import sample_of
from perceiver_runtime.tasks.arrays.signature import BATCH, QUERIES
from perceiver_runtime.tasks.known_answer import Sample

MOST_QUERIES = 1 << 13  # of the largest case: each is answered on its own
ODD, BATCHED = 0.4, 3  # of the way from the smallest size to the largest; how many items together


class ModelRecipe(ProtocolRecipe):
    """A head's part of an export."""

    sample_files = "arrays by name (.npz), or pictures, texts (.txt), sounds (.wav), clips where the model takes one alone"

    def __init__(self, head: Head, found: Probe, options: ExportOptions) -> None:
        names = Names(head.input_tensors, head.query_tensors, tuple(found.latents), head.output_names)
        super().__init__(names, options)
        self.head = head

    @property
    def usage(self) -> str:  # type: ignore[override]
        """What follows `perceiver run BUNDLE`."""
        if self.head.row:
            return self.head.row.usage
        given = [
            f"{name}={FILES[type(kind)].word if type(kind) in FILES else f'{name}.npy'}"
            for name, kind in (*self.head.inputs.items(), *self.head.queries.items())
        ]
        return f"{' '.join(given)} -o answer.npz"

    @property
    def labels(self) -> tuple[str, ...] | None:
        """Of the one output that has some."""
        named = [kind.names for kind in self.head.outputs.values() if hasattr(kind, "names")]
        return tuple(named[0]) if self.head.row and named else None

    def processor(self) -> dict[str, Any]:
        """What the task's pipeline reads."""
        signature = self.head.signature
        if self.head.row:
            of_outputs = [each for kind in self.head.outputs.values() for each in kind.constants().items()]
            return {**signature.inputs[0].constants, **dict(of_outputs)}
        return {
            "inputs": [
                {
                    "name": each.name,
                    "kind": each.kind,
                    "mask": each.mask,
                    "graph": dict(each.graph),
                    "constants": dict(each.constants),
                }
                for each in signature.inputs
            ],
            "query_chunk": signature.query_chunk,
            "labels": {name: {"names": list(each.names), "problem": each.problem} for name, each in signature.labels.items()},
        }

    def ranges(self) -> dict[str, Range]:
        """The declared sizes."""
        return {name: Range(*span) for name, span in self.head.sizes.items()}

    def query_limit(self, usual: int) -> int:
        """As declared: of a module's own attention nothing is known before it is traced."""
        return usual

    def cases(self) -> Iterator[Case]:
        """Items alone, twice, of the smallest and the largest sizes; odd ones in a batch, of different lengths where masked."""
        spans = {name: span for name, span in self.head.sizes.items() if name != BATCH}
        smallest = {name: low for name, (low, _) in spans.items()}
        largest = {name: min(high, max(low, MOST_QUERIES)) if name == QUERIES else high for name, (low, high) in spans.items()}
        odd = {name: _between(low, largest[name]) for name, (low, _) in spans.items()}
        yield self._alone(smallest, "smallest")
        yield self.batch_case(odd)
        if largest != smallest:
            yield self._alone(largest, "largest")

    def batch_case(self, sizes: Mapping[str, int]) -> Case:
        """Three items together; the second and third are shorter where there is a mask."""
        items = [self.head.item(number, self._shorter(sizes, number)) for number in range(BATCHED)]
        run = self.run_of(items)
        return Case(f"batch: {shape_text(run)}", (run,))

    def _shorter(self, sizes: Mapping[str, int], number: int) -> dict[str, int]:
        masked = {kind.axes[0] for kind in self.head.inputs.values() if isinstance(kind, Arrays) and kind.mask is not None}
        masked |= {"L"} if any(isinstance(kind, Text) for kind in self.head.inputs.values()) else set()
        return {
            name: max(self.head.sizes[name][0], size - number * (size // 4)) if name in masked else size
            for name, size in sizes.items()
        }

    def _alone(self, sizes: Mapping[str, int], name: str) -> Case:
        runs = tuple(self.run_of([self.head.item(number, sizes)]) for number in range(2))
        return Case(f"{name}: {shape_text(runs[0])}, twice", runs)

    def run_of(self, items: list[dict[str, Any]]) -> Inputs:
        """All graphs' inputs for items of one group."""
        reader = self.head.reader
        checked = [reader.checked(item, reader.names) for item in items]
        return {**reader.encode_inputs(checked), **reader.query_inputs(checked)}

    def read_samples(self, folder: Path) -> list[Inputs]:
        """`.npz` files with every array by name; of a model that takes one picture, text, sound or clip alone, those."""
        (kind, *others), (name, *_) = self.head.inputs.values(), self.head.inputs
        if not others and not self.head.queries and type(kind) in FILES:
            files, row = FILES[type(kind)], self.head.row
            as_item = row.item if row else lambda value: value
            return [self.run_of([{name: as_item(files.read(kind, each))}]) for each in self.first(files.find(folder), folder)]
        return [self._read(file) for file in self.first(samples.files(folder, (".npz",)), folder)]

    def _read(self, file: Path) -> Inputs:
        try:
            with np.load(file, allow_pickle=False) as archive:
                item = {name: archive[name] for name in archive.files}
        except (OSError, ValueError, EOFError) as error:
            raise InputError(f"{file} cannot be read as arrays by name ({error}): write it with numpy.savez") from error
        texts = {name for name, kind in self.head.inputs.items() if isinstance(kind, Text)}
        try:
            return self.run_of([{name: str(value) if name in texts else value for name, value in item.items()}])
        except InputError as error:
            raise InputError(f"{file}: {error}") from error

    @cached_property
    def sample_item(self) -> dict[str, Any]:
        """The known answer's."""
        spans = {name: span for name, span in self.head.sizes.items() if name != BATCH}
        return self.head.item(0, {name: min(high, max(low, 64)) for name, (low, high) in spans.items()})

    def sample(self, model: Any) -> Sample:
        """One item and the model's answer to it."""
        item = self.sample_item
        if self.head.row:
            (value,) = item.values()
            inputs = _kept(dict(zip(self.head.row.sample, value if isinstance(value, tuple) else (value,))))
        else:
            inputs = sample_of(_kept(item))
        return Sample(inputs, known_outputs(self.whole(model, self.run_of([self.sample_item]))))

    def check(self, model: nn.Module) -> None:
        """Raise `InputError` where an answer depends on what it must not: on other queries, or on padding."""
        spans = {name: span for name, span in self.head.sizes.items() if name != BATCH}
        sizes = {name: min(high, max(low, 24)) for name, (low, high) in spans.items()}
        queried = [each.name for each in self.names.queries if QUERIES in each.shape]
        if queried and sizes[QUERIES] > 1:
            run = self.run_of([self.head.item(0, sizes)])
            half = {name: array[:, : sizes[QUERIES] // 2] if name in queried else array for name, array in run.items()}
            for name, (whole, part) in _pairs(self.whole(model, run), self.whole(model, half)).items():
                if not _same(whole[tuple(slice(size) for size in part.shape)], part):
                    raise InputError(
                        f"{name} of a query depends on the other queries, so they cannot be decoded in chunks: call their axis "
                        "otherwise than O, then they are decoded together"
                    )
        items = [self.head.item(number, self._shorter(sizes, number)) for number in range(2)]
        together, alone = self.run_of(items), self.run_of(items[1:])
        if all(together[name].shape[1:] == array.shape[1:] for name, array in alone.items()):
            return
        for name, (batch, own) in _pairs(self.encoded(model, together), self.encoded(model, alone)).items():
            if batch.shape[1:] == own.shape[1:] and not _same(batch[1:], own):
                raise InputError(f"{name} of an item depends on its padding: encode must ignore what the mask says is 0")


def _kept(values: Mapping[str, Any]) -> dict[str, Any]:
    """Texts as a known answer keeps them."""
    return {name: to_bytes(value) if isinstance(value, str) else value for name, value in values.items()}


def _between(low: int, high: int) -> int:
    """An odd size between two."""
    size = int(low + ODD * (min(high, low + 600) - low))
    return min(high, size + 1 - size % 2)


def _pairs(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    return {name: (one[name], other[name]) for name in one}


def _same(one: Any, other: Any) -> bool:
    found = Comparison.of(one.reshape(-1, one.shape[-1]), other.reshape(-1, other.shape[-1]), TOLERANCES["fp32"])
    return found.passes
