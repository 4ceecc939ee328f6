"""Video classification: frames to labels."""

from perceiver_runtime.tasks.kinds.video import VIDEO
from perceiver_runtime.tasks.metrics.labels import class_folders, label_metric
from perceiver_runtime.tasks.task import LABEL_COLUMNS, RunCommand, Task, always, label_rows
from perceiver_runtime.tasks.text_commands import render_labels
from perceiver_runtime.tasks.video_classification import command
from perceiver_runtime.tasks.video_classification.pipeline import VideoClassificationPipeline

TASK = Task(
    name="video-classification",
    about="the frames of a clip to labels",
    aliases=("action-recognition",),
    pipeline=VideoClassificationPipeline,
    kind=always(VIDEO),
    command=RunCommand("CLIP …", command.add_arguments, command.run, render_labels, command.add_options, command.options),
    columns=LABEL_COLUMNS,
    rows=label_rows,
    fixed_size=True,
    single_call=True,
    metric=label_metric(class_folders("video", VIDEO.suffixes)),
)
