"""Ray and pyarrow, which the extra `ray` brings: imported where they are needed."""

from __future__ import annotations

import importlib
from typing import Any

from perceiver_runtime.common.errors import BackendError


def library(name: str) -> Any:
    """The module of that name. Raises `BackendError`."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise BackendError(f"{name} cannot be imported ({error}): pip install 'perceiver-runtime[ray]'") from error
