"""Image classification: an image to labels."""

from perceiver_runtime.tasks.image_classification import command
from perceiver_runtime.tasks.image_classification.pipeline import ImageClassificationPipeline
from perceiver_runtime.tasks.kinds.image import IMAGE
from perceiver_runtime.tasks.metrics.labels import class_folders, label_metric
from perceiver_runtime.tasks.task import LABEL_COLUMNS, RunCommand, Task, always, label_rows
from perceiver_runtime.tasks.text_commands import render_labels

TASK = Task(
    name="image-classification",
    about="an image to labels: learned, Fourier or convolutional checkpoints",
    aliases=("image",),
    pipeline=ImageClassificationPipeline,
    kind=always(IMAGE),
    command=RunCommand("IMAGE …", command.add_arguments, command.run, render_labels, command.add_options, command.options),
    columns=LABEL_COLUMNS,
    rows=label_rows,
    fixed_size=True,
    single_call=True,
    metric=label_metric(class_folders("image", IMAGE.suffixes)),
)
