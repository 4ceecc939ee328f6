"""Questions: a tuple of a question and the text that has the answer."""

from __future__ import annotations

import argparse
from typing import Any

from perceiver_runtime.processing.text import from_bytes
from perceiver_runtime.tasks.kinds.frames import pair_of
from perceiver_runtime.tasks.kinds.kind import Constants, InputKind
from perceiver_runtime.tasks.kinds.text import TEXT, text_of


def _add_arguments(parser: argparse.ArgumentParser, constants: Constants) -> None:
    parser.add_argument("question", metavar="QUESTION", help="a question")
    parser.add_argument("text", metavar="TEXT", help="the text that has the answer; - reads it from standard input")


def _read(item: Any) -> tuple[Any, Any]:
    return pair_of(item, "a question and a text")


QUESTION = InputKind(
    name="question",
    add_arguments=_add_arguments,
    from_arguments=lambda arguments, constants: [(arguments.question, arguments.text)],
    from_sample=lambda inputs: (from_bytes(inputs["question"]), from_bytes(inputs["text"])),
    sample_files=lambda inputs, folder, constants: ["--", from_bytes(inputs["question"]), from_bytes(inputs["text"])],
    reader=TEXT.reader,
    columns=("question", "text"),
    from_row=lambda row: (text_of(row, "question"), text_of(row, "text")),
    read=_read,
    tuples=False,
    forms={"question": "text", "text": "text"},
    check=TEXT.check,
)
