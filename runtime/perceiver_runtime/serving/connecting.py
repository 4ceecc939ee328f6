"""Pipelines whose graphs run on a server: pre- and post-processing here in numpy, encode and decode there.

Latents come back once for each input and go with each chunk of queries. client.py speaks to the server.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, overload

from perceiver_runtime.bundle.reader import open_bundle
from perceiver_runtime.common.errors import InputError, UsageError
from perceiver_runtime.serving.client import Server
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


@overload
def connect(
    address: str,
    *,
    task: Literal["flow"],
    bundle: str | Path,
    name: str | None = None,
    timeout: float = 60.0,
    tls: bool = False,
) -> FlowPipeline: ...


@overload
def connect(
    address: str,
    *,
    task: Literal["fill-mask"],
    bundle: str | Path,
    name: str | None = None,
    timeout: float = 60.0,
    tls: bool = False,
) -> FillMaskPipeline: ...


@overload
def connect(
    address: str,
    *,
    task: Literal["text-classification"],
    bundle: str | Path,
    name: str | None = None,
    timeout: float = 60.0,
    tls: bool = False,
) -> TextClassificationPipeline: ...


@overload
def connect(
    address: str,
    *,
    task: Literal["image-classification"],
    bundle: str | Path,
    name: str | None = None,
    timeout: float = 60.0,
    tls: bool = False,
) -> ImageClassificationPipeline: ...


@overload
def connect(
    address: str,
    *,
    task: Literal["multimodal"],
    bundle: str | Path,
    name: str | None = None,
    timeout: float = 60.0,
    tls: bool = False,
) -> MultimodalPipeline: ...


@overload
def connect(
    address: str,
    *,
    task: Literal["features"],
    bundle: str | Path,
    name: str | None = None,
    timeout: float = 60.0,
    tls: bool = False,
) -> FeaturesPipeline: ...


@overload
def connect(
    address: str,
    *,
    task: Literal["token-classification"],
    bundle: str | Path,
    name: str | None = None,
    timeout: float = 60.0,
    tls: bool = False,
) -> TokenClassificationPipeline: ...


@overload
def connect(
    address: str,
    *,
    task: Literal["audio-classification"],
    bundle: str | Path,
    name: str | None = None,
    timeout: float = 60.0,
    tls: bool = False,
) -> AudioClassificationPipeline: ...


@overload
def connect(
    address: str,
    *,
    task: Literal["video-classification"],
    bundle: str | Path,
    name: str | None = None,
    timeout: float = 60.0,
    tls: bool = False,
) -> VideoClassificationPipeline: ...


@overload
def connect(
    address: str,
    *,
    task: Literal["object-detection"],
    bundle: str | Path,
    name: str | None = None,
    timeout: float = 60.0,
    tls: bool = False,
) -> ObjectDetectionPipeline: ...


@overload
def connect(
    address: str,
    *,
    task: Literal["question-answering"],
    bundle: str | Path,
    name: str | None = None,
    timeout: float = 60.0,
    tls: bool = False,
) -> QuestionAnsweringPipeline: ...


@overload
def connect(
    address: str,
    *,
    task: Literal["arrays"],
    bundle: str | Path,
    name: str | None = None,
    timeout: float = 60.0,
    tls: bool = False,
) -> ArraysPipeline: ...


@overload
def connect(
    address: str,
    *,
    task: str | None = None,
    bundle: str | Path,
    name: str | None = None,
    timeout: float = 60.0,
    tls: bool = False,
) -> Pipeline: ...


def connect(
    address: str,
    *,
    bundle: str | Path,
    name: str | None = None,
    timeout: float = 60.0,
    tls: bool = False,
    task: str | None = None,
) -> Pipeline:
    """The pipeline of a bundle whose graphs run on the server at `address`, "host:port" of its gRPC service.

    `bundle` is the folder: its manifest and labels are used here, graphs and weights may be left out of it. `name` begins the
    models' names there, by default the folder's. A request that takes longer than `timeout` seconds is an error. Objects and
    calls are those of `perceiver_runtime.load`. Raises `InputError`, `UsageError`, `IntegrityError`, `BackendError`.

    >>> with perceiver_runtime.connect("server:8001", bundle="flow") as flow:
    ...     field = flow(frame1, frame2)
    """
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)):
        raise InputError(f"timeout is {timeout!r}: give seconds, a number such as 60.0")
    if not timeout > 0:
        raise UsageError(f"timeout is {timeout}: give seconds, more than 0")
    opened = open_bundle(bundle, partial=True)
    server = Server(address, name or opened.folder.absolute().name, opened, timeout, tls)
    try:
        return open_pipeline(opened, RuntimeOptions(opener=server.graphs, max_batch=server.max_batch()), task=task)
    except BaseException:
        server.close()
        raise
