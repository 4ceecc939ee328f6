"""Items of an arrays bundle: how each named value is read from files, tables and samples, and becomes graphs' inputs."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from perceiver_runtime.bundle.manifest import Manifest, TensorSpec
from perceiver_runtime.common.arrays import Array
from perceiver_runtime.common.errors import InputError
from perceiver_runtime.files.arrays import array_of_bytes, read_array
from perceiver_runtime.files.sources import array_of, check_file, file_source
from perceiver_runtime.processing.text import from_bytes
from perceiver_runtime.tasks.arrays.signature import ARRAY, ItemInput, Signature, query_specs
from perceiver_runtime.tasks.kinds import KINDS
from perceiver_runtime.tasks.kinds.kind import Constants, Form, InputKind, Inputs, Reader, TextOptions

Item = Mapping[str, Any]
_SAMPLE = "item_"  # before names in sample.npz


class ItemReader:
    """Turns items of one bundle into batches."""

    def __init__(self, signature: Signature, specs: Sequence[TensorSpec], queries: Sequence[TensorSpec]) -> None:
        self.signature = signature
        self.specs, self.queries = ({spec.name: spec for spec in each} for each in (specs, queries))
        self._readers = {
            given.name: KINDS[given.kind].reader(given.constants) for given in self.signature.inputs if given.kind != ARRAY
        }

    @classmethod
    def of(cls, manifest: Manifest) -> ItemReader:
        """Of a bundle. Raises `IntegrityError`."""
        return cls(Signature.of(manifest), manifest.graphs["encode"].inputs, query_specs(manifest))

    @property
    def names(self) -> list[str]:
        """Of an item: inputs, then queries."""
        return [*(given.name for given in self.signature.inputs), *self.queries]

    @property
    def suffixes(self) -> tuple[str, ...]:
        """Of a file that is an item, where an item has one value and that is in a file."""
        if len(self.names) > 1:
            return ()
        kind = self.kind_of(self.names[0])
        return (".npy",) if kind == ARRAY else KINDS[kind].suffixes

    def checked(self, item: Any, names: Sequence[str]) -> dict[str, Any]:
        """An item with exactly `names`, arrays of the right shape and type. Raises `InputError`."""
        if not isinstance(item, Mapping) or set(item) != set(names):
            found = sorted(map(str, item)) if isinstance(item, Mapping) else type(item).__name__
            raise InputError(f"an item should be a dictionary with {', '.join(names)}; found {found}")
        specs = self.specs | self.queries
        return {name: as_array(name, item[name], specs[name]) if self.kind_of(name) == ARRAY else item[name] for name in names}

    def kind_of(self, name: str) -> str:
        """Of an input; queries are arrays."""
        return next((given.kind for given in self.signature.inputs if given.name == name), ARRAY)

    def group(self, item: Mapping[str, Any]) -> tuple[object, ...]:
        """What items of one batch have in common: the shapes of arrays that have no mask."""
        masked = {given.name for given in self.signature.inputs if given.mask is not None}
        return tuple(value.shape for name, value in item.items() if isinstance(value, np.ndarray) and name not in masked)

    def encode_inputs(self, items: Sequence[Item], options: TextOptions | None = None) -> Inputs:
        """The inputs of `encode` for checked items of one group."""
        inputs: Inputs = {}
        for given in self.signature.inputs:
            values = [item[given.name] for item in items]
            if given.kind == ARRAY:
                inputs |= _padded(given, values)
            else:
                made = self._readers[given.name](values, options or {})
                inputs |= {given.graph[name]: array for name, array in made.items() if name in given.graph}
        return inputs

    def query_inputs(self, items: Sequence[Item]) -> Inputs:
        """The queries of checked items of one group."""
        return {name: np.stack([item[name] for item in items]) for name in self.queries}

    def value(self, name: str, given: Any) -> Any:
        """A value of a table or the command line: an array, or the name of a file; of a text, itself. Raises `InputError`."""
        if self.kind_of(name) == ARRAY:
            return opened_array(given, name)
        kind = KINDS[self.kind_of(name)]
        assert kind.from_row is not None  # the signature has looked
        return kind.from_row({kind.columns[0]: given})

    def form(self, name: str) -> Form:
        """How a value that a client sent is given to `value`."""
        if self.kind_of(name) == ARRAY:
            return "bytes"
        kind = KINDS[self.kind_of(name)]
        return kind.forms.get(kind.columns[0], "path")

    def check(self, inputs: Mapping[str, Array]) -> None:
        """Raise `InputError` for inputs of `encode` that no item becomes."""
        for given in self.signature.inputs:
            if given.kind != ARRAY:
                KINDS[given.kind].check(given.constants)({own: inputs[name] for own, name in given.graph.items()})

    def from_sample(self, inputs: Mapping[str, Array]) -> dict[str, Any]:
        """The item of a known answer."""
        found = {name: inputs[_SAMPLE + name] for name in self.names}
        return {name: from_bytes(value) if self.kind_of(name) == "text" else value for name, value in found.items()}


def sample_of(item: Mapping[str, Array]) -> dict[str, Array]:
    """How a known answer keeps an item, its texts as bytes."""
    return {_SAMPLE + name: value for name, value in item.items()}


def as_array(name: str, value: Any, spec: TensorSpec) -> Array:
    """A value as the graph's type, without the batch. Raises `InputError`."""
    wanted = ", ".join(map(str, spec.shape[1:]))
    value = opened_array(value, name)
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "biuf":
        raise InputError(f"{name} should be a numpy array of {spec.dtype} ({wanted}), found {type(value).__name__}")
    fits = len(value.shape) == len(spec.shape) - 1 and all(
        isinstance(size, str) or size == own for size, own in zip(spec.shape[1:], value.shape)
    )
    if not fits or value.size == 0:
        raise InputError(f"{name} should have the shape ({wanted}), found {value.shape}")
    if spec.dtype == "int64" and value.dtype.kind == "f":
        raise InputError(f"{name} should be whole numbers, found {value.dtype}")
    if value.dtype.kind == "f" and not np.isfinite(value).all():
        raise InputError(f"{name} holds NaN or infinity")
    return np.ascontiguousarray(value, spec.dtype)


def opened_array(value: Any, name: str) -> Any:
    """An array of what numpy converts to one, and of a .npy file's path or content; anything else as it is."""
    array = array_of(value, name)
    source = file_source(value, name) if array is None else None
    if source is None:
        return value if array is None else array
    check_file(source.file)
    return read_array(source.file) if isinstance(source.file, Path) else array_of_bytes(source.file, name)


def _padded(given: ItemInput, values: Sequence[Array]) -> Inputs:
    if given.mask is None:
        return {given.name: np.stack(values)}
    longest = max(map(len, values))
    batch = np.zeros((len(values), longest, *values[0].shape[1:]), values[0].dtype)
    mask = np.zeros((len(values), longest), np.int64)
    for row, value in enumerate(values):
        if value.shape[1:] != batch.shape[2:]:
            raise InputError(
                f"{given.name} has items of {value.shape} and {values[0].shape}: a batch may differ in length only"
            )
        batch[row, : len(value)], mask[row, : len(value)] = value, 1
    return {given.name: batch, given.mask: mask}


def items_of(manifest: Manifest) -> InputKind:
    """The kind of a bundle's items."""
    reader = ItemReader.of(manifest)

    def add_arguments(parser: argparse.ArgumentParser, constants: Constants) -> None:
        about = [f"{name} ({', '.join(map(str, spec.shape[1:]))})" for name, spec in (reader.specs | reader.queries).items()]
        help_text = f"a .npy file, a picture or a text for each of: {'; '.join(about)}"
        parser.add_argument("inputs", nargs="+", metavar="NAME=FILE", help=help_text)

    def from_arguments(arguments: argparse.Namespace, constants: Constants) -> list[Any]:
        names = reader.names
        pairs = [text.partition("=")[::2] for text in arguments.inputs]
        if len(names) == 1 and len(pairs) == 1 and pairs[0][0] != names[0]:
            pairs = [(names[0], arguments.inputs[0])]
        given = [name for name, _ in pairs]
        if sorted(given) != sorted(names):
            raise InputError(f"give each of {', '.join(names)} once, as NAME=FILE; found {', '.join(given)}")
        return [{name: reader.value(name, value) for name, value in pairs}]

    def sample_files(inputs: Mapping[str, Array], folder: Path, constants: Constants) -> list[str]:
        arguments = ["--"]
        for name, value in reader.from_sample(inputs).items():
            if isinstance(value, np.ndarray):
                np.save(folder / f"{name}.npy", value)
                value = folder / f"{name}.npy"
            arguments.append(f"{name}={value}")
        return arguments

    def opened(item: Any) -> dict[str, Any]:
        if not isinstance(item, Mapping) or set(item) != set(reader.names):
            return reader.checked(item, reader.names)  # which says why not
        return {name: reader.value(name, item[name]) for name in reader.names}

    def read(constants: Constants) -> Reader:
        names = [given.name for given in reader.signature.inputs]
        return lambda items, options: reader.encode_inputs([reader.checked(item, names) for item in items], options)

    return InputKind(
        name="arrays",
        add_arguments=add_arguments,
        from_arguments=from_arguments,
        from_sample=reader.from_sample,
        sample_files=sample_files,
        reader=read,
        columns=tuple(reader.names),
        suffixes=reader.suffixes,
        from_row=lambda row: {name: reader.value(name, row[name]) for name in reader.names},
        read=opened,
        forms={name: reader.form(name) for name in reader.names},
        check=lambda constants: reader.check,
    )
