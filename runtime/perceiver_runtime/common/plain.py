"""Results as JSON knows them: the one function behind `to_dict`, `--json` and tables of answers."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Mapping
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


class Record:
    """A result that is a dataclass."""

    def to_dict(self) -> dict[str, Any]:
        """Its fields, as `json.dumps` takes them."""
        return {field.name: plain(getattr(self, field.name)) for field in dataclasses.fields(self)}  # type: ignore[arg-type]
