"""For the API reference: the `>>>` examples of docstrings as blocks of code."""

from __future__ import annotations

import re
from typing import Any

import griffe

_EXAMPLE = re.compile(r"(?:^(?:>>>|\.\.\.).*\n?)+", re.MULTILINE)


class Examples(griffe.Extension):
    """Puts fences around them."""

    def on_instance(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Of each object that is read."""
        if obj.docstring is not None:
            obj.docstring.value = _EXAMPLE.sub(self._fenced, obj.docstring.value)

    @staticmethod
    def _fenced(found: re.Match[str]) -> str:
        lines = [line[4:] for line in found[0].splitlines()]
        return "```python\n" + "\n".join(lines) + "\n```\n"
