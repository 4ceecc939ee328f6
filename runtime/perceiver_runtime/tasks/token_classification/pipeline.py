"""Token classification on a device: texts in, labelled spans out."""

from __future__ import annotations

import html
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np

from perceiver_runtime.bundle.reader import Bundle
from perceiver_runtime.common.arrays import Array
from perceiver_runtime.common.errors import InputError, IntegrityError
from perceiver_runtime.common.plain import Record, html_mark, html_text
from perceiver_runtime.processing import tokenizer
from perceiver_runtime.processing.heads.text_windows import Window, most_context, windows
from perceiver_runtime.processing.heads.token_labels import AGGREGATIONS, SCHEMES, TokenScheme, byte_offsets
from perceiver_runtime.processing.text import TextProcessor, from_bytes
from perceiver_runtime.processing.vocabulary import FIRST_BYTE
from perceiver_runtime.tasks.calls import whole_call
from perceiver_runtime.tasks.kinds.text import TEXT
from perceiver_runtime.tasks.labels import softmax
from perceiver_runtime.tasks.one_pass import OnePassPipeline, answer_record, label_names
from perceiver_runtime.tasks.pipeline import Floats, RuntimeOptions


@dataclass(frozen=True)
class TextSpan(Record):
    """A labelled part of a text: text[start:end], bytes start_byte to before end_byte of its UTF-8.

    `score` is the mean probability of what was merged.
    """

    label: str
    text: str
    start: int
    end: int
    start_byte: int
    end_byte: int
    score: float


class TextSpans(list[TextSpan]):
    """Spans of `text` in its order: a list, which notebooks show in the text, coloured the stronger the surer."""

    def __init__(self, spans: Iterable[TextSpan], text: str) -> None:
        super().__init__(spans)
        self.text = text

    def to_dict(self) -> dict[str, Any]:
        """`spans`, a list of the fields of each."""
        return {"spans": [span.to_dict() for span in self]}

    def _repr_html_(self) -> str:
        parts, done = [], 0
        for span in self:
            mark = html_mark(span.text, span.score, f"{span.label} {span.score:.3g}")
            parts += [html.escape(self.text[done : span.start]), mark, f"<sub>{html.escape(span.label)}</sub>"]
            done = span.end
        return html_text([*parts, html.escape(self.text[done:])])


@dataclass(frozen=True)
class _Answer:
    scheme: str
    outside: str | None
    aggregation: str = "simple"


class TokenClassificationPipeline(OnePassPipeline):
    """Labelled spans of texts.

    >>> label = perceiver_runtime.load("ner")
    >>> label("Anna lives in Berlin")
    [TextSpan(label='PER', text='Anna', start=0, end=4, start_byte=0, end_byte=4, score=0.98), …]
    """

    def __init__(self, bundle: Bundle, runtime_options: RuntimeOptions) -> None:
        self.processor = TextProcessor.from_json(bundle.manifest.processor)
        found = answer_record(_Answer, bundle.manifest)
        if found.scheme not in SCHEMES:
            raise IntegrityError(f"the manifest's scheme of labels is {found.scheme[:40]!r}: upgrade perceiver-runtime")
        if found.aggregation not in AGGREGATIONS:
            raise IntegrityError(f"the manifest's aggregation is {found.aggregation[:40]!r}: upgrade perceiver-runtime")
        self.aggregation = found.aggregation
        self.scheme = TokenScheme(label_names(bundle), found.scheme, found.outside)
        super().__init__(bundle, runtime_options)

    @overload
    def __call__(
        self, texts: str, *, aggregation: str | None = None, threshold: float = 0.0, overlap: int | None = None
    ) -> TextSpans: ...

    @overload
    def __call__(
        self,
        texts: list[str] | Iterator[str],
        *,
        aggregation: str | None = None,
        threshold: float = 0.0,
        overlap: int | None = None,
    ) -> list[TextSpans]: ...

    def __call__(
        self,
        texts: str | list[str] | Iterator[str],
        *,
        aggregation: str | None = None,
        threshold: float = 0.0,
        overlap: int | None = None,
    ) -> TextSpans | list[TextSpans]:
        """The spans of a text, or of each of a list or a generator, whose score is at least `threshold`.

        `aggregation` is that of transformers: `simple` merges neighbouring characters, `first`, `average` and `max` first give
        each word one label; or `viterbi`, the likeliest labels where each change of label costs something, so that single
        characters seldom differ from those around them (None: the bundle's own, usually `simple`). A text longer than the
        model takes is read in windows that share `overlap` bytes (default: a quarter); each byte counts where most of the text
        around it is seen. Texts are plain: `[MASK]` is six characters. Raises `InputError`.
        """
        items, many = TEXT.items(texts)
        scores = self._probabilities(items, overlap)
        with self.timing.stage("postprocess"):
            found = [self._spans(text, each, aggregation or self.aggregation, threshold) for text, each in zip(items, scores)]
        return found if many else found[0]

    @whole_call
    def probabilities(self, text: str, *, overlap: int | None = None) -> Floats:
        """What the spans are made of: float32 (bytes, labels), in the order of `scheme.names`."""
        return self._probabilities([text], overlap)[0]

    def known_answer(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Inputs `text`; output `logits` (positions, labels), `[CLS]` and `[SEP]` among them."""
        ids = self.processor.encode(from_bytes(inputs["text"]), truncate=False, plain=True)
        return {"logits": self._batch([ids])[0]}

    def _spans(self, text: str, probabilities: Floats, aggregation: str, threshold: float) -> TextSpans:
        places = byte_offsets(text)
        spans = (
            TextSpan(label, text[start:end], start, end, int(places[start]), int(places[end]), score)
            for start, end, label, score in self.scheme.spans(text, probabilities, aggregation)
            if score >= threshold
        )
        return TextSpans(spans, text)

    def _probabilities(self, texts: Sequence[str], overlap: int | None) -> list[Floats]:
        with self.timing.stage("preprocess"):
            contents = [self._content(text, number, len(texts)) for number, text in enumerate(texts, 1)]
            if not contents:
                raise InputError("the list of texts is empty: give at least one")
            parts = [windows(content, self.processor.max_length - 2, overlap) for content in contents]
            rows = [_row(content, part) for content, own in zip(contents, parts) for part in own]
        logits = iter([each for batch in self.batches(rows) for each in self._logits(batch)])
        return [softmax(_joined(len(content), own, [next(logits) for _ in own])) for content, own in zip(contents, parts)]

    def _content(self, text: Any, number: int, count: int) -> bytes:
        try:
            ids = self.processor.tokenize(text, plain=True)
            if not ids:
                raise InputError("the text is empty: give at least one character")
        except InputError as error:
            raise error if count == 1 else InputError(f"text {number} of {count}: {error}") from error
        return str(text).encode()

    def _logits(self, rows: Sequence[Sequence[int]]) -> list[Floats]:
        """Of each row, (tokens, labels)."""
        return [own[: len(row)] for own, row in zip(self._batch(rows), rows)]

    def _batch(self, rows: Sequence[Sequence[int]]) -> Floats:
        """Of all rows, (B, positions, labels): as many as the longest row has tokens, or as the model has."""
        with self.timing.stage("preprocess"):
            input_ids, attention_mask = tokenizer.pad(rows)
        shape = (len(rows), None, len(self.scheme.names))
        return self.answer({"input_ids": input_ids, "attention_mask": attention_mask}, logits=shape)["logits"]


def _row(content: bytes, part: Window) -> list[int]:
    inside = content[part.start : part.stop]
    return [tokenizer.CLS, *(byte + FIRST_BYTE for byte in inside), tokenizer.SEP]


def _joined(length: int, parts: Sequence[Window], logits: Sequence[Floats]) -> Floats:
    """The logits of all bytes, each of the window that sees most around it."""
    chosen = most_context(length, parts)
    found = np.empty((length, logits[0].shape[1]), np.float32)
    for number, (part, own) in enumerate(zip(parts, logits)):
        mine = np.flatnonzero(chosen == number)
        found[mine] = own[1 + mine - part.start]
    return found
