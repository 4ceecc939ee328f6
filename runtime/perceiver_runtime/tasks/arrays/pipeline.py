"""Arrays on a device: encode once, decode any queries, in chunks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from perceiver_runtime.bundle.reader import Bundle
from perceiver_runtime.common.amounts import whole_number
from perceiver_runtime.common.arrays import Array, Tensor, on_host
from perceiver_runtime.common.errors import InputError, UsageError
from perceiver_runtime.files.sources import several
from perceiver_runtime.tasks.arrays.items import ItemReader, as_array
from perceiver_runtime.tasks.arrays.signature import QUERIES
from perceiver_runtime.tasks.calls import whole_call
from perceiver_runtime.tasks.labels import Labels, LabelScores
from perceiver_runtime.tasks.pipeline import Pipeline, RuntimeOptions

Answer = dict[str, Array]


class ArraysPipeline(Pipeline):
    """A model of one's own from a bundle: items are dictionaries of arrays by name, and so are answers.

    >>> shape = perceiver_runtime.load("shape")
    >>> shape({"points": points, "positions": positions})     # points (M, 3), positions (O, 3) → {"occupancy": (O, 1)}
    >>> latents = shape.latents({"points": points})           # encoded once
    >>> shape.decode(latents, {"positions": more})            # a million of them, in chunks
    """

    def __init__(self, bundle: Bundle, runtime_options: RuntimeOptions) -> None:
        self._reader = ItemReader.of(bundle.manifest)
        self._latents = [spec.name for spec in bundle.manifest.graphs["encode"].outputs]
        self._outputs = bundle.manifest.graphs["decode"].outputs
        super().__init__(bundle, runtime_options)
        self.query_chunk = self.query_limit(self._reader.signature.query_chunk)

    def __call__(self, items: Any, *, query_chunk: int | None = None) -> Any:
        """The answer to an item, float32 arrays by name; to each of a list or a generator.

        An item has every input and every query by name, without a batch axis: arrays, what numpy converts to one, or .npy
        files; pictures as `read_image` takes them; texts. Items of a list run together where their shapes
        are equal, and where an input has a mask also with different lengths. `query_chunk` queries are decoded at once. Raises
        `InputError`, `BackendError`.
        """
        found_items = several(items)
        batch = [items] if found_items is None else found_items
        if not batch:
            raise InputError("the list of items is empty: give at least one")
        with self.timing.stage("preprocess"):
            checked = [self._reader.checked(item, self._reader.names) for item in batch]
            groups: dict[object, list[int]] = {}
            for place, item in enumerate(checked):
                groups.setdefault(self._reader.group(item), []).append(place)
        answers: list[Answer] = [{} for _ in batch]
        for places in groups.values():
            for part in self.batches(places):
                chosen = [checked[place] for place in part]
                found = self._decode(self._encode(chosen), self._reader.query_inputs(chosen), query_chunk)
                for row, place in enumerate(part):
                    answers[place] = {name: array[row] for name, array in found.items()}
        return answers[0] if found_items is None else answers

    @whole_call
    def latents(self, item: Mapping[str, Any]) -> Answer:
        """What `encode` makes of one item's inputs, by name, without a batch axis: to decode, or to give back as an input."""
        with self.timing.stage("preprocess"):
            names = [given.name for given in self._reader.signature.inputs]
            checked = self._reader.checked(item, names)
        return {name: on_host(tensor)[0] for name, tensor in self._encode([checked]).items()}

    @whole_call
    def decode(
        self, latents: Mapping[str, Array], queries: Mapping[str, Array] | None = None, *, query_chunk: int | None = None
    ) -> Answer:
        """The answer of `latents`, as the method of that name gives them, to queries by name. Raises `InputError`."""
        specs = {spec.name: spec for spec in self.manifest.graphs["encode"].outputs}
        given = dict(queries or {})
        if set(latents) != set(specs) or set(given) != set(self._reader.queries):
            wanted = ", ".join([*specs, *self._reader.queries])
            raise InputError(f"decode takes {wanted}; found {', '.join(sorted([*latents, *given]))}")
        encoded: dict[str, Tensor] = {name: as_array(name, latents[name], spec)[None] for name, spec in specs.items()}
        asked = {name: as_array(name, given[name], spec)[None] for name, spec in self._reader.queries.items()}
        return {name: array[0] for name, array in self._decode(encoded, asked, query_chunk).items()}

    def labels(self, answer: Mapping[str, Array], output: str, *, top_k: int = 5) -> LabelScores:
        """The best labels of an output that has names for its last axis. Raises `UsageError` for another."""
        named = self._reader.signature.labels
        if output not in named:
            raise UsageError(f"{output} has no labels; those that have: {', '.join(named) or 'none'}")
        return Labels(named[output].names, named[output].problem).scores(answer[output].reshape(-1), top_k)

    @property
    def labelled(self) -> tuple[str, ...]:
        """The outputs that `labels` takes."""
        return tuple(self._reader.signature.labels)

    def known_answer(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Inputs `item_NAME`; the outputs, with all axes but the last together."""
        answer = self(self._reader.from_sample(inputs))
        return {name: array.reshape(-1, array.shape[-1]) if array.ndim > 1 else array for name, array in answer.items()}

    def _encode(self, items: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        with self.timing.stage("preprocess"):
            inputs = self._reader.encode_inputs(items)
        return dict(zip(self._latents, self.encode_inputs(inputs)))

    def _decode(self, latents: Mapping[str, Tensor], queries: Mapping[str, Array], query_chunk: int | None) -> Answer:
        used = {spec.name for spec in self.manifest.graphs["decode"].inputs}
        kept = {name: tensor for name, tensor in latents.items() if name in used}
        divided = [name for name, spec in self._reader.queries.items() if QUERIES in spec.shape]
        chunk = self.query_chunk if query_chunk is None else whole_number("query_chunk", query_chunk, InputError)
        count = queries[divided[0]].shape[1] if divided else 1
        if any(queries[name].shape[1] != count for name in divided):
            raise InputError(f"{', '.join(divided)} should have one number of queries: the first axis of each")
        parts: list[Sequence[Array]] = []
        for start in range(0, count, chunk):
            some = {name: array[:, start : start + chunk] if name in divided else array for name, array in queries.items()}
            parts.append(self.outputs("decode", {**kept, **some}))
        answer: Answer = {}
        for place, spec in enumerate(self._outputs):
            axis = spec.shape.index(QUERIES) if QUERIES in spec.shape else None
            pieces = [part[place] for part in parts]
            answer[spec.name] = pieces[0] if axis is None or len(pieces) == 1 else np.concatenate(pieces, axis=axis)
        return answer
