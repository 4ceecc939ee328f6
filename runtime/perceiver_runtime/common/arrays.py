"""Arrays that graphs pass to each other: numpy's, or on a GPU some that stay there.

Latents and features go from encode to decode. Where both run on a GPU, `Graph.run(..., keep=True)` leaves them in its memory as
`DeviceArray`s, which the next graph takes as they are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


class DeviceArray(Protocol):
    """float32 or int64 values in a GPU's memory, freed with the object."""

    shape: tuple[int, ...]

    def numpy(self) -> Array:
        """A copy in the host's memory."""

    def rows(self, start: int, stop: int) -> DeviceArray:
        """`[:, start:stop]` of a batch of one, without copying."""


@runtime_checkable
class Gathers(Protocol):
    """A `DeviceArray` whose rows can be gathered where they are."""

    def gather(self, rows: NDArray[np.int64]) -> Tensor:
        """`[:, rows]` of a batch of one."""


Tensor = Array | DeviceArray


def on_host(tensor: Tensor) -> Array:
    """As a numpy array; one stays as it is."""
    return tensor if isinstance(tensor, np.ndarray) else tensor.numpy()


def gather_rows(tensor: Tensor, rows: NDArray[np.int64]) -> Tensor:
    """`tensor[:, rows]` of a batch of one, on the GPU where it is there; consecutive rows are not copied."""
    first = int(rows[0])
    if np.array_equal(rows, np.arange(first, first + len(rows))):
        stop = first + len(rows)
        return tensor[:, first:stop] if isinstance(tensor, np.ndarray) else tensor.rows(first, stop)
    return tensor.gather(rows) if isinstance(tensor, Gathers) else on_host(tensor)[:, rows]


if TYPE_CHECKING:
    _Base = np.ndarray[Any, Any]
else:  # numpy 1.21 has no brackets there
    _Base = np.ndarray


class ArrayResult(_Base):
    """An answer that is an array: what takes numpy's takes it, and its parts and what is computed of it are plain arrays.

    A class around an array would break `field.shape` and `field[..., 0]` in programs that had the array before.
    """

    def __getitem__(self, key: Any) -> Any:
        return np.asarray(self)[key]

    def __array_wrap__(self, array: Array, context: Any = None, return_scalar: bool = False) -> Any:
        result = np.asarray(array)
        return result[()] if result.ndim == 0 else result
