"""Audio classification: a sound to labels."""

from perceiver_runtime.tasks.audio_classification import command
from perceiver_runtime.tasks.audio_classification.pipeline import AudioClassificationPipeline
from perceiver_runtime.tasks.kinds.audio import AUDIO
from perceiver_runtime.tasks.metrics.labels import class_folders, label_metric
from perceiver_runtime.tasks.task import LABEL_COLUMNS, RunCommand, Task, always, label_rows

TASK = Task(
    name="audio-classification",
    about="a sound to labels, in windows where it is longer than the model takes",
    aliases=("sound-classification",),
    pipeline=AudioClassificationPipeline,
    kind=always(AUDIO),
    command=RunCommand(
        "SOUND … [-o LABELS.png]",
        command.add_arguments,
        command.run,
        command.render,
        command.add_options,
        command.options,
    ),
    columns=LABEL_COLUMNS,
    rows=label_rows,
    fixed_size=True,
    single_call=True,
    metric=label_metric(class_folders("audio", AUDIO.suffixes)),
)
