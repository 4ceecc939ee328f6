"""A checkpoint's tokenizer files, as transformers 5 reads them: UTF-8 bytes, six special tokens, and tokens that were added.

Anything else is refused by name: another tokenizer's files, options that change ids, tokens whose ids are in no file.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from perceiver_runtime import InputError
from perceiver_runtime.processing.vocabulary import FIRST_ADDED, FIRST_BYTE, SPECIAL_TOKENS, Token, Vocabulary

OTHERS = (
    "tokenizer.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "spiece.model",
    "sentencepiece.bpe.model",
    "tokenizer.model",
)
CONFIG, SPECIAL_MAP, ADDED = "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"
EXTRA = ("extra_special_tokens", "additional_special_tokens")  # the key, and its name before transformers 5
WAY_OUT = "bundles take PerceiverTokenizer's bytes only: export features of a checkpoint trained on bytes, or remove the file"
# What changes the ids of a text, and the only values that do not.
USUAL: Mapping[str, tuple[Any, ...]] = {
    "split_special_tokens": (None, False),
    "truncation_side": (None, "right"),
    "padding_side": (None, "right"),
}
_NAMED = {f"{name.strip('[]').lower()}_token": number for number, name in enumerate(SPECIAL_TOKENS)}
_FLAGS = ("lstrip", "rstrip", "single_word")
_IGNORED = ("normalized", "special", "__type")  # bytes are never normalized; what is special is listed by name


def read_vocabulary(folder: Path) -> Vocabulary:
    """The tokens of the checkpoint in `folder`. Raises `InputError` that names what cannot be honoured."""
    for name in OTHERS:
        if (folder / name).is_file():
            raise InputError(f"{folder / name} is another tokenizer's file; {WAY_OUT}")
    config = _read(folder / CONFIG)
    kind = config.get("tokenizer_class") or "PerceiverTokenizer"
    if kind != "PerceiverTokenizer":
        raise InputError(f"{folder / CONFIG} has the tokenizer_class {kind!r}; {WAY_OUT}")
    try:
        return _vocabulary(config, _read(folder / SPECIAL_MAP), _read(folder / ADDED))
    except ValueError as error:
        raise InputError(f"the tokenizer in {folder} cannot be used: {error}") from error


def _vocabulary(config: dict[str, Any], special_map: dict[str, Any], added: dict[str, Any]) -> Vocabulary:
    for key, usual in USUAL.items():
        if config.get(key) not in usual:
            raise ValueError(f"{key} is {config[key]!r} in {CONFIG}, only {usual[-1]!r} is known")
    extra = _listed(config.get(EXTRA[0]) or config.get(EXTRA[1]))
    tokens: dict[int, dict[str, Any]] = {}
    if "added_tokens_decoder" in config:  # then transformers reads neither of the other files
        for number, entry in _object("added_tokens_decoder", config["added_tokens_decoder"]).items():
            tokens[_id(int(number) if str(number).isdecimal() else number)] = _entry("added_tokens_decoder", entry)
    else:
        extra = list(dict.fromkeys([*extra, *_listed(special_map.get(EXTRA[0]))]))
        if EXTRA[0] not in special_map and not set(EXTRA) & set(config):
            extra = _listed(special_map.get(EXTRA[1]))
        config = config | {key: value for key, value in special_map.items() if key.endswith("_token")}
        tokens = {_id(number): _entry(ADDED, name) for name, number in added.items()}
        if len(tokens) < len(added):
            raise ValueError(f"{ADDED} gives two tokens one id")
    known = {entry["content"]: number for number, entry in tokens.items()}
    for key, value in _named_tokens(config):
        entry = _entry(key, value)
        if key in _NAMED:
            if entry["content"] != SPECIAL_TOKENS[_NAMED[key]]:
                raise ValueError(f"{key} is {entry['content'][:40]!r}, only {SPECIAL_TOKENS[_NAMED[key]]!r} is known")
            tokens.setdefault(_NAMED[key], entry)
        elif entry["content"] not in known:
            raise ValueError(f"{key} is {entry['content'][:40]!r}, and no file gives its id: save the tokenizer again")
        else:
            extra.append(entry["content"])
    unnumbered = [name for name in extra if name not in known and name not in SPECIAL_TOKENS]
    start = FIRST_ADDED + sum(number >= FIRST_ADDED for number in tokens)
    tokens |= {number: _entry("extra_special_tokens", name) for number, name in enumerate(unnumbered, start)}
    found = [Token(id=number, special=entry["content"] in extra, **entry) for number, entry in sorted(tokens.items())]
    Vocabulary(tuple(found))  # checks all
    return Vocabulary(tuple(each for each in found if each.id >= FIRST_BYTE or each.lstrip or each.rstrip or each.single_word))


def _named_tokens(config: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The keys that name a token, such as mask_token; add_bos_token and the like are flags that are not used."""
    for key, value in config.items():
        if key in _NAMED or (key.endswith("_token") and isinstance(value, (str, dict))):
            yield key, value


def _entry(where: str, value: Any) -> dict[str, Any]:
    """The content and the flags of a token, given as a name or as an object."""
    entry = {"content": value} if isinstance(value, str) else _object(where, value)
    unknown = set(entry) - {"content", *_FLAGS, *_IGNORED}
    if unknown or not isinstance(entry.get("content"), str):
        raise ValueError(f"{where} holds {str(value)[:80]}, which is no token")
    flags = {flag: entry.get(flag, False) for flag in _FLAGS}
    if not all(type(flag) is bool for flag in flags.values()):
        raise ValueError(f"{where} holds {str(value)[:80]}, whose flags are not true or false")
    return {"content": entry["content"], **flags}


def _listed(value: Any) -> list[str]:
    names = value or []
    if not isinstance(names, list):
        raise ValueError(f"the extra special tokens are {str(value)[:80]}, not a list")
    for name in names:
        if not isinstance(name, str) and not (isinstance(name, dict) and name.get("__type") == "AddedToken"):
            raise ValueError(
                f"the extra special tokens hold {str(name)[:80]}, which transformers takes for the name of a token"
            )
    return list(dict.fromkeys(_entry("extra_special_tokens", name)["content"] for name in names))


def _object(where: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{where} holds {str(value)[:80]}, expected an object")
    return value


def _id(number: Any) -> int:
    if type(number) is not int:
        raise ValueError(f"{str(number)[:40]!r} is no token's id")
    return number


def _read(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{file} cannot be read ({error}): correct it") from error
    if not isinstance(found, dict):
        raise InputError(f"{file} holds no JSON object: correct it")
    return found
