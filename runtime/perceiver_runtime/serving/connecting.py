"""Pipelines whose graphs run on a server: pre- and post-processing here in numpy, encode and decode there.

Latents come back once for each input and go with each chunk of queries. client.py speaks to the server.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypedDict, overload

from perceiver_runtime.bundle.reader import open_bundle
from perceiver_runtime.common.amounts import whole_number
from perceiver_runtime.common.errors import InputError, UsageError
from perceiver_runtime.serving.client import Server
from perceiver_runtime.serving.remote.access import Access
from perceiver_runtime.tasks.arrays.pipeline import ArraysPipeline
from perceiver_runtime.tasks.audio_classification.pipeline import AudioClassificationPipeline
from perceiver_runtime.tasks.features.pipeline import FeaturesPipeline
from perceiver_runtime.tasks.fill_mask.pipeline import FillMaskPipeline
from perceiver_runtime.tasks.flow.pipeline import FlowPipeline
from perceiver_runtime.tasks.image_classification.pipeline import ImageClassificationPipeline
from perceiver_runtime.tasks.loading import open_pipeline
from perceiver_runtime.tasks.multimodal.pipeline import MultimodalPipeline
from perceiver_runtime.tasks.object_detection.pipeline import ObjectDetectionPipeline
from perceiver_runtime.tasks.pipeline import Pipeline, RuntimeOptions
from perceiver_runtime.tasks.question_answering.pipeline import QuestionAnsweringPipeline
from perceiver_runtime.tasks.text_classification.pipeline import TextClassificationPipeline
from perceiver_runtime.tasks.token_classification.pipeline import TokenClassificationPipeline
from perceiver_runtime.tasks.video_classification.pipeline import VideoClassificationPipeline

if TYPE_CHECKING:
    from typing import Unpack  # Python 3.11's


class Options(TypedDict, total=False):
    """What `connect` takes besides address, bundle and task."""

    name: str | None
    timeout: float
    retry_for: float
    concurrency: int
    tls: bool
    ca: str | os.PathLike[str] | None
    certificate: tuple[str | os.PathLike[str], str | os.PathLike[str]] | None
    authority: str | None
    token: str | Callable[[], str] | None
    headers: Mapping[str, str] | Callable[[], Mapping[str, str]] | None
    request_id: str | Callable[[], str] | None


Given = str | Path


@overload
def connect(address: str, *, task: Literal["flow"], bundle: Given, **options: Unpack[Options]) -> FlowPipeline: ...


@overload
def connect(address: str, *, task: Literal["fill-mask"], bundle: Given, **options: Unpack[Options]) -> FillMaskPipeline: ...


@overload
def connect(
    address: str, *, task: Literal["text-classification"], bundle: Given, **options: Unpack[Options]
) -> TextClassificationPipeline: ...


@overload
def connect(
    address: str, *, task: Literal["image-classification"], bundle: Given, **options: Unpack[Options]
) -> ImageClassificationPipeline: ...


@overload
def connect(address: str, *, task: Literal["multimodal"], bundle: Given, **options: Unpack[Options]) -> MultimodalPipeline: ...


@overload
def connect(address: str, *, task: Literal["features"], bundle: Given, **options: Unpack[Options]) -> FeaturesPipeline: ...


@overload
def connect(
    address: str, *, task: Literal["token-classification"], bundle: Given, **options: Unpack[Options]
) -> TokenClassificationPipeline: ...


@overload
def connect(
    address: str, *, task: Literal["audio-classification"], bundle: Given, **options: Unpack[Options]
) -> AudioClassificationPipeline: ...


@overload
def connect(
    address: str, *, task: Literal["video-classification"], bundle: Given, **options: Unpack[Options]
) -> VideoClassificationPipeline: ...


@overload
def connect(
    address: str, *, task: Literal["object-detection"], bundle: Given, **options: Unpack[Options]
) -> ObjectDetectionPipeline: ...


@overload
def connect(
    address: str, *, task: Literal["question-answering"], bundle: Given, **options: Unpack[Options]
) -> QuestionAnsweringPipeline: ...


@overload
def connect(address: str, *, task: Literal["arrays"], bundle: Given, **options: Unpack[Options]) -> ArraysPipeline: ...


@overload
def connect(address: str, *, task: str | None = None, bundle: Given, **options: Unpack[Options]) -> Pipeline: ...


def connect(
    address: str,
    *,
    bundle: Given,
    task: str | None = None,
    name: str | None = None,
    timeout: float = 60.0,
    retry_for: float = 30.0,
    concurrency: int = 4,
    tls: bool = False,
    ca: str | os.PathLike[str] | None = None,
    certificate: tuple[str | os.PathLike[str], str | os.PathLike[str]] | None = None,
    authority: str | None = None,
    token: str | Callable[[], str] | None = None,
    headers: Mapping[str, str] | Callable[[], Mapping[str, str]] | None = None,
    request_id: str | Callable[[], str] | None = None,
) -> Pipeline:
    """The pipeline of a bundle whose graphs run on the server at `address`, "host:port" of its gRPC service.

    `bundle` is the folder: its manifest and labels are used here, graphs and weights may be left out of it. `name` begins the
    models' names there, by default the folder's. Objects and calls are those of `perceiver_runtime.load`.

    A whole call that takes longer than `timeout` seconds is an error; what it still has in the server's queues is cancelled. A
    server that is away or busy is asked again for `retry_for` seconds, within `timeout`; 0 is never. Tiles of a large image are
    sent `concurrency` at a time.

    `ca` (the authority that signed the server's certificate) and `certificate` (the client's, and its key) are PEM files, and
    turn `tls` on. `authority` is the host's name for an ingress, and in the server's certificate. Each request carries `token`
    as `authorization: Bearer …`, `headers`, and `request_id`; each may be a function, which is asked once for each call of the
    pipeline in the thread that calls: for tokens that end, and for `traceparent`.

    Raises `InputError`, `UsageError`, `IntegrityError`, `BackendError`.

    >>> with perceiver_runtime.connect("server:8001", bundle="flow") as flow:
    ...     field = flow(frame1, frame2)
    """
    _seconds("timeout", timeout, zero=False)
    _seconds("retry_for", retry_for, zero=True)
    whole_number("concurrency", concurrency)
    access = Access(address, tls, ca, certificate, authority, token, headers, request_id)
    access.check()
    opened = open_bundle(bundle, partial=True)
    server = Server(access, name or opened.folder.absolute().name, opened, timeout, retry_for)
    try:
        options = RuntimeOptions(opener=server.graphs, max_batch=server.max_batch(), call=server.call, concurrency=concurrency)
        return open_pipeline(opened, options, task=task)
    except BaseException:
        server.close()
        raise


def _seconds(name: str, value: object, *, zero: bool) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise InputError(f"{name} is {value!r}: give seconds, a number such as 60.0")
    if not (value >= 0 if zero else value > 0) or not math.isfinite(value):
        raise UsageError(f"{name} is {value}: give seconds, {'0 or more' if zero else 'more than 0'}")
