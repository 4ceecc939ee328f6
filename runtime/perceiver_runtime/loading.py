"""From a bundle's folder to the pipeline of its task."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

from perceiver_runtime.amounts import memory_bytes, thread_count
from perceiver_runtime.bundle import Bundle, open_bundle
from perceiver_runtime.errors import UsageError
from perceiver_runtime.features import FeaturesPipeline
from perceiver_runtime.fill_mask import FillMaskPipeline
from perceiver_runtime.flow import FlowPipeline
from perceiver_runtime.image_classification import ImageClassificationPipeline
from perceiver_runtime.multimodal import MultimodalPipeline
from perceiver_runtime.pipeline import Pipeline, Placement
from perceiver_runtime.text_classification import TextClassificationPipeline

PIPELINES: dict[str, type[Pipeline]] = {
    "flow": FlowPipeline,
    "fill-mask": FillMaskPipeline,
    "text-classification": TextClassificationPipeline,
    "image-classification": ImageClassificationPipeline,
    "multimodal": MultimodalPipeline,
    "features": FeaturesPipeline,
}


def load(
    folder: str | Path,
    *,
    task: str | None = None,
    device: str = "auto",
    threads: int | None = None,
    max_memory: int | str | None = None,
) -> Any:
    """Check a bundle and open it for use: the pipeline of its task, one of `PIPELINES`.

    `device` is one of `perceiver_runtime.backends.DEVICES`, whose rules are said there; with TensorRT the first use of a
    bundle builds its engines, which takes minutes. `threads` defaults to the cores this process may use. With `task`, a bundle
    of another task is refused. `max_memory`, bytes or a text such as "700MB", is what weights and intermediate values may take
    with ONNX Runtime on a CPU, for one input of the usual size: queries and batches become smaller to fit. Raises `InputError`,
    also where that is too little, `UsageError`, `IntegrityError`, `BackendError`.

    >>> with perceiver_runtime.load("flow") as flow:
    ...     field = flow(frame1, frame2)
    """
    placement = Placement(
        device,
        None if threads is None else thread_count(threads),
        None if max_memory is None else memory_bytes("max_memory", max_memory),
    )
    return open_pipeline(open_bundle(folder), placement, task=task)


def open_pipeline(bundle: Bundle, placement: Placement, *, task: str | None = None) -> Pipeline:
    """The pipeline of a bundle that was checked."""
    check_task(bundle, task)
    return PIPELINES[bundle.manifest.task](bundle, placement)


def check_task(bundle: Bundle, task: str | None) -> None:
    """Raise `UsageError` unless the bundle is for `task` (any, if None) and this version can run it.

    Raises `IntegrityError` where its graphs are not those of its task.
    """
    found = bundle.manifest.task
    if task is not None and task not in PIPELINES:
        nearest = difflib.get_close_matches(task, PIPELINES, n=1, cutoff=0.0)[0]
        raise UsageError(f"unknown task {task!r}; did you mean {nearest!r}? available: {', '.join(PIPELINES)}")
    if task is not None and found != task:
        raise UsageError(f"{bundle.folder} is a bundle for {found}, not for {task}: give a {task} bundle")
    if found not in PIPELINES:
        raise UsageError(f"{bundle.folder} is for the task {found!r}, which this perceiver-runtime cannot run: upgrade it")
    PIPELINES[found].check_graphs(bundle.manifest)
