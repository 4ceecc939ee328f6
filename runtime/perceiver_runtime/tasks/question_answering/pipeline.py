"""Question answering on a device: a question and a text in, parts of the text out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, overload

from perceiver_runtime.bundle.reader import Bundle
from perceiver_runtime.common.amounts import whole_number
from perceiver_runtime.common.arrays import Array
from perceiver_runtime.common.errors import InputError, IntegrityError
from perceiver_runtime.common.plain import Record, html_table
from perceiver_runtime.processing import tokenizer
from perceiver_runtime.processing.heads.answers import Candidate, best_answers, merged
from perceiver_runtime.processing.heads.text_windows import Window, windows
from perceiver_runtime.processing.heads.token_labels import byte_offsets
from perceiver_runtime.processing.text import TextProcessor, from_bytes
from perceiver_runtime.processing.vocabulary import FIRST_BYTE
from perceiver_runtime.tasks.kinds.question import QUESTION
from perceiver_runtime.tasks.one_pass import OnePassPipeline, answer_record
from perceiver_runtime.tasks.pipeline import Floats, RuntimeOptions


@dataclass(frozen=True)
class TextAnswer(Record):
    """A part of the text, text[start:end], bytes start_byte to before end_byte of its UTF-8; empty where none is better.

    `score` is the product of the probabilities of its beginning and its end.
    """

    text: str
    start: int
    end: int
    start_byte: int
    end_byte: int
    score: float


class TextAnswers(list[TextAnswer]):
    """Answers, best first: a list, which notebooks show as a table."""

    def to_dict(self) -> dict[str, Any]:
        """`answers`, a list of the fields of each."""
        return {"answers": [answer.to_dict() for answer in self]}

    def _repr_html_(self) -> str:
        return html_table(("answer", "score", "start", "end"), ((each.text, each.score, each.start, each.end) for each in self))


@dataclass(frozen=True)
class _Answer:
    max_answer: int


class _Asked(NamedTuple):
    """A question's ids, the text and its bytes, and the windows over them."""

    question: list[int]
    text: str
    content: bytes
    windows: list[Window]

    def rows(self) -> list[list[int]]:
        """The ids of each window."""
        ids = [byte + FIRST_BYTE for byte in self.content]
        return [
            [tokenizer.CLS, *self.question, tokenizer.SEP, *ids[part.start : part.stop], tokenizer.SEP] for part in self.windows
        ]


class QuestionAnsweringPipeline(OnePassPipeline):
    """Answers in texts.

    >>> ask = perceiver_runtime.load("qa")
    >>> ask("Who lives in Berlin?", "Anna lives in Berlin, Bo in Rome.")
    [TextAnswer(text='Anna', start=0, end=4, start_byte=0, end_byte=4, score=0.8)]
    """

    def __init__(self, bundle: Bundle, runtime_options: RuntimeOptions) -> None:
        self.processor = TextProcessor.from_json(bundle.manifest.processor)
        self.max_answer = answer_record(_Answer, bundle.manifest).max_answer
        if self.max_answer < 1:
            raise IntegrityError(f"the manifest's longest answer has {self.max_answer} bytes: export the bundle again")
        super().__init__(bundle, runtime_options)

    @overload
    def __call__(
        self, question: str, text: str, *, top_k: int = 1, allow_none: bool = False, max_answer: int | None = None,
        overlap: int | None = None,
    ) -> TextAnswers: ...  # fmt: skip

    @overload
    def __call__(
        self, question: tuple[str, str], text: None = None, *, top_k: int = 1, allow_none: bool = False,
        max_answer: int | None = None, overlap: int | None = None,
    ) -> TextAnswers: ...  # fmt: skip

    @overload
    def __call__(
        self, question: list[tuple[str, str]] | Iterator[tuple[str, str]], text: None = None, *, top_k: int = 1,
        allow_none: bool = False, max_answer: int | None = None, overlap: int | None = None,
    ) -> list[TextAnswers]: ...  # fmt: skip

    def __call__(
        self, question: str | tuple[str, str] | list[tuple[str, str]] | Iterator[tuple[str, str]], text: str | None = None, *,
        top_k: int = 1, allow_none: bool = False, max_answer: int | None = None, overlap: int | None = None,
    ) -> TextAnswers | list[TextAnswers]:  # fmt: skip
        """The `top_k` best answers to a question in a text, best first; of a list or a generator of tuples
        (question, text), to each.

        With `allow_none` an empty answer is among them, for models that were trained on questions without one. An answer has at
        most `max_answer` bytes (default: the bundle's). A text longer than the model takes is read in windows that share
        `overlap` bytes (default: `max_answer`, at most half a window). Both are plain: `[MASK]` is six characters. Raises
        `InputError`.
        """
        pairs, many = QUESTION.items(question if text is None else (question, text))
        top_k = whole_number("top_k", top_k, InputError)
        longest = self.max_answer if max_answer is None else whole_number("max_answer", max_answer, InputError)
        with self.timing.stage("preprocess"):
            asked = [self._asked(pair, number, len(pairs), longest, overlap) for number, pair in enumerate(pairs, 1)]
            if not asked:
                raise InputError("the list of questions is empty: give at least one")
            rows = [row for each in asked for row in each.rows()]
        logits = iter([each for batch in self.batches(rows) for each in self._logits(batch)])
        found = []
        for each in asked:
            own = [next(logits) for _ in each.windows]
            with self.timing.stage("postprocess"):
                found.append(_answers(each, own, top_k, longest, allow_none))
        return found if many else found[0]

    def known_answer(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Inputs `question` and `text`; output `logits` (positions, 2), start and end."""
        pair = from_bytes(inputs["question"]), from_bytes(inputs["text"])
        return {"logits": self._batch([self.processor.encode(pair, truncate=False, plain=True)])[0]}

    def _asked(self, pair: Any, number: int, count: int, longest: int, overlap: int | None) -> _Asked:
        try:
            question, content = (self.processor.tokenize(each, plain=True) for each in QUESTION.read(pair))
            if not question or not content:
                raise InputError(f"the {'text' if question else 'question'} is empty: give at least one character")
            room = self.processor.max_length - 3 - len(question)
            if room < min(len(content), 16):
                raise InputError(
                    f"the question has {len(question)} bytes, which leaves {max(0, room)} of the model's "
                    f"{self.processor.max_length} for the text: shorten it"
                )
            text = str(pair[1])
            shared = min(longest, room // 2) if overlap is None else overlap
            return _Asked(question, text, text.encode(), windows(text.encode(), room, shared))
        except InputError as error:
            raise error if count == 1 else InputError(f"question {number} of {count}: {error}") from error

    def _logits(self, rows: Sequence[Sequence[int]]) -> list[Floats]:
        """Of each row, (tokens, 2)."""
        return [own[: len(row)] for own, row in zip(self._batch(rows), rows)]

    def _batch(self, rows: Sequence[Sequence[int]]) -> Floats:
        """Of all rows, (B, positions, 2): as many as the longest row has tokens, or as the model has."""
        with self.timing.stage("preprocess"):
            input_ids, attention_mask = tokenizer.pad(rows)
        shape = (len(rows), None, 2)
        return self.answer({"input_ids": input_ids, "attention_mask": attention_mask}, logits=shape)["logits"]


def _answers(asked: _Asked, logits: Sequence[Floats], top_k: int, longest: int, allow_none: bool) -> TextAnswers:
    first = 2 + len(asked.question)
    parts = []
    for part, own in zip(asked.windows, logits):
        content = asked.content[part.start : part.stop]
        parts.append((part.start, best_answers(own[first : first + len(content)], own[0], content, top_k, longest)))
    found = merged(parts, top_k)
    best = [*found.best, *([Candidate(0, 0, found.none)] if allow_none else [])]
    places = {int(byte): place for place, byte in enumerate(byte_offsets(asked.text))}
    return TextAnswers(
        TextAnswer(asked.text[places[start] : places[end]], places[start], places[end], start, end, score)
        for start, end, score in sorted(best, key=lambda each: -each.score)[:top_k]
    )


def answer_rows(pipeline: QuestionAnsweringPipeline, items: list[Any], **options: Any) -> list[dict[str, Any]]:
    """The best answer to each item."""
    rows = []
    for found in pipeline(items, **{**options, "top_k": 1}):
        best = found[0] if found else TextAnswer("", 0, 0, 0, 0, 0.0)
        rows.append({"answer": best.text, "score": best.score, "start": best.start, "end": best.end})
    return rows
