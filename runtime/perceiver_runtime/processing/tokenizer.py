"""Text to token ids and back: UTF-8 bytes after six special tokens, as in transformers' PerceiverTokenizer. numpy alone.

A byte b has the id b + 6. The names of special tokens in a text stand for those tokens, and so do those of the tokens that a
checkpoint added (vocabulary.py); `[MASK*9]`, an extension, for nine masks. A text becomes `[CLS] text [SEP]`, a pair
`[CLS] text [SEP] pair [SEP]`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from perceiver_runtime.common.errors import InputError
from perceiver_runtime.processing.vocabulary import BYTES, FIRST_BYTE, SPECIAL_TOKENS, Vocabulary, written_bytes

PAD, MASK, CLS, SEP = 0, 3, 4, 5
_MASKS = re.compile(r"\[MASK\*(\d+)\]")
MAX_MASKS = 1 << 16  # of one `[MASK*n]`; and tokens of a text: both bound memory before the model's own limit applies
MAX_TOKENS = 1 << 20


def tokenize(text: str, *, plain: bool = False, vocabulary: Vocabulary = BYTES) -> list[int]:
    """A text's ids, without `[CLS]` and `[SEP]`. In a `plain` text the names of tokens are bytes like any others.

    Raises `InputError` for what UTF-8 cannot hold, and for more than `MAX_TOKENS`.
    """
    if not isinstance(text, str):
        raise InputError(f"a text should be a str, found {type(text).__name__}: decode bytes, and read files, first")
    if len(text) > MAX_TOKENS:
        raise InputError(f"a text has {len(text)} characters, more than the {MAX_TOKENS} allowed: shorten it")
    if plain:
        return _bytes(text)
    ids: list[int] = []
    for piece in vocabulary.split(_with_masks(text)):
        token = vocabulary.named.get(piece)
        ids += _bytes(piece) if token is None else [token.id]
    return ids


def _with_masks(text: str) -> str:
    """The text with `[MASK*9]` written as nine masks."""
    total = 0

    def masks(match: re.Match[str]) -> str:
        nonlocal total
        count = int(match[1][:9])
        if not 1 <= count <= MAX_MASKS:
            raise InputError(f"{match[0][:40]} asks for {count} masks: give 1 to {MAX_MASKS}")
        total += count
        if total > MAX_TOKENS:
            raise InputError(f"a text asks for more than {MAX_TOKENS} tokens: give fewer masks")
        return SPECIAL_TOKENS[MASK] * count

    return _MASKS.sub(masks, text)


def _bytes(text: str) -> list[int]:
    try:
        return [byte + FIRST_BYTE for byte in text.encode("utf-8")]
    except UnicodeEncodeError as error:
        raise InputError(
            f"the text has half a character ({text[error.start]!r}), which UTF-8 cannot hold: remove it"
        ) from error


def add_special_tokens(ids: list[int], pair: list[int] | None, *, max_length: int, truncate: bool) -> list[int]:
    """`[CLS] ids [SEP]`, or with a pair `[CLS] ids [SEP] pair [SEP]`, at most `max_length` long.

    Longer raises `InputError`, or with `truncate` loses its end; of a pair, the longer one loses first, a token at a time.
    """
    room = max_length - (2 if pair is None else 3)
    length = len(ids) + len(pair or [])
    if length > room and not truncate:
        raise InputError(f"the text has {length} bytes, the model takes {room}: shorten it, or truncate it (truncate=True)")
    if pair is None:
        return [CLS, *ids[:room], SEP]
    first, second = len(ids), len(pair)
    while first + second > room:
        if first > second:
            first -= 1
        else:
            second -= 1
    return [CLS, *ids[:first], SEP, *pair[:second], SEP]


def pad(sequences: Sequence[Sequence[int]]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Sequences of ids to input_ids and attention_mask, int64 (B, longest), padded at the end."""
    longest = max(map(len, sequences))
    input_ids = np.full((len(sequences), longest), PAD, np.int64)
    attention_mask = np.zeros_like(input_ids)
    for row, sequence in enumerate(sequences):
        input_ids[row, : len(sequence)] = sequence
        attention_mask[row, : len(sequence)] = 1
    return input_ids, attention_mask


def decode(ids: Iterable[int], vocabulary: Vocabulary = BYTES) -> str:
    """Ids to text: special tokens are dropped, invalid UTF-8 becomes the replacement character.

    >>> decode([4, 78, 111, 5])
    'Hi'
    """
    return written_bytes(vocabulary, [int(number) for number in ids]).decode("utf-8", "replace")
