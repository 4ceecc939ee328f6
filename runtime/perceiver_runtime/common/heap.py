"""Giving freed memory back to the system.

glibc keeps what was freed for the next time: after one flow of 368x496 pixels, some 300 MB that nobody uses, and the next
call's peak lies that much higher. Other C libraries give back on their own.
"""

from __future__ import annotations

import ctypes
import functools

KEPT = 64 << 20  # bytes; less is left where it is, for it would be fetched again at the next call


class _Mallinfo2(ctypes.Structure):
    """glibc's struct mallinfo2; `fordblks` is what is free."""

    _names = ("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost")
    _fields_ = [(name, ctypes.c_size_t) for name in _names]


@functools.cache
def _glibc() -> ctypes.CDLL | None:
    try:
        library = ctypes.CDLL(None)
        library.mallinfo2.restype = _Mallinfo2  # glibc 2.33, of 2021
        library.malloc_trim.argtypes = [ctypes.c_size_t]
    except (OSError, AttributeError, TypeError):
        return None
    return library


def release_heap() -> bool:
    """Give freed memory back if there is more than `KEPT`; whether it was."""
    library = _glibc()
    if library is None or library.mallinfo2().fordblks <= KEPT:
        return False
    return bool(library.malloc_trim(0))
