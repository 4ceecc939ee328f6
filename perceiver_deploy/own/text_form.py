"""Kinds and models as the command line writes them: `points=array:M=1..4096,3`, `package.module:make_model`."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from perceiver_deploy.own.kinds import LARGEST_CHUNK, Arrays, Image, Labels, Positions, Text
from perceiver_deploy.own.media_kinds import Audio, Video
from perceiver_deploy.own.output_kinds import Boxes, BoxLabels, Spans, TokenLabels
from perceiver_runtime import InputError, UsageError

FORMS = {
    "array": "array:M=1..4096,3[,mask=NAME][,dtype=int64][,values=0..255]",
    "positions": "positions:3[,most=4096]",
    "text": "text:2048[,mask=NAME]",
    "image": "image:224x224[,mean=0.5/0.5/0.5,std=0.5/0.5/0.5]",
    "audio": "audio:16000[,rate=16000,channel=1], the samples of a window",
    "video": "video:16,224x224[,mean=0.5/0.5/0.5,std=0.5/0.5/0.5]",
    "labels": "labels:stop,go,left[,problem=multi_label], or labels:@FILE with a name a line",
    "token-labels": "token-labels:O,B-PER,I-PER[,scheme=plain,outside=O], or token-labels:@FILE",
    "spans": "spans[:max_answer=256]",
    "box-labels": "box-labels:cat,dog[,problem=multi_label], or box-labels:@FILE",
    "boxes": "boxes",
}
OUTPUTS = ("labels", "token-labels", "spans", "box-labels", "boxes")  # those that are of outputs alone


def kinds(texts: Sequence[str], what: str) -> dict[str, Any]:
    """Kinds by name, of texts such as `points=array:M=1..4096,3`. Raises `UsageError`, `InputError`."""
    found: dict[str, Any] = {}
    for text in texts:
        name, equals, form = text.partition("=")
        kind, _, rest = form.partition(":")
        if not equals or kind not in _READERS:
            raise UsageError(f"--{what} {text!r}: write NAME=KIND, such as NAME={'; NAME='.join(FORMS.values())}")
        if name in found:
            raise UsageError(f"--{what} names {name} twice")
        try:
            found[name] = _READERS[kind]([part for part in rest.split(",") if part])
        except (ValueError, IndexError, KeyError) as error:
            raise UsageError(f"--{what} {text!r} cannot be read: write NAME={FORMS[kind]}") from error
    return found


def _options(parts: Sequence[str], known: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Parts that are no options, and those that are."""
    pairs = {part.partition("=")[0]: part.partition("=")[2] for part in parts if part.partition("=")[0] in known}
    return [part for part in parts if part.partition("=")[0] not in known], pairs


def _span(text: str) -> tuple[int, int]:
    low, _, high = text.partition("..")
    return int(low), int(high)


def _arrays(parts: Sequence[str]) -> Arrays:
    axes, options = _options(parts, ("mask", "dtype", "values"))
    named = {axis.partition("=")[0]: axis.partition("=")[2] for axis in axes if not axis.isdigit()}
    values = _span(options["values"]) if "values" in options else None
    return Arrays(
        tuple(int(axis) if axis.isdigit() else axis.partition("=")[0] for axis in axes),
        {name: _span(span) for name, span in named.items() if span},
        dtype=options.get("dtype", "float32"),
        mask=options.get("mask"),
        values=values,
    )


def _positions(parts: Sequence[str]) -> Arrays:
    (dims,), options = _options(parts, ("most",))
    return Positions(int(dims), most=int(options.get("most", LARGEST_CHUNK)))


def _text(parts: Sequence[str]) -> Text:
    (length,), options = _options(parts, ("mask",))
    return Text(int(length), **options)


def _image(parts: Sequence[str]) -> Image:
    (size,), options = _options(parts, ("mean", "std"))
    return Image(_size(size), **_constants(options))


def _video(parts: Sequence[str]) -> Video:
    (frames, size), options = _options(parts, ("mean", "std"))
    return Video(int(frames), _size(size), **_constants(options))


def _size(text: str) -> tuple[int, int]:
    height, _, width = text.partition("x")
    return int(height), int(width or height)


def _constants(options: dict[str, str]) -> dict[str, Any]:
    return {name: tuple(float(each) for each in value.split("/")) for name, value in options.items()}


def _audio(parts: Sequence[str]) -> Audio:
    (samples,), options = _options(parts, ("rate", "channel"))
    return Audio(int(samples), int(options.get("rate", 16_000)), bool(int(options.get("channel", 0))))


def _labels(parts: Sequence[str]) -> Labels:
    names, options = _options(parts, ("problem",))
    return Labels(_names(names), **options)  # type: ignore[arg-type]  # checked where it is used


def _token_labels(parts: Sequence[str]) -> TokenLabels:
    names, options = _options(parts, ("scheme", "outside"))
    chosen: dict[str, Any] = {name: value or None for name, value in options.items()}
    return TokenLabels(_names(names), **chosen)


def _spans(parts: Sequence[str]) -> Spans:
    rest, options = _options(parts, ("max_answer",))
    if rest:
        raise ValueError
    return Spans(**{name: int(value) for name, value in options.items()})


def _box_labels(parts: Sequence[str]) -> BoxLabels:
    names, options = _options(parts, ("problem",))
    return BoxLabels(_names(names), **options)  # type: ignore[arg-type]  # checked where it is used


def _boxes(parts: Sequence[str]) -> Boxes:
    if parts:
        raise ValueError
    return Boxes()


def _names(names: Sequence[str]) -> tuple[str, ...]:
    """As they are, or of a file."""
    if len(names) == 1 and names[0].startswith("@"):
        try:
            lines = Path(names[0][1:]).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{names[0][1:]} cannot be read as labels, a name a line: {error}") from error
        names = [line.strip() for line in lines if line.strip()]
    return tuple(names)


_READERS: dict[str, Callable[[Sequence[str]], Any]] = {
    "array": _arrays,
    "positions": _positions,
    "text": _text,
    "image": _image,
    "audio": _audio,
    "video": _video,
    "labels": _labels,
    "token-labels": _token_labels,
    "spans": _spans,
    "box-labels": _box_labels,
    "boxes": _boxes,
}


def load_model(name: str) -> nn.Module:
    """The model that `package.module:make_model` makes, or is.

    The current folder is looked into last, so that nothing there stands in for an installed package. Raises `UsageError`,
    `InputError`.
    """
    module_name, _, attribute = name.partition(":")
    if not re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", name):
        raise UsageError(f"--model {name!r}: write package.module:make_model, a function without arguments")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)
    try:
        made = getattr(importlib.import_module(module_name), attribute)
        model = made if isinstance(made, nn.Module) else made()
    except Exception as error:  # whatever the user's own module raises
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(f"--model {name} cannot be made: {type(error).__name__}: {reason}") from error
    if not isinstance(model, nn.Module):
        raise InputError(f"--model {name} gave {type(model).__name__}: it should return a torch.nn.Module")
    return model
