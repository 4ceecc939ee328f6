"""Optical flow: two images to the motion of every pixel."""

from typing import Any

import numpy as np

from perceiver_runtime.tasks.flow import command
from perceiver_runtime.tasks.flow.pipeline import FlowPipeline
from perceiver_runtime.tasks.kinds.frames import FRAMES
from perceiver_runtime.tasks.task import Row, RunCommand, Task, always


def _rows(pipeline: Any, items: list[Any]) -> list[Row]:
    rows = []
    for first, second in items:
        field = pipeline(first, second)
        length = np.hypot(field[..., 0], field[..., 1])
        numbers = {"mean_dx": field[..., 0].mean(), "mean_dy": field[..., 1].mean()}
        numbers |= {"mean_length": length.mean(), "max_length": length.max()}
        rows.append({**{name: float(number) for name, number in numbers.items()}, "field": field})
    return rows


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
)
