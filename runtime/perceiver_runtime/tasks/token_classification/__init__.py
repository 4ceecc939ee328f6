"""Token classification: a text to labelled spans of it."""

import json
from typing import Any

from perceiver_runtime.tasks.kinds.text import TEXT
from perceiver_runtime.tasks.metrics.parts import LABELLED_SPANS
from perceiver_runtime.tasks.task import Row, RunCommand, Task, always
from perceiver_runtime.tasks.token_classification import command
from perceiver_runtime.tasks.token_classification.pipeline import TokenClassificationPipeline


def _rows(pipeline: Any, items: list[Any], **options: Any) -> list[Row]:
    return [{"spans": json.dumps(spans.to_dict()["spans"])} for spans in pipeline(items, **options)]


TASK = Task(
    name="token-classification",
    about="a text to labelled spans of it: names, dates, whatever was trained",
    aliases=("ner",),
    pipeline=TokenClassificationPipeline,
    kind=always(TEXT),
    command=RunCommand("TEXT …", command.add_arguments, command.run, command.render, command.add_options, command.options),
    columns=("spans",),
    rows=_rows,
    single_call=True,
    metric=LABELLED_SPANS,
)
