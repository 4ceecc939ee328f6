"""`perceiver run` for question answering."""

from __future__ import annotations

import argparse
import sys
import time
from typing import Any

from perceiver_runtime.bundle.manifest import Manifest
from perceiver_runtime.common.errors import InputError
from perceiver_runtime.tasks.arguments import positive
from perceiver_runtime.tasks.kinds.question import QUESTION
from perceiver_runtime.tasks.question_answering.pipeline import TextAnswers
from perceiver_runtime.tasks.task import Load
from perceiver_runtime.tasks.text_commands import seconds


def add_arguments(parser: argparse.ArgumentParser, manifest: Manifest) -> None:
    """What follows the bundle."""
    QUESTION.add_arguments(parser, manifest.processor)
    add_options(parser)


def add_options(parser: argparse.ArgumentParser) -> None:
    """--top-k, --allow-none, --max-answer and --overlap."""
    parser.add_argument("--top-k", type=positive, default=1, metavar="N", help="how many answers to print (default: 1)")
    parser.add_argument("--allow-none", action="store_true", help="no answer is one too, for models trained on such questions")
    parser.add_argument("--max-answer", type=positive, metavar="N", help="the longest answer in bytes (default: the bundle's)")
    help_text = "bytes shared by windows over long texts (default: the longest answer)"
    parser.add_argument("--overlap", type=int, metavar="N", help=help_text)


def options(arguments: argparse.Namespace) -> dict[str, Any]:
    """The same, for the pipeline."""
    return {name: getattr(arguments, name) for name in ("top_k", "allow_none", "max_answer", "overlap")}


def run(arguments: argparse.Namespace, load: Load) -> dict[str, object]:
    """The answers to one question."""
    text = _whole(arguments.text)
    start = time.perf_counter()
    with load() as ask:
        loaded = time.perf_counter() - start
        answers: TextAnswers = ask(arguments.question, text, **options(arguments))
        return {
            "provider": ask.provider,
            "question": arguments.question,
            "marked": _marked(text, answers),
            **answers.to_dict(),
            "seconds": {"load": loaded, **ask.timing.seconds()},
        }


def _whole(text: str) -> str:
    """The text, or with - all of standard input."""
    if text != "-":
        return text
    stream: Any = sys.stdin
    if stream is None or stream.closed:
        raise InputError("standard input is closed: give a text")
    content = stream.buffer.read() if hasattr(stream, "buffer") else stream.read().encode("utf-8", "surrogatepass")
    try:
        return str(content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise InputError("standard input is not UTF-8: convert it, as iconv does") from error


def _marked(text: str, answers: TextAnswers, around: int = 60) -> str:
    """The best answer in brackets, with what stands around it."""
    if not answers or not answers[0].text:
        return "no answer"
    best = answers[0]
    before, after = text[max(0, best.start - around) : best.start], text[best.end : best.end + around]
    return f"{'…' if best.start > around else ''}{before}[{best.text}]{after}{'…' if best.end + around < len(text) else ''}"


def render(result: dict[str, Any]) -> str:
    """The same for people."""
    lines = [result["marked"]]
    for each in result["answers"]:
        lines.append(f"  {each['score']:8.3g}  {each['start']}:{each['end']}  {each['text'] or '(none)'}")
    return "\n".join([*lines, seconds(result)])
