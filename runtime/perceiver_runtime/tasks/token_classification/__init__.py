"""Token classification: a text to labelled spans of it."""

import json

from perceiver_runtime.tasks.kinds.text import TEXT
from perceiver_runtime.tasks.task import RunCommand, Task, always
from perceiver_runtime.tasks.token_classification import command
from perceiver_runtime.tasks.token_classification.pipeline import TokenClassificationPipeline

TASK = Task(
    name="token-classification",
    about="a text to labelled spans of it: names, dates, whatever was trained",
    aliases=("ner",),
    pipeline=TokenClassificationPipeline,
    kind=always(TEXT),
    command=RunCommand("TEXT …", command.add_arguments, command.run, command.render),
    columns=("spans",),
    rows=lambda pipeline, items: [{"spans": json.dumps(spans.to_dict()["spans"])} for spans in pipeline(items)],
    single_call=True,
)
