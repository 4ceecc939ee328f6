"""Text to token ids and back: UTF-8 bytes after six special tokens, as in transformers' PerceiverTokenizer. numpy alone.

A byte b has the id b + 6. The names of special tokens in a text stand for those tokens; `[MASK*9]`, an extension, for nine
masks. A text becomes `[CLS] text [SEP]`, a pair `[CLS] text [SEP] pair [SEP]`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from perceiver_runtime.common.errors import InputError

SPECIAL_TOKENS = ("[PAD]", "[BOS]", "[EOS]", "[MASK]", "[CLS]", "[SEP]")
PAD, MASK, CLS, SEP = 0, 3, 4, 5
FIRST_BYTE = len(SPECIAL_TOKENS)
VOCABULARY = FIRST_BYTE + 256
_SPECIAL = re.compile(r"\[MASK\*(\d+)\]|" + "|".join(map(re.escape, SPECIAL_TOKENS)))
MAX_MASKS = 1 << 16  # of one `[MASK*n]`; and tokens of a text: both bound memory before the model's own limit applies
MAX_TOKENS = 1 << 20


def tokenize(text: str, *, plain: bool = False) -> list[int]:
    """A text's ids, without `[CLS]` and `[SEP]`. In a `plain` text the names of special tokens are bytes like any others.

    Raises `InputError` for what UTF-8 cannot hold, and for more than `MAX_TOKENS`.
    """
    if not isinstance(text, str):
        raise InputError(f"a text should be a str, found {type(text).__name__}: decode bytes first")
    if len(text) > MAX_TOKENS:
        raise InputError(f"a text has {len(text)} characters, more than the {MAX_TOKENS} allowed: shorten it")
    ids: list[int] = []
    end = 0
    for match in () if plain else _SPECIAL.finditer(text):
        ids += _bytes(text[end : match.start()])
        if match[1] is None:
            ids.append(SPECIAL_TOKENS.index(match[0]))
        else:
            count = int(match[1][:9])
            if not 1 <= count <= MAX_MASKS:
                raise InputError(f"{match[0][:40]} asks for {count} masks: give 1 to {MAX_MASKS}")
            if len(ids) + count > MAX_TOKENS:
                raise InputError(f"a text asks for more than {MAX_TOKENS} tokens: give fewer masks")
            ids += [MASK] * count
        end = match.end()
    return ids + _bytes(text[end:])


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


def decode(ids: Iterable[int]) -> str:
    """Ids to text: special tokens are dropped, invalid UTF-8 becomes the replacement character.

    >>> decode([4, 78, 111, 5])
    'Hi'
    """
    return bytes(int(number) - FIRST_BYTE for number in ids if FIRST_BYTE <= number < VOCABULARY).decode("utf-8", "replace")
