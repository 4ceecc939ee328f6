"""Which GPU a device is on: `cuda`, `cuda:1`, or several."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from perceiver_runtime.common.errors import UsageError


@dataclass(frozen=True)
class Placement:
    """A device by its name, and the GPU's number; None where none was given."""

    device: str
    gpu: int | None = None

    @classmethod
    def read(cls, text: str) -> Placement:
        """From `cpu` or `cuda:1`. Raises `UsageError`; whether there is such a device or GPU is seen later."""
        found = re.fullmatch(r"([^:]+)(?::([0-9]{1,4}))?", text) if isinstance(text, str) else None
        if found is None:
            raise UsageError(f"unknown device {text!r}: give a name, and for a GPU its number, such as cuda:1")
        return cls(found[1], None if found[2] is None else int(found[2]))


def placements(device: str | Sequence[str]) -> list[str]:
    """The devices that are meant by a name, names with commas between them, or a list of names. Raises `UsageError`."""
    names = device.split(",") if isinstance(device, str) else list(device)
    if not names:
        raise UsageError("an empty list of devices: give at least one")
    if len(set(names)) < len(names):
        raise UsageError(f"{', '.join(names)} names a device twice: threads share one, name each once")
    return names
