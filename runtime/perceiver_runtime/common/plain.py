"""Results as JSON knows them: the one function behind `to_dict`, `--json` and tables of answers; and as notebooks show them."""

from __future__ import annotations

import dataclasses
import html
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np


def plain(value: Any) -> Any:
    """A result as dictionaries, lists, texts, numbers, booleans and None, which `json.dumps` takes.

    NaN and infinity, which JSON lacks, become None; arrays become lists; what has a `to_dict` becomes that.
    """
    if hasattr(value, "to_dict"):
        return plain(value.to_dict())
    if isinstance(value, (np.ndarray, np.generic)):
        whole = value.dtype.kind != "f" or bool(np.isfinite(value).all())
        return value.tolist() if whole else plain(value.tolist())
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def json_object(answer: Any) -> dict[str, Any]:
    """A pipeline's answer as a JSON object, as `plain` makes it; what is none becomes its `answer`."""
    found = plain(answer)
    return found if isinstance(found, dict) else {"answer": found}


def html_table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table, its cells escaped; numbers with three digits."""
    shown = [[f"{cell:.3g}" if isinstance(cell, float) else str(cell) for cell in row] for row in rows]
    body = "".join(f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in row)}</tr>" for row in shown)
    return f"<table><tr>{''.join(f'<th>{html.escape(name)}</th>' for name in header)}</tr>{body}</table>"


def html_mark(text: str, strength: float, hint: str) -> str:
    """A part of a text, escaped, coloured the stronger the surer, with a hint for the mouse."""
    shade = f"background: rgba(255, 170, 0, {0.15 + 0.85 * strength:.2f})"
    return f'<mark style="{shade}" title="{html.escape(hint)}">{html.escape(text)}</mark>'


def html_text(parts: Iterable[str]) -> str:
    """Parts that are HTML already, as one text that keeps its white space."""
    return f'<span style="white-space: pre-wrap">{"".join(parts)}</span>'


class Record:
    """A result that is a dataclass."""

    def to_dict(self) -> dict[str, Any]:
        """Its fields, as `json.dumps` takes them."""
        return {field.name: plain(getattr(self, field.name)) for field in dataclasses.fields(self)}  # type: ignore[arg-type]
