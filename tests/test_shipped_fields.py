"""The shipped token classifier finds fields: its card's figures, on held-out templates and on texts typed by hand.

held_out_fields.csv is written by the recipe with `--write-held-out`; its words and glosses are WordNet's (WORDNET_LICENSE).
typed_fields.txt was written for this test: a text a line, fields as `perceiver run` marks them.
"""

import csv
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import perceiver_runtime as pr
from perceiver_io import SHIPPED, load_checkpoint
from perceiver_runtime.commands.main import main
from perceiver_runtime.tasks.metrics.parts import SpanScore

DATA = Path(__file__).parent / "data"
HELD_OUT = DATA / "held_out_fields.csv"
LABELS = ["AMOUNT", "DATE", "EMAIL", "PHONE", "TIME", "UNIT", "URL"]
MARK = re.compile(rf"\[([^\]]+)\]\(({'|'.join(LABELS)})\)")
Truth = set[tuple[int, int, str]]


class Text(NamedTuple):
    """A text and its spans: first character, the one after the last, label."""

    text: str
    truth: Truth


def unmarked(line: str) -> Text:
    """A text whose fields are marked."""
    text, truth, done = "", set(), 0
    for match in MARK.finditer(line):
        text += line[done : match.start()]
        truth.add((len(text), len(text) + len(match[1]), match[2]))
        text, done = text + match[1], match.end()
    return Text(text + line[done:], truth)


def held_out() -> list[Text]:
    """The committed texts of held-out templates."""
    with HELD_OUT.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return [
        Text(row["text"], {(each["start"], each["end"], each["label"]) for each in json.loads(row["spans"])}) for row in rows
    ]


TYPED = [unmarked(line) for line in (DATA / "typed_fields.txt").read_text(encoding="utf-8").splitlines()]


def f1(label: Any, texts: Sequence[Text], shift: int = 0) -> float:
    """Of spans exactly as they should be, moved by `shift` characters."""
    score = SpanScore(LABELS)
    for each, spans in zip(texts, label([each.text for each in texts])):
        score.add(spans, {(max(0, start + shift), max(1, end + shift), name) for start, end, name in each.truth})
    return float(score.result()["f1"])


def test_the_held_out_texts_are_what_they_say() -> None:
    """Their spans lie in their texts; all labels are there often; the same line is never in both kinds of templates."""
    examples = held_out()
    counts = {label: sum(name == label for each in examples for _, _, name in each.truth) for label in LABELS}
    assert min(counts.values()) > 30
    assert all(each.text[start:end].strip() for each in examples for start, end, _ in each.truth)
    assert unmarked("a [5 pm](TIME)!") == Text("a 5 pm!", {(2, 6, "TIME")})


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_held_out_templates(
    precision: Any, shipped: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The card's figure in each precision, as `perceiver evaluate` says it; spans moved by one are wrong."""
    bundle = shipped("token-classification", precision=precision)
    assert main(["evaluate", str(bundle), str(HELD_OUT), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["f1"] >= 0.93
    with pr.load(bundle, task="token-classification", device="cpu") as label:
        assert f1(label, held_out()[::4], shift=-1) < 0.1


def test_typed_by_hand(shipped: Callable[..., Path]) -> None:
    """Several languages' punctuation and emoji: fields are found, and offsets are those of the text."""
    with pr.load(shipped("token-classification"), task="token-classification", device="cpu") as label:
        assert f1(label, TYPED) >= 0.9
        assert f1(label, TYPED, shift=-1) < 0.1
        for each, spans in zip(TYPED, label([each.text for each in TYPED])):
            for span in spans:
                assert span.text == each.text[span.start : span.end]
                assert span.text.encode() == each.text.encode()[span.start_byte : span.end_byte]


def test_nothing_and_much(shipped: Callable[..., Path]) -> None:
    """An empty text is refused; one of many windows has the same fields wherever they stand."""
    line = "Mail anna@example.com before 14:30 on 3 May 2026, 🙂 or wait in the hall with the others. "
    with pr.load(shipped("token-classification"), task="token-classification", device="cpu") as label:
        with pytest.raises(pr.InputError, match="the text is empty"):
            label("")
        (alone,) = label([line])
        many = label(line * 40)
        wanted = {(span.start + len(line) * place, span.label) for span in alone for place in range(40)}
        assert [span.label for span in alone] == ["EMAIL", "TIME", "DATE"]
        assert len(wanted & {(span.start, span.label) for span in many}) >= 0.95 * len(wanted)
        assert all(span.text == (line * 40)[span.start : span.end] for span in many)
        assert label("nothing of the kind here") == []


def test_it_is_small() -> None:
    folder = SHIPPED["fields-small"]
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) < 4e6
    assert load_checkpoint("fields-small").config.labels[1:] == ("DATE", "TIME", "AMOUNT", "UNIT", "EMAIL", "PHONE", "URL")
