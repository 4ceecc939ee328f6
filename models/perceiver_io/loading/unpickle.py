"""Reading a pickle of numpy arrays in mappings, and nothing else.

A pickle is a program for a small machine. Python's own machine is not used: this one knows the instructions that dictionaries,
strings, numbers and arrays take, and the names of the classes that haiku makes mappings of. Anything else is refused before it
is read. Work and memory are bounded by the size of the file: keys are text, each array is used once.
"""

from __future__ import annotations

import mmap
import pickletools
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
_VALUES = {  # instructions that push what they are followed by
    *("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
}
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_OTHERS = {
    *(
        "PROTO",
        "FRAME",
        "MARK",
        "EMPTY_DICT",
        "EMPTY_LIST",
        "TUPLE",
        "BINPUT",
        "LONG_BINPUT",
        "MEMOIZE",
        "BINGET",
        "LONG_BINGET",
    ),
    *("SETITEM", "SETITEMS", "APPEND", "APPENDS", "GLOBAL", "STACK_GLOBAL", "REDUCE", "NEWOBJ", "BUILD", "POP", "STOP"),
}
_INSTRUCTIONS = {instruction.code: instruction for instruction in pickletools.opcodes}
_KNOWN = _VALUES | set(_CONSTANTS) | set(_TUPLES) | _OTHERS
MOST_INSTRUCTIONS = 1 << 20  # the published files have some thousands
DEEPEST = 8  # mappings within mappings


class UnpickleError(ValueError):
    """A pickle that holds more than arrays and mappings, or is broken."""


class _Name:
    """A class or function that the pickle asks for, by name only."""

    def __init__(self, module: object, name: object) -> None:
        array = module in _ARRAY_MODULES and name in ("_reconstruct", "scalar")
        if not (array or (module, name) in {("numpy", "ndarray"), ("numpy", "dtype"), ("_codecs", "encode")} | _MAPPINGS):
            raise UnpickleError(f"it asks for {str(module)[:80]}.{str(name)[:80]}")
        self.module, self.name = str(module), str(name)


class _Type:
    """Stands in for numpy.dtype."""

    def __init__(self, code: object) -> None:
        if code not in _TYPES:
            raise UnpickleError(f"it holds an array of type {str(code)[:20]!r}, not of numbers")
        self.type = np.dtype(str(code))


class _Array:
    """Stands in for numpy.ndarray while its state is not there yet."""

    array: NDArray[Any] | None = None


def read_arrays(path: Path) -> dict[str, Any]:
    """The pickle as nested dictionaries of arrays. Raises `UnpickleError` for one that holds anything else."""
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            found = _Plain().of(_Machine(content).run(), 0)
    except (UnpickleError, OSError):
        raise
    except Exception as error:  # a broken pickle raises whatever its bytes happen to mean
        raise UnpickleError(f"it is no pickle, or broken ({str(error)[:100]!r})") from error
    if not isinstance(found, dict):
        raise UnpickleError(f"it holds a {type(found).__name__}, not a mapping")
    return found


class _Machine:
    """A stack, marks in it, and a memory of what was made."""

    def __init__(self, content: mmap.mmap) -> None:
        self.content = content
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def run(self) -> Any:
        """What the pickle builds."""
        for _ in range(MOST_INSTRUCTIONS):
            instruction = _INSTRUCTIONS.get(self.content.read(1).decode("latin1"))
            if instruction is None:
                raise UnpickleError("it is no pickle, or broken: it ends, or has an unknown instruction")
            if instruction.name not in _KNOWN:
                raise UnpickleError(f"it has the instruction {instruction.name}, which arrays and mappings do not need")
            reader: Any = instruction.arg and instruction.arg.reader  # which takes what reads as a file does
            argument = reader(self.content) if reader else None
            if instruction.name == "STOP":
                return self.stack.pop()
            self.step(instruction.name, argument)
        raise UnpickleError(f"it has more than {MOST_INSTRUCTIONS} instructions")

    def step(self, name: str, argument: Any) -> None:
        """Do one instruction."""
        stack = self.stack
        if name in _VALUES:
            stack.append(argument)
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name in _TUPLES:
            stack.append(tuple(self.popped(_TUPLES[name])))
        elif name == "TUPLE":
            stack.append(tuple(self.since_mark()))
        elif name == "MARK":
            self.marks.append(len(stack))
        elif name in ("EMPTY_DICT", "EMPTY_LIST"):
            stack.append({} if name == "EMPTY_DICT" else [])
        elif name in ("BINPUT", "LONG_BINPUT", "MEMOIZE"):
            self.memo[len(self.memo) if argument is None else argument] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(self.memo[argument])
        elif name in ("SETITEM", "SETITEMS"):
            items = self.popped(2) if name == "SETITEM" else self.since_mark()
            _update(stack[-1], list(zip(items[::2], items[1::2])))
        elif name in ("APPEND", "APPENDS"):
            items = self.popped(1) if name == "APPEND" else self.since_mark()
            if not isinstance(stack[-1], list):
                raise UnpickleError("it appends to what is no list")
            stack[-1].extend(items)
        elif name == "GLOBAL":
            stack.append(_Name(*argument.split(" ", 1)))
        elif name == "STACK_GLOBAL":
            stack.append(_Name(*self.popped(2)))
        elif name in ("REDUCE", "NEWOBJ"):
            stack.append(_call(*self.popped(2)))
        elif name == "BUILD":
            (state,) = self.popped(1)
            _set_state(stack[-1], state)
        elif name == "POP":
            stack.pop()

    def popped(self, count: int) -> list[Any]:
        """The last `count` values, taken off the stack."""
        start = len(self.stack) - count
        if start < 0:
            raise UnpickleError("it is no pickle, or broken: its stack is empty")
        taken = self.stack[start:]
        del self.stack[start:]
        return taken

    def since_mark(self) -> list[Any]:
        """The values after the last mark, taken off the stack."""
        return self.popped(len(self.stack) - self.marks.pop())


def _update(mapping: Any, items: list[tuple[Any, Any]]) -> None:
    if not isinstance(mapping, dict) or not all(type(key) is str for key, _ in items):
        raise UnpickleError("it holds a mapping whose keys are not text")
    mapping.update(items)


def _call(name: Any, arguments: Any) -> Any:
    if not isinstance(name, _Name) or not isinstance(arguments, tuple):
        raise UnpickleError("it calls what is no class")
    if (name.module, name.name) in _MAPPINGS:
        mapping: dict[str, Any] = {}
        for contents in arguments[:1]:
            _set_state(mapping, contents)
        return mapping
    if name.name == "dtype":
        return _Type(arguments[0])
    if name.name in ("_reconstruct", "ndarray"):
        return _Array()
    if name.name == "scalar":
        return _numbers(arguments[0], arguments[1])[0]
    if not isinstance(arguments[0], str) or arguments[1:] != ("latin1",):
        raise UnpickleError("it encodes text in another way than latin1")
    return arguments[0].encode("latin1")


def _set_state(value: Any, state: Any) -> None:
    if isinstance(value, dict):
        if isinstance(state, dict):
            contents = state.get("_mapping", state)
            items = list(contents.items()) if isinstance(contents, dict) else [(None, None)]
        else:
            items = [tuple(pair) for pair in state]
        _update(value, items)
    elif isinstance(value, _Type):
        if state[1] in ("<", ">"):
            value.type = value.type.newbyteorder(state[1])
    elif isinstance(value, _Array):
        _, shape, kind, fortran, data = state
        value.array = _numbers(kind, data).reshape(shape, order="F" if fortran else "C")
    else:
        raise UnpickleError("it gives a state to what has none")


def _numbers(kind: Any, data: Any) -> NDArray[Any]:
    if not isinstance(kind, _Type) or not isinstance(data, (bytes, bytearray)):
        raise UnpickleError("it holds an array that is not of numbers")
    return np.frombuffer(data, kind.type)


class _Plain:
    """Turns what the machine built into dictionaries and arrays; each mapping and array may be used once."""

    def __init__(self) -> None:
        self.seen: set[int] = set()

    def of(self, value: Any, depth: int) -> Any:
        if isinstance(value, (np.generic, int, float)):
            return np.asarray(value)
        if id(value) in self.seen:
            raise UnpickleError("it uses an array or a mapping twice")
        self.seen.add(id(value))
        if isinstance(value, dict):
            if depth > DEEPEST:
                raise UnpickleError("its mappings are nested too deeply")
            return {key: self.of(item, depth + 1) for key, item in value.items()}
        if isinstance(value, _Array) and value.array is not None:
            return value.array
        raise UnpickleError(f"it holds a {type(value).__name__.lstrip('_')}")
