"""Text from outside, for a terminal: names in a bundle, labels, file names, what a server or a library says.

A terminal obeys what it is sent: escape sequences move the cursor, write the clipboard or change what was printed, and
bidirectional overrides show one text for another. Whatever a command prints goes through `printable` first.
"""

from __future__ import annotations

import argparse
import json
import sys
import unicodedata
from collections.abc import Mapping
from typing import Any, NoReturn, TextIO

from perceiver_runtime.common.plain import plain

MAY_BE_EMPTY = ("pair",)  # arguments that are texts, not names
_JOINERS = "\u200c\u200d"  # formatting characters, and part of the spelling of Persian, Hindi and emoji


def printable(text: str) -> str:
    r"""The text with everything that a terminal would obey written as an escape: "\x1b" becomes ``\x1b``.

    That is every control, formatting, private and unassigned character and every surrogate, line breaks among them.
    """
    return text if text.isprintable() else "".join(map(_visible, text))


def one_line(text: str) -> str:
    """The same; line breaks become spaces."""
    return printable(" ".join(text.splitlines()))


def shown(value: Any) -> Any:
    """A command's result for people: the same dictionaries and lists, with every string in them `printable`."""
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, Mapping):
        return {shown(key): shown(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [shown(item) for item in value]
    return value


def json_text(result: Any) -> str:
    """One JSON object, of ASCII alone; NaN and infinity, which JSON lacks, are null."""
    return json.dumps(plain(result), indent=2, allow_nan=False)


class CommandParser(argparse.ArgumentParser):
    """Says what is wrong with arguments, which may be file names from outside, in printable characters."""

    def error(self, message: str) -> NoReturn:
        """The usage and the message, and exit code 2."""
        super().error(one_line(message))

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """The arguments. An option or a name that is empty, as of a variable that is not set, is an error."""
        found = super().parse_args(args, namespace)
        for name, value in vars(found).items():
            if value == "" and name not in MAY_BE_EMPTY:
                self.error(f"{name} is empty: give a name, or leave the option out")
        return found

    def _print_message(self, message: str, file: Any = None) -> None:
        """Help and errors, on a terminal of any encoding."""
        if message:
            write_lines(message.removesuffix("\n"), file or sys.stderr)


def is_terminal(stream: TextIO | None) -> bool:
    """Whether somebody may be watching; a stream that was closed before the program began is None."""
    return stream is not None and stream.isatty()


def write_lines(text: str, stream: TextIO) -> None:
    r"""Print, and flush. What the stream's encoding does not have is written as an escape, such as ``\u6771``."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    print(text.encode(encoding, "backslashreplace").decode(encoding), file=stream, flush=True)


def _visible(character: str) -> str:
    if character.isprintable() or character in _JOINERS or unicodedata.category(character) == "Zs":
        return character
    return character.encode("unicode_escape").decode("ascii")
