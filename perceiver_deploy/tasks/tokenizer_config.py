"""A checkpoint's tokenizer files: the runtime reads UTF-8 bytes after six special tokens, anything else is refused by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from perceiver_runtime import InputError
from perceiver_runtime.processing import tokenizer

OTHERS = (
    "tokenizer.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "spiece.model",
    "sentencepiece.bpe.model",
    "tokenizer.model",
)
WAY_OUT = "bundles take PerceiverTokenizer's bytes only: export features of a checkpoint trained on bytes, or remove the file"


def check_tokenizer(folder: Path) -> None:
    """Raise `InputError` where the checkpoint's tokenizer is not PerceiverTokenizer with its six special tokens."""
    for name in OTHERS:
        if (folder / name).is_file():
            raise InputError(f"{folder / name} is another tokenizer's file; {WAY_OUT}")
    config = _read(folder / "tokenizer_config.json")
    kind = config.get("tokenizer_class") or "PerceiverTokenizer"
    if kind != "PerceiverTokenizer":
        raise InputError(f"{folder / 'tokenizer_config.json'} has the tokenizer_class {kind!r}; {WAY_OUT}")
    decoder = config.get("added_tokens_decoder") or {}
    entries = decoder.values() if isinstance(decoder, dict) else [decoder]
    added = [entry.get("content") if isinstance(entry, dict) else entry for entry in entries]
    added += list(_read(folder / "added_tokens.json"))
    unknown = [token for token in added if token not in tokenizer.SPECIAL_TOKENS]
    if unknown:
        raise InputError(f"the tokenizer in {folder} has added tokens ({unknown[0]!r}), not read as tokens here; {WAY_OUT}")


def _read(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{file} cannot be read ({error}): correct it") from error
    if not isinstance(found, dict):
        raise InputError(f"{file} holds no JSON object: correct it")
    return found
