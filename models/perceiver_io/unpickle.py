"""Reading a pickle of numpy arrays in mappings, and nothing else.

A pickle is a program. This reader lets it build dictionaries, lists and strings, arrays of numbers, and mappings of the kinds
that haiku makes, which become dictionaries; any other name it asks for is refused before it is looked up. numpy's own
reconstruction is not used either: an array is made here, of its type, shape and bytes.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_ARRAY_MODULES = ("numpy.core.multiarray", "numpy._core.multiarray")
_MAPPINGS = {
    ("collections", "OrderedDict"),
    ("haiku._src.data_structures", "FlatMapping"),
    ("haiku._src.data_structures", "FlatMap"),
    ("haiku._src.data_structures", "frozendict"),
    ("jax._src.tree_util", "frozendict"),
}
_TYPES = ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1")


class UnpickleError(ValueError):
    """A pickle that holds more than arrays and mappings, or is broken."""


class _Type:
    """Stands in for numpy.dtype."""

    def __init__(self, code: str, *_: object) -> None:
        if code not in _TYPES:
            raise UnpickleError(f"it holds an array of type {code!r}, not of numbers")
        self.type = np.dtype(code)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        if state[1] in ("<", ">"):
            self.type = self.type.newbyteorder(state[1])


class _Array:
    """Stands in for numpy.ndarray while its state is not there yet."""

    array: NDArray[Any] | None = None

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, kind, fortran, data = state
        if not isinstance(kind, _Type) or not isinstance(data, (bytes, bytearray)):
            raise UnpickleError("it holds an array that is not of numbers")
        self.array = np.frombuffer(data, kind.type).reshape(shape, order="F" if fortran else "C")


class _Mapping(dict[Any, Any]):
    """Stands in for haiku's mappings, whatever arguments and state they come with."""

    def __init__(self, *contents: Any) -> None:
        super().__init__()
        self.__setstate__(contents[0] if contents else {})

    def __setstate__(self, state: Any) -> None:
        self.update(state.get("_mapping", state) if isinstance(state, dict) else dict(state))


def _reconstruct(*_: object) -> _Array:
    return _Array()


def _encode(text: str, encoding: str) -> bytes:
    if encoding != "latin1":
        raise UnpickleError(f"it encodes text as {encoding!r}")
    return text.encode("latin1")


def _scalar(kind: _Type, data: bytes) -> Any:
    return np.frombuffer(data, kind.type)[0]


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if module in _ARRAY_MODULES and name in ("_reconstruct", "scalar"):
            return _reconstruct if name == "_reconstruct" else _scalar
        if module == "numpy" and name in ("ndarray", "dtype"):
            return _Array if name == "ndarray" else _Type
        if (module, name) == ("_codecs", "encode"):
            return _encode
        if (module, name) in _MAPPINGS:
            return _Mapping
        raise UnpickleError(f"it asks for {module}.{name}")

    def persistent_load(self, pid: Any) -> Any:
        raise UnpickleError("it refers to something outside itself")


def read_arrays(path: Path) -> dict[str, Any]:
    """The pickle as nested dictionaries of arrays. Raises `UnpickleError` for one that holds anything else."""
    try:
        with path.open("rb") as file:
            found = _plain(_Unpickler(file).load())
    except (UnpickleError, OSError):
        raise
    except Exception as error:  # a broken pickle raises whatever its bytes happen to mean
        raise UnpickleError(f"it is no pickle, or broken ({error!r})") from error
    if not isinstance(found, dict):
        raise UnpickleError(f"it holds a {type(found).__name__}, not a mapping")
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, _Array) and value.array is not None:
        return value.array
    if isinstance(value, (np.generic, int, float)):
        return np.asarray(value)
    raise UnpickleError(f"it holds a {type(value).__name__}")
