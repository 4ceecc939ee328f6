"""Multimodal autoencoding: a clip of video and sound to its reconstruction and its label."""

from typing import Any

from perceiver_runtime.tasks.kinds.clip import CLIP
from perceiver_runtime.tasks.multimodal import command
from perceiver_runtime.tasks.multimodal.pipeline import MultimodalPipeline
from perceiver_runtime.tasks.task import LABEL_COLUMNS, Row, RunCommand, Task, always


def _rows(pipeline: Any, items: list[Any]) -> list[Row]:
    found = []
    for video, audio in items:
        (best,) = pipeline.labels(video, audio, top_k=1)
        found.append({"label": best.label, "probability": best.probability})
    return found


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
    ),
    columns=LABEL_COLUMNS,
    rows=_rows,
    batched=False,
    fixed_size=True,
)
