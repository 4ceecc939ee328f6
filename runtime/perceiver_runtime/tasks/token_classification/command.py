"""`perceiver run` for token classification."""

from __future__ import annotations

import argparse
import time
from functools import partial
from typing import Any

from perceiver_runtime.bundle.manifest import Manifest
from perceiver_runtime.processing.heads.token_labels import AGGREGATIONS
from perceiver_runtime.tasks.several import Item, answered, results
from perceiver_runtime.tasks.task import Load
from perceiver_runtime.tasks.text_commands import seconds, texts_of
from perceiver_runtime.tasks.token_classification.pipeline import TextSpans


def add_arguments(parser: argparse.ArgumentParser, manifest: Manifest) -> None:
    """What follows the bundle."""
    parser.add_argument("texts", nargs="+", metavar="TEXT", help="a text; several are one batch; - reads lines from stdin")
    add_options(parser)


def add_options(parser: argparse.ArgumentParser) -> None:
    """--aggregation, --threshold and --overlap."""
    help_text = (
        "what has one label: characters (simple; viterbi, where changes cost something), or words by their first character, "
        "the mean or the surest one (default: the bundle's own)"
    )
    parser.add_argument("--aggregation", choices=list(AGGREGATIONS), help=help_text)
    parser.add_argument("--threshold", type=float, default=0.0, metavar="P", help="the least score of a span (default: 0)")
    parser.add_argument(
        "--overlap", type=int, metavar="N", help="bytes that windows over long texts share (default: a quarter)"
    )


def options(arguments: argparse.Namespace) -> dict[str, Any]:
    """The same, for the pipeline."""
    return {name: getattr(arguments, name) for name in ("aggregation", "threshold", "overlap")}


def run(arguments: argparse.Namespace, load: Load) -> dict[str, object]:
    """The spans of each text."""
    texts = texts_of(arguments)
    start = time.perf_counter()
    with load() as label:
        loaded = time.perf_counter() - start
        done = results(answered(texts, partial(label, **options(arguments))), _described)
        return {"provider": label.provider, **done, "seconds": {"load": loaded, **label.timing.seconds()}}


def _described(item: Item, spans: TextSpans) -> dict[str, object]:
    return {"text": item.value, "marked": marked(item.value, spans), **spans.to_dict()}


def marked(text: str, spans: TextSpans) -> str:
    """The text with its spans in brackets, each followed by its label: `[Anna](PER) lives in [Berlin](LOC)`."""
    pieces, done = [], 0
    for span in spans:
        pieces += [text[done : span.start], f"[{span.text}]({span.label})"]
        done = span.end
    return "".join([*pieces, text[done:]])


def render(result: dict[str, Any]) -> str:
    """The same for people."""
    lines = []
    for each in result["results"]:
        lines.append(each["marked"])
        lines += [
            f"  {span['score']:8.3g}  {span['label']}  {span['start']}:{span['end']}  {span['text']}" for span in each["spans"]
        ]
    return "\n".join([*lines, seconds(result)])
