"""The tokens of a checkpoint: six special ones, 256 bytes, and those that its authors added, such as `[USER]`. numpy alone.

Names of tokens in a text are found as transformers finds them: the first that begins, of several the longest; then their flags
are honoured, `lstrip` and `rstrip` that take the white space beside them, `single_word` that wants spaces around.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perceiver_runtime.common.errors import IntegrityError
from perceiver_runtime.common.records import record

SPECIAL_TOKENS = ("[PAD]", "[BOS]", "[EOS]", "[MASK]", "[CLS]", "[SEP]")
FIRST_BYTE = len(SPECIAL_TOKENS)
FIRST_ADDED = FIRST_BYTE + 256
MAX_ADDED, MAX_NAME = 4096, 256


@dataclass(frozen=True)
class Token:
    """A token with a name. `special`: left out where ids become text again."""

    content: str
    id: int
    lstrip: bool = False
    rstrip: bool = False
    single_word: bool = False
    special: bool = False


@dataclass(frozen=True)
class Vocabulary:
    """The six special tokens and `added`; an entry with an id below six gives one of the six other flags.

    Raises `ValueError` for what is no vocabulary, or one that transformers splits in a way of its own.
    """

    added: tuple[Token, ...] = ()
    named: Mapping[str, Token] = field(init=False, compare=False, repr=False)
    contents: Mapping[int, bytes] = field(init=False, compare=False, repr=False)  # of the added tokens that are text again
    _pattern: re.Pattern[str] = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        by_id = {number: Token(name, number, special=True) for number, name in enumerate(SPECIAL_TOKENS)}
        given = {token.id: token for token in self.added}
        names = [token.content for token in (by_id | given).values()]
        if len(given) != len(self.added) or len(set(names)) != len(names):
            raise ValueError("two added tokens have one id, or one name")
        self._check(given)
        named = {token.content: token for token in (by_id | given).values()}
        longest_first = sorted(named, key=len, reverse=True)
        object.__setattr__(self, "named", named)
        contents = {token.id: token.content.encode() for token in self.added if token.id >= FIRST_ADDED and not token.special}
        object.__setattr__(self, "contents", contents)
        object.__setattr__(self, "_pattern", re.compile(f"({'|'.join(map(re.escape, longest_first))})"))

    @staticmethod
    def _check(given: Mapping[int, Token]) -> None:
        own = sorted(number for number in given if number >= FIRST_ADDED)
        if own != list(range(FIRST_ADDED, FIRST_ADDED + len(own))) or len(own) > MAX_ADDED:
            raise ValueError(f"added tokens have the ids {own[:9]}, expected {FIRST_ADDED} and on without gaps")
        names = [*SPECIAL_TOKENS, *(given[number].content for number in own)]
        for number, token in given.items():
            if number < FIRST_ADDED and (not 0 <= number < FIRST_BYTE or token.content != SPECIAL_TOKENS[number]):
                raise ValueError(f"the token {token.content[:40]!r} has the id {number}, which another token has")
            if not 0 < len(token.content) <= MAX_NAME or (token.content <= "\xff" and len(token.content) == 1):
                raise ValueError(f"the token {token.content[:40]!r} is empty, a byte, or has over {MAX_NAME} characters")
            if "[MASK*" in token.content:
                raise ValueError(f"the token {token.content[:40]!r} looks like [MASK*9], which stands for nine masks here")
            inside = [name for name in names if name in token.content[1:-1]]
            if inside:
                raise ValueError(f"the token {token.content[:40]!r} has the token {inside[0][:40]!r} inside")

    @classmethod
    def from_json(cls, entries: Any) -> Vocabulary:
        """Of a manifest's `added_tokens`. Raises `IntegrityError`."""
        if not isinstance(entries, list) or len(entries) > MAX_ADDED + FIRST_BYTE:
            raise IntegrityError("the manifest's added_tokens are no list of tokens: export the bundle again")
        try:
            return cls(tuple(record(Token, entry, "the manifest's added_tokens") for entry in entries))
        except ValueError as error:
            raise IntegrityError(f"the manifest's added_tokens make no sense ({error}): export the bundle again") from error

    @property
    def size(self) -> int:
        """How many tokens there are."""
        return FIRST_ADDED + sum(token.id >= FIRST_ADDED for token in self.added)

    @property
    def written(self) -> NDArray[np.int64]:
        """The ids that are text: bytes, and added tokens that are not special."""
        return np.array([*range(FIRST_BYTE, FIRST_ADDED), *sorted(self.contents)], np.int64)

    def split(self, text: str) -> list[str]:
        """The text in pieces, of which those in `named` are tokens; white space that tokens take is gone."""
        pieces = [piece for piece in self._pattern.split(text) if piece]
        for place in range(len(pieces)):
            token = self.named.get(pieces[place])
            if token is not None:
                self._take(token, pieces, place)
        return pieces

    @staticmethod
    def _take(token: Token, pieces: list[str], place: int) -> None:
        """Apply the flags of the token at `place` to its neighbours, or make it part of one."""
        left = pieces[place - 1] if place else ""
        right = pieces[place + 1] if place + 1 < len(pieces) else ""
        if token.rstrip and right:
            pieces[place + 1] = right.lstrip()
        if token.lstrip and left:
            pieces[place - 1] = left.rstrip()
        if not token.single_word:
            return
        if left and left[-1] != " ":
            pieces[place - 1 : place + 1] = [pieces[place - 1] + token.content, ""]
        elif right and right[0] != " ":
            pieces[place : place + 2] = ["", token.content + pieces[place + 1]]


BYTES = Vocabulary()


def written_bytes(vocabulary: Vocabulary, ids: Sequence[int]) -> bytes:
    """The bytes that ids stand for; special and unknown ones for none."""
    pieces = (
        bytes([number - FIRST_BYTE]) if FIRST_BYTE <= number < FIRST_ADDED else vocabulary.contents.get(number, b"")
        for number in ids
    )
    return b"".join(pieces)
