"""The user's own inputs: files of a folder, to verify graphs on what a trained checkpoint was made for."""

from __future__ import annotations

from pathlib import Path

from perceiver_runtime import InputError

MOST = 32  # inputs taken from a folder


def files(folder: Path, suffixes: tuple[str, ...]) -> list[Path]:
    """The folder's files that end in one of `suffixes`, by name; hidden ones left out. None where there is no such folder."""
    if not folder.is_dir():
        return []
    found = (path for path in folder.iterdir() if path.suffix.lower() in suffixes and path.is_file())
    return sorted(path for path in found if not path.name.startswith("."))


def texts(folder: Path) -> list[str]:
    """Each line of the folder's .txt files that is not blank. Raises `InputError` for what is not UTF-8."""
    lines: list[str] = []
    for path in files(folder, (".txt",)):
        try:
            lines += path.read_text(encoding="utf-8-sig").split("\n")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{path} cannot be read as UTF-8 text ({error}): save it as UTF-8") from error
    return [line.strip() for line in lines if line.strip()]
