"""`perceiver run` for masked bytes and for classification of text."""

from __future__ import annotations

import argparse
import dataclasses
import sys
import time
from typing import Any, TextIO

from perceiver_runtime.commands.arguments import load_for, positive
from perceiver_runtime.errors import InputError, UsageError
from perceiver_runtime.manifest import Manifest


def add_arguments(parser: argparse.ArgumentParser, manifest: Manifest) -> None:
    """What follows the bundle."""
    parser.add_argument("texts", nargs="+", metavar="TEXT", help="a text; several are one batch; - reads lines from stdin")
    parser.add_argument("--top-k", type=positive, default=5, metavar="N", help="how many answers to print (default: 5)")
    parser.add_argument("--truncate", action="store_true", help="cut a text that is longer than the model takes")


def add_mask_arguments(parser: argparse.ArgumentParser, manifest: Manifest) -> None:
    """The same, and how masked bytes are found."""
    add_arguments(parser, manifest)
    help_text = "find bytes one after the other, keeping the likeliest N texts: better words, a run per byte"
    parser.add_argument("--beams", type=positive, metavar="N", help=help_text)


def add_pair_arguments(parser: argparse.ArgumentParser, manifest: Manifest) -> None:
    """The same, and a second text."""
    add_arguments(parser, manifest)
    parser.add_argument("--pair", metavar="TEXT", help="a second text, for models trained on pairs")
    add_plain(parser, "; lines from stdin always are")


def add_plain(parser: argparse.ArgumentParser, besides: str = "") -> None:
    """--plain."""
    help_text = f"read [MASK], [SEP] and the like as ordinary text{besides}"
    parser.add_argument("--plain", action="store_true", help=help_text)


def fill_mask(arguments: argparse.Namespace) -> dict[str, object]:
    """Candidates for each masked span of each text."""
    texts = _texts(arguments)
    start = time.perf_counter()
    with load_for(arguments, "fill-mask") as mlm:
        loaded = time.perf_counter() - start
        found = mlm(texts, top_k=arguments.top_k, beams=arguments.beams, truncate=arguments.truncate)
        results = [{"text": text, "spans": [dataclasses.asdict(span) for span in spans]} for text, spans in zip(texts, found)]
        return {"provider": mlm.provider, "results": results, "seconds": {"load": loaded, **mlm.timing.seconds()}}


def classify(arguments: argparse.Namespace) -> dict[str, object]:
    """Labels of each text."""
    texts: list[Any] = list(_texts(arguments))
    if arguments.pair is not None and len(texts) != 1:
        raise UsageError(f"--pair goes with one text, found {len(texts)}")
    items = [(texts[0], arguments.pair)] if arguments.pair is not None else texts
    start = time.perf_counter()
    with load_for(arguments, "text-classification") as classifier:
        loaded = time.perf_counter() - start
        plain = arguments.plain or _from_stdin(arguments)
        found = classifier(items, top_k=arguments.top_k, truncate=arguments.truncate, plain=plain)
        results = [
            {"input": text, "labels": [dataclasses.asdict(label) for label in labels]} for text, labels in zip(texts, found)
        ]
        return {"provider": classifier.provider, "results": results, "seconds": {"load": loaded, **classifier.timing.seconds()}}


def _from_stdin(arguments: argparse.Namespace) -> bool:
    return arguments.texts == ["-"] and not arguments.sample


def _texts(arguments: argparse.Namespace) -> list[str]:
    return read_lines(sys.stdin) if _from_stdin(arguments) else list(arguments.texts)


def read_lines(stream: TextIO | None) -> list[str]:
    r"""The lines of standard input, UTF-8 whatever the locale, ended by ``\n`` or ``\r\n`` alone. Raises `InputError`."""
    if stream is None or stream.closed:
        raise InputError("standard input is closed: give texts, or lines on standard input")
    content = stream.buffer.read() if hasattr(stream, "buffer") else stream.read().encode("utf-8")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise InputError(f"line {line} of standard input is not UTF-8: convert it, as iconv does") from error
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    if not lines[-1]:
        lines.pop()
    if not lines or "" in lines:
        where = f"line {lines.index('') + 1} of standard input" if lines else "standard input"
        raise InputError(f"{where} is empty: give a text a line")
    return lines


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
