"""Text from outside, such as names in a pickle, for a terminal, which obeys control characters and escape sequences."""

from __future__ import annotations

import unicodedata

_JOINERS = "\u200c\u200d"  # formatting characters, and part of the spelling of Persian, Hindi and emoji


def one_line(text: str) -> str:
    r"""The text in one line, with everything that a terminal would obey written as an escape: "\x1b" becomes ``\x1b``.

    The same as `perceiver_runtime.common.terminal.one_line`, which is not to be had here.
    """
    return "".join(map(_visible, " ".join(text.splitlines())))


def _visible(character: str) -> str:
    if character.isprintable() or character in _JOINERS or unicodedata.category(character) == "Zs":
        return character
    return character.encode("unicode_escape").decode("ascii")
