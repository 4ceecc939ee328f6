"""The documentation's pages, and what stands in them: blocks between fences, commands, code spans."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent


def pages() -> dict[str, str]:
    """README, CONTRIBUTING, SECURITY and docs, by their paths in the repository."""
    paths = [*(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")), *sorted(ROOT.glob("docs/**/*.md"))]
    return {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8") for path in paths}


class Block(str):
    """What stands between two fences, and the words behind the first."""

    info: str


def blocks(page: str) -> Iterator[Block]:
    """All of a page."""
    for info, text in re.findall(r"^```([^\n]*)\n(.*?)^```$", page, re.MULTILINE | re.DOTALL):
        block = Block(text)
        block.info = info
        yield block


def commands(block: str) -> Iterator[list[str]]:
    """Without comments, continued lines as one."""
    for line in block.replace("\\\n", " ").splitlines():
        if words := shlex.split(line, comments=True):
            yield words


def spans(page: str) -> list[str]:
    """What stands in code spans, outside blocks."""
    text = re.sub(r"^```.*?^```$", "", page, flags=re.MULTILINE | re.DOTALL)
    return [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", text)]


def in_tables(page: str) -> list[str]:
    """Commands in code spans of table rows."""
    return [span for row in re.findall(r"^\|.*$", page, re.MULTILINE) for span in re.findall(r"`(perceiver[ -][^`]+)`", row)]
