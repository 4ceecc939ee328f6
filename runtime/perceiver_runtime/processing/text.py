"""Texts as users give them to the text graphs' inputs."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perceiver_runtime.common.errors import InputError
from perceiver_runtime.common.records import KINDS, PROCESSOR, check_fields, record
from perceiver_runtime.processing import tokenizer
from perceiver_runtime.processing.vocabulary import BYTES, FIRST_BYTE, Vocabulary

Text = str | tuple[str, str]  # a text, or a pair
MAX_POSITIONS = 1 << 20


@dataclass(frozen=True)
class _Sizes:
    max_length: int


@dataclass(frozen=True)
class TextProcessor:
    """The constants of a text bundle's manifest, under `processor`."""

    max_length: int  # tokens, `[CLS]` and `[SEP]` among them
    vocabulary: Vocabulary = BYTES

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> TextProcessor:
        """Raises `IntegrityError` where the manifest's values make no sense."""
        sizes = {name: value for name, value in data.items() if name != "added_tokens"}
        found = record(_Sizes, sizes, PROCESSOR, ignored=KINDS)
        check_fields(PROCESSOR, max_length=4 <= found.max_length <= MAX_POSITIONS)
        return cls(found.max_length, Vocabulary.from_json(data.get("added_tokens", [])))

    def to_json(self) -> dict[str, Any]:
        """What `from_json` reads."""
        added = [dataclasses.asdict(token) for token in self.vocabulary.added]
        return {"max_length": self.max_length} | ({"added_tokens": added} if added else {})

    def tokenize(self, text: str, *, plain: bool = False) -> list[int]:
        """The ids of a text alone, see `tokenizer.tokenize`."""
        return tokenizer.tokenize(text, plain=plain, vocabulary=self.vocabulary)

    def decode(self, ids: Iterable[int]) -> str:
        """Ids to text, see `tokenizer.decode`."""
        return tokenizer.decode(ids, self.vocabulary)

    def encode(self, text: Text, *, truncate: bool, plain: bool = False) -> list[int]:
        """The ids of a text or a pair, see `tokenizer.tokenize` for `plain`. Raises `InputError`."""
        first, second = text if isinstance(text, tuple) and len(text) == 2 else (text, None)
        ids = self.tokenize(first, plain=plain)
        if not ids:
            raise InputError("the text is empty: give at least one character")
        pair = None if second is None else self.tokenize(second, plain=plain)
        return tokenizer.add_special_tokens(ids, pair, max_length=self.max_length, truncate=truncate)

    def encode_all(self, texts: Sequence[Text], *, truncate: bool, plain: bool = False) -> list[list[int]]:
        """The ids of each. Raises `InputError` that says which one is wrong, counted from 1."""
        if not texts:
            raise InputError("the list of texts is empty: give at least one")
        rows = []
        for number, text in enumerate(texts, 1):
            try:
                rows.append(self.encode(text, truncate=truncate, plain=plain))
            except InputError as error:
                raise error if len(texts) == 1 else InputError(f"text {number} of {len(texts)}: {error}") from error
        return rows

    def batch(
        self, texts: Sequence[Text], *, truncate: bool, plain: bool = False
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """input_ids and attention_mask, int64 (B, L). Raises `InputError`."""
        return tokenizer.pad(self.encode_all(texts, truncate=truncate, plain=plain))

    def check(self, inputs: Mapping[str, NDArray[Any]]) -> None:
        """Raise `InputError` for input_ids and attention_mask (B, L) that are not of texts: bytes without the 6, say."""
        for ids, mask in zip(inputs["input_ids"], inputs["attention_mask"]):
            if not _is_text(ids, mask, self.vocabulary.size):
                raise InputError(
                    f"input_ids begin with {ids[:3].tolist()}: a text is [CLS]={tokenizer.CLS}, each byte of its UTF-8 + "
                    f"{FIRST_BYTE}, [SEP]={tokenizer.SEP}, then [PAD]={tokenizer.PAD} where attention_mask is 0"
                )

    def check_positions(self, inputs: Mapping[str, NDArray[Any]]) -> None:
        """Raise `InputError` for query_positions (B, O) that the model does not have."""
        found = inputs["query_positions"]
        if found.min() < 0 or found.max() >= self.max_length:
            raise InputError(
                f"query_positions are {found.min()} to {found.max()}: give positions of a text, 0 to {self.max_length - 1}"
            )


def _is_text(ids: NDArray[Any], mask: NDArray[Any], size: int) -> bool:
    """Whether a row is `[CLS]` … `[SEP]`, then padding that its mask leaves out."""
    length = int(mask.sum())
    return (
        2 <= length <= len(ids)
        and bool((mask[:length] == 1).all())
        and ids[0] == tokenizer.CLS
        and ids[length - 1] == tokenizer.SEP
        and bool((ids[length:] == tokenizer.PAD).all())
        and bool(((ids >= 0) & (ids < size)).all())
    )


def to_bytes(text: str) -> NDArray[np.uint8]:
    """A text as it is kept in sample.npz: uint8, UTF-8."""
    return np.frombuffer(text.encode("utf-8"), np.uint8)


def from_bytes(array: NDArray[Any]) -> str:
    """The text of `to_bytes`."""
    return array.astype(np.uint8).tobytes().decode("utf-8", "replace")
