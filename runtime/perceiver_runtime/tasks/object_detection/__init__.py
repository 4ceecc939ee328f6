"""Object detection: a picture to labelled boxes."""

import json
from typing import Any

from perceiver_runtime.tasks.kinds.image import IMAGE
from perceiver_runtime.tasks.metrics.boxes import BOXES
from perceiver_runtime.tasks.object_detection import command
from perceiver_runtime.tasks.object_detection.pipeline import ObjectDetectionPipeline
from perceiver_runtime.tasks.task import Row, RunCommand, Task, always


def _rows(pipeline: Any, items: list[Any], **options: Any) -> list[Row]:
    return [{"objects": json.dumps(found.to_dict()["objects"])} for found in pipeline(items, **options)]


TASK = Task(
    name="object-detection",
    about="a picture to labelled boxes, from a set of queries",
    aliases=("detection",),
    pipeline=ObjectDetectionPipeline,
    kind=always(IMAGE),
    command=RunCommand(
        "IMAGE … [-o BOXES.png]",
        command.add_arguments,
        command.run,
        command.render,
        command.add_options,
        command.options,
    ),
    columns=("objects",),
    rows=_rows,
    fixed_size=True,
    single_call=True,
    metric=BOXES,
)
