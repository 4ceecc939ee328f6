"""The record of a kind of input."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from perceiver_runtime.common.arrays import Array
from perceiver_runtime.files.sources import several

Constants = Mapping[str, Any]  # `Manifest.processor`
Inputs = dict[str, Array]  # of a graph
Row = Mapping[str, Any]  # of a table
TextOptions = Mapping[str, bool]  # truncate and plain, of `TextProcessor.batch`
Reader = Callable[[list[Any], TextOptions], Inputs]
Form = Literal["text", "bytes", "path"]  # how `from_row` is given what a client sends for a column
InputsCheck = Callable[[Mapping[str, Array]], None]


def unchecked(constants: Constants) -> InputsCheck:
    """For kinds whose graphs take any numbers."""
    return lambda inputs: None


@dataclass(frozen=True)
class InputKind:
    """A kind of input. An item is what a pipeline is called with: a str, an array, a tuple of two.

    `add_arguments` puts what names items on the parser of `perceiver run`, `from_arguments` reads them. `from_sample` makes the
    item of a bundle's known answer, `sample_files` writes it into a folder and returns the arguments that name it. A table
    must have `columns`, and may have `optional` ones, of which `from_row` makes an item (None: tables cannot hold this kind);
    where an item is of files, `suffixes` are what their names end in, and of a folder's files `consecutive` ones make an
    item. `reader` makes of the manifest's constants what turns a batch of items, and options for texts, into the inputs of
    `encode`.

    `read` makes an item of texts and arrays alone of one as people have it: it opens files. An item that is an array has `axes`
    axes (0: any); with one more it is several. Where an item may be a tuple, `tuples` is off and a tuple is never several.

    For servers, `forms` says of each column how a value that a client sent is given to `from_row`: as a `text`, as the
    `bytes` of a file, or as the `path` of a file that was written with them (where it is not said). `check` makes of the
    manifest's constants what raises `InputError` for inputs of `encode` that `reader` never makes, such as bytes for ids.
    """

    name: str
    add_arguments: Callable[[argparse.ArgumentParser, Constants], None]
    from_arguments: Callable[[argparse.Namespace, Constants], list[Any]]
    from_sample: Callable[[Mapping[str, Array]], Any]
    sample_files: Callable[[Mapping[str, Array], Path, Constants], list[str]]
    reader: Callable[[Constants], Reader]
    columns: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    suffixes: tuple[str, ...] = ()
    consecutive: bool = False
    from_row: Callable[[Row], Any] | None = None
    read: Callable[[Any], Any] = lambda item: item
    axes: int = 0
    tuples: bool = True
    forms: Mapping[str, Form] = field(default_factory=dict)
    check: Callable[[Constants], InputsCheck] = unchecked

    def items(self, value: Any) -> tuple[list[Any], bool]:
        """The items in what a pipeline is called with, and whether it is several: a list, a generator, a stack of arrays.

        Raises `InputError` for a tensor that numpy cannot convert.
        """
        found = several(value, axes=self.axes, tuples=self.tuples)
        return ([value], False) if found is None else (found, True)


def array_files(*names: str) -> Callable[[Mapping[str, Array], Path, Constants], list[str]]:
    """`sample_files` of kinds whose items are arrays: a `.npy` file each."""

    def write(inputs: Mapping[str, Array], folder: Path, constants: Constants) -> list[str]:
        for name in names:
            np.save(folder / f"{name}.npy", inputs[name])
        return ["--", *(str(folder / f"{name}.npy") for name in names)]

    return write
