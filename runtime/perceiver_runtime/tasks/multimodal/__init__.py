"""Multimodal autoencoding: a clip of video and sound to its reconstruction and its label."""

from typing import Any

from perceiver_runtime.tasks.kinds.clip import CLIP
from perceiver_runtime.tasks.metrics.labels import class_folders, label_metric
from perceiver_runtime.tasks.multimodal import command
from perceiver_runtime.tasks.multimodal.pipeline import MultimodalPipeline
from perceiver_runtime.tasks.task import LABEL_COLUMNS, Row, RunCommand, Task, always


def _rows(pipeline: Any, items: list[Any], **options: Any) -> list[Row]:
    return [best.to_dict() for (best,) in _labels(pipeline, items, top_k=1)]


def _labels(pipeline: Any, items: list[Any], *, top_k: int = 5) -> list[Any]:
    """Without the reconstructions, which a table has no room for."""
    return [pipeline.labels(video, audio, top_k=top_k) for video, audio in items]


TASK = Task(
    name="multimodal",
    about="a clip of video and sound to its reconstruction and its label",
    aliases=("multimodal-autoencoding", "autoencoding"),
    pipeline=MultimodalPipeline,
    kind=always(CLIP),
    command=RunCommand(
        "CLIP [--audio WAV] [-o CLIP.mp4] [--audio-output WAV] [--frames 3,7]",
        command.add_arguments,
        command.run,
        command.render,
        command.add_options,
        command.options,
    ),
    columns=LABEL_COLUMNS,
    rows=_rows,
    answers=_labels,
    batched=False,
    fixed_size=True,
    metric=label_metric(class_folders("video", CLIP.suffixes)),
)
