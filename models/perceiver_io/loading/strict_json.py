"""JSON files of a checkpoint: bounded in size and depth, no key twice, no numbers that are none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from perceiver_io.errors import CheckpointError

LARGEST = 16 << 20  # bytes: a million label names fit


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file. Raises `CheckpointError`."""
    try:
        if path.stat().st_size > LARGEST:
            raise CheckpointError(
                f"{path} has {path.stat().st_size} bytes, more than the {LARGEST} allowed: is it the right file?"
            )
        refuse_pointer(path)
        data = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=_without_repeats, parse_constant=_no_number)
    except CheckpointError:
        raise
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read as JSON: {error}") from error
    except RecursionError as error:
        raise CheckpointError(f"{path} cannot be read as JSON: it is nested too deeply") from error
    if not isinstance(data, dict):
        raise CheckpointError(f"{path} should hold a JSON object")
    return data


def refuse_pointer(path: Path) -> None:
    """Raise `CheckpointError` if git left the address of a large file in place of the file."""
    with path.open("rb") as file:
        start = file.read(64)
    if start.startswith((b"version https://git-lfs.github.com/spec/", b"# xet version")):
        raise CheckpointError(
            f"{path} is a Git LFS pointer, not the file itself: run `git lfs pull` in {path.parent}, or download the file"
        )


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    data: dict[str, Any] = {}
    for key, value in pairs:
        if key in data:
            raise ValueError(f"the key {key!r} is there twice")
        data[key] = value
    return data


def _no_number(text: str) -> Any:
    raise ValueError(f"{text} is no number")
