"""Optical flow: two images to the motion of every pixel."""

from typing import Any

from perceiver_runtime.tasks.flow import command
from perceiver_runtime.tasks.flow.pipeline import FlowPipeline
from perceiver_runtime.tasks.kinds.frames import FRAMES
from perceiver_runtime.tasks.metrics.flow import FLOW
from perceiver_runtime.tasks.task import Row, RunCommand, Task, always


def _rows(pipeline: Any, items: list[Any], **options: Any) -> list[Row]:
    fields = [pipeline(first, second, **options) for first, second in items]
    return [{**field.motion(), "field": field} for field in fields]


TASK = Task(
    name="flow",
    about="two images to the motion of every pixel",
    aliases=("optical-flow",),
    pipeline=FlowPipeline,
    kind=always(FRAMES),
    command=RunCommand(
        "FRAME1 FRAME2 [-o FLOW.png] [--flo FILE] [--at X,Y …], or CLIP [-o FLOW.mp4] [--track POINTS.csv]",
        command.add_arguments,
        command.run,
        command.render,
    ),
    columns=("mean_dx", "mean_dy", "mean_length", "max_length"),
    rows=_rows,
    batched=False,
    fixed_size=True,
    gives_field=True,
    arrays={"flow": ("H", "W", 2)},
    metric=FLOW,
)
