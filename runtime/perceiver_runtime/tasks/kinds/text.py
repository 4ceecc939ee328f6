"""Texts: a str, or a tuple of two."""

from __future__ import annotations

import argparse
from typing import Any

from perceiver_runtime.common.errors import InputError
from perceiver_runtime.processing.text import TextProcessor, from_bytes
from perceiver_runtime.tasks.arguments import add_plain
from perceiver_runtime.tasks.kinds.kind import Constants, InputKind, Inputs, Reader, Row, TextOptions


def _add_arguments(parser: argparse.ArgumentParser, constants: Constants) -> None:
    parser.add_argument("inputs", nargs="+", metavar="TEXT", help="a text; several are a batch")
    add_plain(parser)


def _reader(constants: Constants) -> Reader:
    processor = TextProcessor.from_json(dict(constants))

    def read(items: list[Any], options: TextOptions) -> Inputs:
        truncate, plain = options.get("truncate", False), options.get("plain", False)
        input_ids, attention_mask = processor.batch(items, truncate=truncate, plain=plain)
        return {"input_ids": input_ids, "attention_mask": attention_mask}

    return read


def text_of(row: Row, column: str) -> str:
    """A row's text. Raises `InputError` where there is none, or something else."""
    value = row[column]
    if isinstance(value, str):
        return value
    missing = value is None or value != value  # pandas' NaN
    found = "no text: the value is missing" if missing else f"{type(value).__name__}: give texts"
    raise InputError(f"the column {column} holds {found}")


TEXT = InputKind(
    name="text",
    add_arguments=_add_arguments,
    from_arguments=lambda arguments, constants: list(arguments.inputs),
    from_sample=lambda inputs: from_bytes(inputs["text"]),
    sample_files=lambda inputs, folder, constants: ["--", from_bytes(inputs["text"])],
    reader=_reader,
    columns=("text",),
    from_row=lambda row: text_of(row, "text"),
    tuples=False,
    forms={"text": "text"},
    check=lambda constants: TextProcessor.from_json(dict(constants)).check,
)
