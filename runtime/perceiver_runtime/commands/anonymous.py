"""A command's result without names of this machine, its user, or the user's folders."""

from __future__ import annotations

import contextlib
import getpass
import os
import platform
import re
from collections.abc import Mapping
from typing import Any

_OF_THE_SYSTEM = ("usr", "lib", "lib64", "etc", "proc", "sys")  # what lies there says nothing of a user
_PATH = re.compile(r"(?<![\w.~/])~?/(?!/)[^\s'\",;:()\[\]]+")


def anonymous(value: Any, labels: Mapping[str, str]) -> Any:
    """The same dictionaries and lists; in texts, what `labels` names has its label, and paths but the system's are `<path>`."""
    known = {**{os.path.abspath(name): label for name, label in labels.items()}, **labels}
    return _clean(value, sorted(known.items(), key=lambda each: -len(each[0])), _private_names())


def _clean(value: Any, known: list[tuple[str, str]], private: list[str]) -> Any:
    if isinstance(value, Mapping):
        return {key: _clean(each, known, private) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_clean(each, known, private) for each in value]
    if not isinstance(value, str):
        return value
    for name, label in known:
        value = re.sub(rf"(?<![\w/]){re.escape(name)}(?![\w-])", label, value)
    home = os.path.expanduser("~")
    if home not in ("", "/", "~"):
        value = value.replace(home, "/home-of-the-user")
    value = _PATH.sub(lambda found: found[0] if found[0].split("/")[1] in _OF_THE_SYSTEM else "<path>", value)
    for name in private:
        value = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", "<name>", value)
    return value


def _private_names() -> list[str]:
    names = [platform.node(), platform.node().partition(".")[0]]
    with contextlib.suppress(OSError, KeyError, ImportError):
        names.append(getpass.getuser())
    return sorted({name for name in names if len(name) > 2}, key=len, reverse=True)
