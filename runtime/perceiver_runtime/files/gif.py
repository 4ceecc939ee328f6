"""An animated GIF from single ones: blocks of the format (GIF89a specification, W3C) put together, nothing decoded.

Pillow's own writer joins frames that are alike into one that lasts longer, and a clip of 16 frames would come back with fewer.
"""

from __future__ import annotations

import struct

_LOOP = b"\x21\xff\x0bNETSCAPE2.0\x03\x01\x00\x00\x00"  # for ever
_EXTENSION, _IMAGE = 0x21, 0x2C
TRAILER = b"\x3b"


def header(still: bytes) -> bytes:
    """What comes before the first picture: of the size of a GIF of one picture."""
    return b"GIF89a" + still[6:10] + b"\x70\x00\x00" + _LOOP


def picture(still: bytes, hundredths: int) -> bytes:
    """The picture of a GIF of one, with its own colours, to be shown for `hundredths` of a second."""
    return struct.pack("<BBBBHBB", _EXTENSION, 0xF9, 4, 0, min(hundredths, 0xFFFF), 0, 0) + _image_block(still)


def _image_block(still: bytes) -> bytes:
    """The image block of a GIF, with the file's colour table as its own where it has none."""
    flags, place = still[10], 13
    table = still[place : place + _table_bytes(flags)]
    place += len(table)
    while still[place] == _EXTENSION:
        place = _after_blocks(still, place + 2)
    if still[place] != _IMAGE:
        raise ValueError("a GIF without a picture")
    descriptor, own = still[place : place + 9], still[place + 9]
    start = place + 10
    end = _after_blocks(still, start + _table_bytes(own) + 1)  # one byte of the code's size
    if own & 0x80:
        return still[place:end]
    return descriptor + bytes([(own & 0x40) | (flags & 0x87)]) + table + still[start:end]


def _table_bytes(flags: int) -> int:
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def _after_blocks(data: bytes, place: int) -> int:
    """The place after a run of sub-blocks, which ends with one of no bytes."""
    while size := data[place]:
        place += size + 1
    return place + 1
