"""Text classification: a text or a pair to labels."""

from perceiver_runtime.tasks import text_commands
from perceiver_runtime.tasks.kinds.text import TEXT
from perceiver_runtime.tasks.metrics.labels import label_metric
from perceiver_runtime.tasks.task import LABEL_COLUMNS, RunCommand, Task, always, label_rows
from perceiver_runtime.tasks.text_classification.pipeline import TextClassificationPipeline

TASK = Task(
    name="text-classification",
    about="a text or a pair to labels",
    aliases=("sequence-classification", "sentiment-analysis"),
    pipeline=TextClassificationPipeline,
    kind=always(TEXT),
    command=RunCommand(
        "TEXT … [--pair TEXT]",
        text_commands.add_pair_arguments,
        text_commands.classify,
        text_commands.render_labels,
        text_commands.add_class_options,
        text_commands.class_options,
    ),
    columns=LABEL_COLUMNS,
    rows=label_rows,
    single_call=True,
    takes_plain=True,
    metric=label_metric(),
)
