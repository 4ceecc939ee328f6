"""Object detection: a picture to labelled boxes."""

import json

from perceiver_runtime.tasks.kinds.image import IMAGE
from perceiver_runtime.tasks.object_detection import command
from perceiver_runtime.tasks.object_detection.pipeline import ObjectDetectionPipeline
from perceiver_runtime.tasks.task import RunCommand, Task, always

TASK = Task(
    name="object-detection",
    about="a picture to labelled boxes, from a set of queries",
    aliases=("detection",),
    pipeline=ObjectDetectionPipeline,
    kind=always(IMAGE),
    command=RunCommand("IMAGE … [-o BOXES.png]", command.add_arguments, command.run, command.render),
    columns=("objects",),
    rows=lambda pipeline, items: [{"objects": json.dumps(found.to_dict()["objects"])} for found in pipeline(items)],
    fixed_size=True,
    single_call=True,
)
