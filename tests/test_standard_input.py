"""Texts from standard input: lines of UTF-8, whatever the locale, and one sentence for what is not."""

import io
from types import SimpleNamespace

import pytest

from perceiver_runtime import InputError
from perceiver_runtime.tasks.text_commands import read_lines


def stream(content: bytes) -> io.TextIOWrapper:
    """As a terminal in the C locale gives it."""
    return io.TextIOWrapper(io.BytesIO(content), encoding="ascii")


@pytest.mark.parametrize(
    ("content", "lines"),
    [
        (b"one\ntwo\n", ["one", "two"]),
        (b"one\r\ntwo", ["one", "two"]),
        ("a\u2028b\x0cc\x85d\x1ce\n".encode(), ["a\u2028b\x0cc\x85d\x1ce"]),
        ("\ufeffgrün\n".encode(), ["grün"]),
    ],
)
def test_lines(content: bytes, lines: list[str]) -> None:
    assert [item.value for item in read_lines(stream(content))] == lines


def test_a_stream_of_text_alone() -> None:
    """As tests and notebooks put in place of standard input."""
    assert [item.value for item in read_lines(io.StringIO("grün\nb\n"))] == ["grün", "b"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("one\ngrün\nthree".encode("latin-1"), "line 2 of standard input is not UTF-8: convert it, as iconv does"),
        (b"one\n\nthree\n", "line 2 of standard input is empty: give a text a line"),
    ],
)
def test_a_line_that_is_no_text_spares_the_others(content: bytes, message: str) -> None:
    first, second, third = (item.value for item in read_lines(stream(content)))
    assert (first, str(second), third) == ("one", message, "three")
    assert isinstance(second, InputError)


def test_nothing() -> None:
    with pytest.raises(InputError, match=r"^standard input is empty"):
        read_lines(stream(b""))


@pytest.mark.parametrize("closed", [None, SimpleNamespace(closed=True)])
def test_closed(closed: object) -> None:
    with pytest.raises(InputError, match="standard input is closed"):
        read_lines(closed)  # type: ignore[arg-type]
