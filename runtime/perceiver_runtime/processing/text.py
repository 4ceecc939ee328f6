"""Texts as users give them to the text graphs' inputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perceiver_runtime.common.errors import InputError
from perceiver_runtime.common.records import KINDS, PROCESSOR, check_fields, record
from perceiver_runtime.processing import tokenizer

Text = str | tuple[str, str]  # a text, or a pair
MAX_POSITIONS = 1 << 20


@dataclass(frozen=True)
class TextProcessor:
    """The constants of a text bundle's manifest, under `processor`."""

    max_length: int  # tokens, `[CLS]` and `[SEP]` among them

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> TextProcessor:
        """Raises `IntegrityError` where the manifest's values make no sense."""
        found = record(cls, data, PROCESSOR, ignored=KINDS)
        check_fields(PROCESSOR, max_length=4 <= found.max_length <= MAX_POSITIONS)
        return found

    def encode(self, text: Text, *, truncate: bool, plain: bool = False) -> list[int]:
        """The ids of a text or a pair, see `tokenizer.tokenize` for `plain`. Raises `InputError`."""
        first, second = text if isinstance(text, tuple) and len(text) == 2 else (text, None)
        ids = tokenizer.tokenize(first, plain=plain)
        if not ids:
            raise InputError("the text is empty: give at least one character")
        pair = None if second is None else tokenizer.tokenize(second, plain=plain)
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

    def batch(self, texts: Sequence[Text], *, truncate: bool) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """input_ids and attention_mask, int64 (B, L). Raises `InputError`."""
        return tokenizer.pad(self.encode_all(texts, truncate=truncate))


def to_bytes(text: str) -> NDArray[np.uint8]:
    """A text as it is kept in sample.npz: uint8, UTF-8."""
    return np.frombuffer(text.encode("utf-8"), np.uint8)


def from_bytes(array: NDArray[Any]) -> str:
    """The text of `to_bytes`."""
    return array.astype(np.uint8).tobytes().decode("utf-8", "replace")
