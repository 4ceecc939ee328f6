"""`perceiver run` for masked bytes and for classification of text."""

from __future__ import annotations

import argparse
import codecs
import sys
import time
from functools import partial
from typing import Any, TextIO

from perceiver_runtime.bundle.manifest import Manifest
from perceiver_runtime.common.errors import InputError, UsageError
from perceiver_runtime.tasks.arguments import add_plain, positive
from perceiver_runtime.tasks.labels import LabelScores
from perceiver_runtime.tasks.several import Item, answered, attempt, results
from perceiver_runtime.tasks.task import Load


def add_arguments(parser: argparse.ArgumentParser, manifest: Manifest) -> None:
    """What follows the bundle."""
    parser.add_argument("texts", nargs="+", metavar="TEXT", help="a text; several are one batch; - reads lines from stdin")
    add_text_options(parser)


def add_text_options(parser: argparse.ArgumentParser) -> None:
    """--top-k and --truncate."""
    parser.add_argument("--top-k", type=positive, default=5, metavar="N", help="how many answers to print (default: 5)")
    parser.add_argument("--truncate", action="store_true", help="cut a text that is longer than the model takes")


def add_mask_arguments(parser: argparse.ArgumentParser, manifest: Manifest) -> None:
    """The same, and how masked bytes are found."""
    add_arguments(parser, manifest)
    add_beams(parser)


def add_mask_options(parser: argparse.ArgumentParser) -> None:
    """--top-k, --truncate and --beams."""
    add_text_options(parser)
    add_beams(parser)


def mask_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """The same, for the pipeline."""
    return {"top_k": arguments.top_k, "beams": arguments.beams, "truncate": arguments.truncate}


def add_class_options(parser: argparse.ArgumentParser) -> None:
    """--top-k, --truncate and --plain."""
    add_text_options(parser)
    add_plain(parser, "; lines always are")


def class_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """--top-k and --truncate, for the pipeline."""
    return {"top_k": arguments.top_k, "truncate": arguments.truncate}


def add_beams(parser: argparse.ArgumentParser) -> None:
    """--beams."""
    help_text = "find bytes one after the other, keeping the likeliest N texts: better words, a run per byte"
    parser.add_argument("--beams", type=positive, metavar="N", help=help_text)


def add_pair_arguments(parser: argparse.ArgumentParser, manifest: Manifest) -> None:
    """The same, and a second text."""
    add_arguments(parser, manifest)
    parser.add_argument("--pair", metavar="TEXT", help="a second text, for models trained on pairs")
    add_plain(parser, "; lines from stdin always are")


def fill_mask(arguments: argparse.Namespace, load: Load) -> dict[str, object]:
    """Candidates for each masked span of each text."""
    texts = texts_of(arguments)
    start = time.perf_counter()
    with load() as mlm:
        loaded = time.perf_counter() - start
        done = results(
            answered(texts, partial(mlm, **mask_options(arguments))),
            lambda item, spans: {"text": item.value, **spans.to_dict()},
        )
        return {"provider": mlm.provider, **done, "seconds": {"load": loaded, **mlm.timing.seconds()}}


def classify(arguments: argparse.Namespace, load: Load) -> dict[str, object]:
    """Labels of each text."""
    texts = texts_of(arguments)
    if arguments.pair is not None:
        if len(texts) != 1:
            raise UsageError(f"--pair goes with one text, found {len(texts)}")
        texts = [
            item if isinstance(item.value, InputError) else Item(item.name, (item.value, arguments.pair)) for item in texts
        ]
    start = time.perf_counter()
    with load() as classifier:
        loaded = time.perf_counter() - start
        plain = arguments.plain or _from_stdin(arguments)
        done = results(answered(texts, partial(classifier, **class_options(arguments), plain=plain)), _labelled)
        return {"provider": classifier.provider, **done, "seconds": {"load": loaded, **classifier.timing.seconds()}}


def _labelled(item: Item, labels: LabelScores) -> dict[str, object]:
    text = item.value[0] if isinstance(item.value, tuple) else item.value
    return {"input": text, **labels.to_dict()}


def _from_stdin(arguments: argparse.Namespace) -> bool:
    return arguments.texts == ["-"] and not arguments.sample


def texts_of(arguments: argparse.Namespace) -> list[Item]:
    """The texts of a command line, or the lines of standard input."""
    if _from_stdin(arguments):
        return read_lines(sys.stdin)
    count = len(arguments.texts)
    return [Item(f"text {number} of {count}" if count > 1 else "", text) for number, text in enumerate(arguments.texts, 1)]


def read_lines(stream: TextIO | None) -> list[Item]:
    r"""The lines of standard input, UTF-8 whatever the locale, ended by ``\n`` or ``\r\n`` alone.

    Raises `InputError` where there are none; a line that is no text has one as its value.
    """
    if stream is None or stream.closed:
        raise InputError("standard input is closed: give texts, or lines on standard input")
    content = stream.buffer.read() if hasattr(stream, "buffer") else stream.read().encode("utf-8", "surrogatepass")
    lines = content.removeprefix(codecs.BOM_UTF8).split(b"\n")
    if not lines[-1]:
        lines.pop()
    if not lines:
        raise InputError("standard input is empty: give a text a line")
    named = ((f"line {number} of standard input", line) for number, line in enumerate(lines, 1))
    return [Item(name, attempt(partial(_line, name, line))) for name, line in named]


def _line(name: str, line: bytes) -> str:
    try:
        text = line.removesuffix(b"\r").decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{name} is not UTF-8: convert it, as iconv does") from error
    if not text:
        raise InputError(f"{name} is empty: give a text a line")
    return text


def render_spans(result: dict[str, Any]) -> str:
    """Masked spans for people."""
    lines = []
    for each in result["results"]:
        lines.append(each["text"])
        for span in each["spans"]:
            lines.append(f"  bytes {span['start']} to {span['end'] - 1}:")
            lines += [f"    {candidate['probability']:8.3g}  '{candidate['text']}'" for candidate in span["candidates"]]
    return "\n".join([*lines, seconds(result)])


def render_labels(result: dict[str, Any]) -> str:
    """Labels for people."""
    lines = []
    for each in result["results"]:
        lines.append(each["input"])
        lines += [f"  {label['probability']:8.3g}  {label['label']}" for label in each["labels"]]
    return "\n".join([*lines, seconds(result)])


def seconds(result: dict[str, Any]) -> str:
    """Where it ran, and how long each stage took."""
    stages = ", ".join(f"{stage} {value:.3f}" for stage, value in result["seconds"].items())
    return f"on {result['provider']}, seconds: {stages}"
