"""PNG pictures without another package (PNG specification, W3C): what notebooks show, and 16 bits in each of three channels.

Pillow reads those as 8 bits. Other pictures are read by images.py.
"""

from __future__ import annotations

import struct
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perceiver_runtime.common.errors import InputError

SIGNATURE = b"\x89PNG\r\n\x1a\n"
MAX_PIXELS = 1 << 27
_RGB = 2  # the colour type
_PIXEL = 6  # bytes


def encode_png(image: NDArray[Any]) -> bytes:
    """uint8 or uint16 (H, W, 3) as the bytes of a PNG file."""
    height, width = image.shape[:2]
    rows = np.ascontiguousarray(image, ">u2" if image.dtype == np.uint16 else "u1").view(np.uint8).reshape(height, -1)
    raw = np.concatenate([np.zeros((height, 1), np.uint8), rows], axis=1).tobytes()  # each row with the filter "none"
    header = struct.pack(">IIBBBBB", width, height, 8 * image.dtype.itemsize, _RGB, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(raw, 6)), (b"IEND", b""))
    parts = [struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks]
    return b"".join([SIGNATURE, *parts])


def decode_png16(content: bytes, name: str) -> NDArray[np.uint16]:
    """The bytes of a PNG file with 16-bit RGB → uint16 (H, W, 3). Raises `InputError` that calls it `name`."""
    try:
        chunks = _chunks(content)
        first, header = next(chunks)
        if first != b"IHDR":
            raise ValueError("its header is missing")
        width, height, bits, colour, _, _, interlaced = struct.unpack(">IIBBBBB", header)
        if (bits, colour, interlaced) != (16, _RGB, 0):
            raise ValueError(f"it has {bits} bits and colour type {colour}, expected 16-bit RGB, not interlaced")
        if not 0 < width * height <= MAX_PIXELS:
            raise ValueError(f"it has {width}x{height} pixels, {MAX_PIXELS} are allowed")
        packed = b"".join(data for kind, data in chunks if kind == b"IDAT")
        size = height * (1 + width * _PIXEL)
        raw = zlib.decompressobj().decompress(packed, size)
        if len(raw) != size:
            raise ValueError("it was cut short")
        return (
            _unfiltered(np.frombuffer(raw, np.uint8).reshape(height, -1))
            .view(">u2")
            .reshape(height, width, 3)
            .astype(np.uint16)
        )
    except (ValueError, StopIteration, struct.error, zlib.error) as error:
        raise InputError(f"{name} is no 16-bit RGB picture in PNG that can be read ({error})") from error


def _chunks(content: bytes) -> Any:
    """Name and data of each chunk, up to the end."""
    if not content.startswith(SIGNATURE):
        raise ValueError("it does not begin as a PNG file does")
    place, name = len(SIGNATURE), b""
    while name != b"IEND":
        length, name = struct.unpack(">I4s", content[place : place + 8])
        data, crc = content[place + 8 : place + 8 + length], content[place + 8 + length : place + 12 + length]
        if len(crc) < 4 or zlib.crc32(name + data) != int.from_bytes(crc, "big"):
            raise ValueError("a part of it is damaged")
        yield name, data
        place += 12 + length


def _unfiltered(rows: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Rows, each with its filter's number first → the values (H, row bytes)."""
    found = np.zeros((len(rows), rows.shape[1] - 1), np.uint8)
    above = np.zeros(rows.shape[1] - 1, np.uint8)
    for place, row in enumerate(rows):
        kind, data = int(row[0]), row[1:]
        if kind == 0:
            above = data
        elif kind == 1:  # left
            above = np.cumsum(data.reshape(-1, _PIXEL), axis=0, dtype=np.uint8).reshape(-1)
        elif kind == 2:  # above
            above = data + above
        elif kind in (3, 4):
            above = _sequential(data.tobytes(), above.tobytes(), _average if kind == 3 else _paeth)
        else:
            raise ValueError(f"a row has the filter {kind}")
        found[place] = above
    return found


def _sequential(data: bytes, above: bytes, predict: Any) -> NDArray[np.uint8]:
    """A row whose bytes each depend on the one before."""
    found = bytearray(_PIXEL + len(data))  # a pixel of zeros to the left
    corner = bytes(_PIXEL) + above
    for place, value in enumerate(data):
        found[place + _PIXEL] = (value + predict(found[place], above[place], corner[place])) & 255
    return np.frombuffer(bytes(found[_PIXEL:]), np.uint8)


def _average(left: int, up: int, corner: int) -> int:
    return (left + up) >> 1


def _paeth(left: int, up: int, corner: int) -> int:
    guess = left + up - corner
    by_left, by_up, by_corner = abs(guess - left), abs(guess - up), abs(guess - corner)
    if by_left <= by_up and by_left <= by_corner:
        return left
    return up if by_up <= by_corner else corner
