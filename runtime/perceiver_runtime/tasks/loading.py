"""From a bundle's folder, or its name on the hub, to the pipeline of its task."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, overload

from perceiver_runtime.bundle.choices import Choices
from perceiver_runtime.bundle.origin.hub import download, is_hub_name
from perceiver_runtime.bundle.origin.trust import Trust
from perceiver_runtime.bundle.reader import WHOLE, Bundle, open_bundle
from perceiver_runtime.common.amounts import memory_bytes, thread_count
from perceiver_runtime.common.errors import InputError, IntegrityError, UnpinnedWarning, UsageError
from perceiver_runtime.tasks.arrays.pipeline import ArraysPipeline
from perceiver_runtime.tasks.audio_classification.pipeline import AudioClassificationPipeline
from perceiver_runtime.tasks.features.pipeline import FeaturesPipeline
from perceiver_runtime.tasks.fill_mask.pipeline import FillMaskPipeline
from perceiver_runtime.tasks.flow.pipeline import FlowPipeline
from perceiver_runtime.tasks.image_classification.pipeline import ImageClassificationPipeline
from perceiver_runtime.tasks.multimodal.pipeline import MultimodalPipeline
from perceiver_runtime.tasks.object_detection.pipeline import ObjectDetectionPipeline
from perceiver_runtime.tasks.pipeline import Pipeline, RuntimeOptions
from perceiver_runtime.tasks.question_answering.pipeline import QuestionAnsweringPipeline
from perceiver_runtime.tasks.registry import find_task, unknown_task
from perceiver_runtime.tasks.task import Task
from perceiver_runtime.tasks.text_classification.pipeline import TextClassificationPipeline
from perceiver_runtime.tasks.token_classification.pipeline import TokenClassificationPipeline
from perceiver_runtime.tasks.video_classification.pipeline import VideoClassificationPipeline


@overload
def load(
    folder: str | Path,
    *,
    task: Literal["flow"],
    device: str | Sequence[str] = "auto",
    threads: int | None = None,
    max_memory: int | str | None = None,
    revision: str | None = None,
    manifest_sha256: str | None = None,
    public_key: str | os.PathLike[str] | bytes | None = None,
) -> FlowPipeline: ...


@overload
def load(
    folder: str | Path,
    *,
    task: Literal["fill-mask"],
    device: str | Sequence[str] = "auto",
    threads: int | None = None,
    max_memory: int | str | None = None,
    revision: str | None = None,
    manifest_sha256: str | None = None,
    public_key: str | os.PathLike[str] | bytes | None = None,
) -> FillMaskPipeline: ...


@overload
def load(
    folder: str | Path,
    *,
    task: Literal["text-classification"],
    device: str | Sequence[str] = "auto",
    threads: int | None = None,
    max_memory: int | str | None = None,
    revision: str | None = None,
    manifest_sha256: str | None = None,
    public_key: str | os.PathLike[str] | bytes | None = None,
) -> TextClassificationPipeline: ...


@overload
def load(
    folder: str | Path,
    *,
    task: Literal["image-classification"],
    device: str | Sequence[str] = "auto",
    threads: int | None = None,
    max_memory: int | str | None = None,
    revision: str | None = None,
    manifest_sha256: str | None = None,
    public_key: str | os.PathLike[str] | bytes | None = None,
) -> ImageClassificationPipeline: ...


@overload
def load(
    folder: str | Path,
    *,
    task: Literal["multimodal"],
    device: str | Sequence[str] = "auto",
    threads: int | None = None,
    max_memory: int | str | None = None,
    revision: str | None = None,
    manifest_sha256: str | None = None,
    public_key: str | os.PathLike[str] | bytes | None = None,
) -> MultimodalPipeline: ...


@overload
def load(
    folder: str | Path,
    *,
    task: Literal["features"],
    device: str | Sequence[str] = "auto",
    threads: int | None = None,
    max_memory: int | str | None = None,
    revision: str | None = None,
    manifest_sha256: str | None = None,
    public_key: str | os.PathLike[str] | bytes | None = None,
) -> FeaturesPipeline: ...


@overload
def load(
    folder: str | Path,
    *,
    task: Literal["token-classification"],
    device: str | Sequence[str] = "auto",
    threads: int | None = None,
    max_memory: int | str | None = None,
    revision: str | None = None,
    manifest_sha256: str | None = None,
    public_key: str | os.PathLike[str] | bytes | None = None,
) -> TokenClassificationPipeline: ...


@overload
def load(
    folder: str | Path,
    *,
    task: Literal["audio-classification"],
    device: str | Sequence[str] = "auto",
    threads: int | None = None,
    max_memory: int | str | None = None,
    revision: str | None = None,
    manifest_sha256: str | None = None,
    public_key: str | os.PathLike[str] | bytes | None = None,
) -> AudioClassificationPipeline: ...


@overload
def load(
    folder: str | Path,
    *,
    task: Literal["video-classification"],
    device: str | Sequence[str] = "auto",
    threads: int | None = None,
    max_memory: int | str | None = None,
    revision: str | None = None,
    manifest_sha256: str | None = None,
    public_key: str | os.PathLike[str] | bytes | None = None,
) -> VideoClassificationPipeline: ...


@overload
def load(
    folder: str | Path,
    *,
    task: Literal["object-detection"],
    device: str | Sequence[str] = "auto",
    threads: int | None = None,
    max_memory: int | str | None = None,
    revision: str | None = None,
    manifest_sha256: str | None = None,
    public_key: str | os.PathLike[str] | bytes | None = None,
) -> ObjectDetectionPipeline: ...


@overload
def load(
    folder: str | Path,
    *,
    task: Literal["question-answering"],
    device: str | Sequence[str] = "auto",
    threads: int | None = None,
    max_memory: int | str | None = None,
    revision: str | None = None,
    manifest_sha256: str | None = None,
    public_key: str | os.PathLike[str] | bytes | None = None,
) -> QuestionAnsweringPipeline: ...


@overload
def load(
    folder: str | Path,
    *,
    task: Literal["arrays"],
    device: str | Sequence[str] = "auto",
    threads: int | None = None,
    max_memory: int | str | None = None,
    revision: str | None = None,
    manifest_sha256: str | None = None,
    public_key: str | os.PathLike[str] | bytes | None = None,
) -> ArraysPipeline: ...


@overload
def load(
    folder: str | Path,
    *,
    task: str | None = None,
    device: str | Sequence[str] = "auto",
    threads: int | None = None,
    max_memory: int | str | None = None,
    revision: str | None = None,
    manifest_sha256: str | None = None,
    public_key: str | os.PathLike[str] | bytes | None = None,
) -> Pipeline: ...


def load(
    folder: str | Path,
    *,
    task: str | None = None,
    device: str | Sequence[str] = "auto",
    threads: int | None = None,
    max_memory: int | str | None = None,
    revision: str | None = None,
    manifest_sha256: str | None = None,
    public_key: str | os.PathLike[str] | bytes | None = None,
) -> Pipeline:
    """Check a bundle and open it for use: the pipeline of its task, see `perceiver_runtime.tasks`.

    `device` is one of `perceiver_runtime.backends.selection.DEVICES`, whose rules are said there, `cuda:1` the GPU of that
    number; with TensorRT the first use of a bundle builds its engines, which takes minutes. With a list of devices each has the
    whole model, and calls from several threads are spread over them. `threads` defaults to the cores this process may use,
    or to fewer where a container's CPU quota or `OMP_NUM_THREADS` says. With `task`, a bundle of another task is refused,
    and type checkers know the pipeline. `max_memory`, bytes or a text such as "700MB", is what weights and intermediate
    values may take with ONNX Runtime on a CPU or CUDA, on each device, for one input of the usual size: queries and batches
    become smaller to fit.

    A text `user/bundle` that is no folder here names a repository of the Hugging Face hub, at `revision` (a branch, tag or
    commit; None: main); what its manifest lists is downloaded into the hub's cache. A folder of that name comes first, and then
    a revision is a `UsageError`. Before anything is loaded, `manifest_sha256`, as `perceiver inspect` prints it, refuses any
    other bundle, of a folder too, and `public_key`, a file in PEM or its content, what its holder did not sign (docs/hub.md).

    Raises `InputError`, also where memory is too little, `UsageError`, `IntegrityError`, `BackendError`.

    >>> with perceiver_runtime.load("flow") as flow:
    ...     field = flow(frame1, frame2)
    """
    trust = Trust.of(manifest_sha256, public_key)
    runtime_options = RuntimeOptions(
        device,
        None if threads is None else thread_count(threads),
        None if max_memory is None else memory_bytes("max_memory", max_memory),
    )
    return load_pipeline(local_folder(folder, revision, trust), runtime_options, task=task, trust=trust)


def local_folder(bundle: str | Path, revision: str | None, trust: Trust) -> str | Path:
    """The folder of a bundle: the one of that name, else the hub's in its cache. Raises what `load` does."""
    if os.path.lexists(bundle):
        if revision is not None:
            raise UsageError(f"{bundle} is a folder here, a revision is for the hub: leave it out, or work in another folder")
        return bundle
    if not isinstance(bundle, str) or not is_hub_name(bundle):
        if revision is not None:
            raise UsageError(f"a revision is for the hub, and {bundle} is no name there: give user/bundle, or leave it out")
        return bundle
    parent = bundle.partition("/")[0]
    if revision is None and os.path.isdir(parent):
        raise InputError(
            f"there is no bundle at {bundle}, though there is a folder {parent}: check the name, or give a revision, such as "
            "main, where the hub's is meant"
        )
    found = download(bundle, revision=revision, trust=trust)
    if revision != found.commit and trust == WHOLE:
        pin = f"pin it with revision={found.commit!r}, else it may be another tomorrow"
        warnings.warn(f"{bundle} is the hub's, commit {found.commit}: {pin}", UnpinnedWarning, stacklevel=3)
    return found.folder


def load_pipeline(
    folder: str | Path, runtime_options: RuntimeOptions, *, task: str | None = None, trust: Trust = WHOLE
) -> Pipeline:
    """`load` of a folder; weights are hashed while engines load them, for either takes as long as the other."""
    bundle = open_bundle(folder, wait=False, trust=trust)
    try:
        pipeline = open_pipeline(bundle, runtime_options, task=task)
    except Exception:
        bundle.check()  # damage comes before what an engine made of it
        raise
    try:
        bundle.check()
    except IntegrityError:
        pipeline.close()
        raise
    return pipeline


def open_pipeline(bundle: Bundle, runtime_options: RuntimeOptions, *, task: str | None = None) -> Pipeline:
    """The pipeline of a bundle that was checked."""
    return check_task(bundle, task).pipeline(bundle, runtime_options)


def check_task(bundle: Bundle, task: str | None) -> Task:
    """The bundle's task, which has to be `task` (any, if None). Raises `UsageError`, also where it cannot be run here.

    Raises `IntegrityError` where its graphs are not those of its task.
    """
    found = bundle.manifest.task
    if task is not None and find_task(task) is None:
        raise unknown_task(task)
    if task is not None and found != task:
        raise UsageError(f"{bundle.folder} is a bundle for {found}, not for {task}: give a {task} bundle")
    known = find_task(found)
    if known is None:
        package = Choices.of(bundle.manifest).task_package
        way_out = f"install {package}, which brings it" if package else "upgrade it"
        raise UsageError(f"{bundle.folder} is for the task {found!r}, which this perceiver-runtime cannot run: {way_out}")
    known.pipeline.check_graphs(bundle.manifest)
    return known
