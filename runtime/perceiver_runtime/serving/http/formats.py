"""What an answer may be sent as, chosen by a request's Accept: JSON always, and formats of what the task gives besides."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from perceiver_runtime.files.flo import encode_flo
from perceiver_runtime.files.pictures.kitti import encode_kitti_flow
from perceiver_runtime.files.pictures.png import encode_png
from perceiver_runtime.processing.flow_image import flow_to_image
from perceiver_runtime.serving.answering import Answering, json_bytes
from perceiver_runtime.serving.http.errors import HttpError

JSON = "application/json"


@dataclass(frozen=True)
class Format:
    """A media type, with the `profile` that tells two of one type apart; which answers have it, and how it is written."""

    media_type: str
    profile: str
    applies: Callable[[Answering], bool]
    encode: Callable[[Answering, Any], bytes]

    @property
    def name(self) -> str:
        """As an answer's Content-Type says it."""
        return f"{self.media_type}; profile={self.profile}" if self.profile else self.media_type


def _npy(answering: Answering, answer: Any) -> bytes:
    stream = io.BytesIO()
    np.save(stream, next(iter(answering.arrays(answer).values())))
    return stream.getvalue()


def _npz(answering: Answering, answer: Any) -> bytes:
    stream = io.BytesIO()
    arrays: dict[str, Any] = dict(answering.arrays(answer))
    np.savez(stream, **arrays)
    return stream.getvalue()


def _gives_field(answering: Answering) -> bool:
    return answering.task.gives_field


FORMATS = (
    Format(JSON, "", lambda answering: True, lambda answering, answer: json_bytes(answer)),
    Format("application/x-flo", "", _gives_field, lambda answering, answer: encode_flo(np.asarray(answer))),
    Format("image/png", "", _gives_field, lambda answering, answer: encode_png(flow_to_image(np.asarray(answer)))),
    Format("image/png", "kitti", _gives_field, lambda answering, answer: encode_kitti_flow(np.asarray(answer))),
    Format("application/x-npy", "", lambda answering: len(answering.outputs) == 2, _npy),
    Format("application/x-npz", "", lambda answering: len(answering.outputs) > 1, _npz),
)


def chosen(accept: str, answering: Answering) -> Format:
    """The first format that the header asks for and the task has, the most wanted first. Raises `HttpError` 406."""
    own = [each for each in FORMATS if each.applies(answering)]
    for media_type, profile in _wanted(accept or "*/*"):
        for each in own:
            kind = each.media_type.partition("/")[0]
            if media_type in (each.media_type, f"{kind}/*", "*/*") and profile == each.profile:
                return each
    raise HttpError(406, f"this answer can be {', '.join(each.name for each in own)}")


def _wanted(accept: str) -> list[tuple[str, str]]:
    """Media types and profiles of an Accept header, the most wanted first."""
    found: list[tuple[float, int, str, str]] = []
    for place, part in enumerate(accept.split(",")):
        media_type, *parameters = (piece.strip() for piece in part.split(";"))
        values = {
            key.strip().lower(): value.strip().strip('"') for key, _, value in (each.partition("=") for each in parameters)
        }
        try:
            quality = float(values.get("q", "1"))
        except ValueError:
            quality = 0.0
        if quality > 0:
            found.append((-quality, place, media_type.lower(), values.get("profile", "")))
    return [(media_type, profile) for _, _, media_type, profile in sorted(found)]
