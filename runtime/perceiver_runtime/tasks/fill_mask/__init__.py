"""Masked bytes: a text with `[MASK]` in it to what may stand there."""

from typing import Any

from perceiver_runtime.processing.text import TextProcessor
from perceiver_runtime.tasks import text_commands
from perceiver_runtime.tasks.fill_mask.pipeline import FillMaskPipeline
from perceiver_runtime.tasks.kinds.text import TEXT
from perceiver_runtime.tasks.metrics.texts import SPANS
from perceiver_runtime.tasks.task import Row, RunCommand, Task, always


def _rows(pipeline: Any, texts: list[str], *, truncate: bool = False, **options: Any) -> list[Row]:
    return [{"filled": pipeline.fill(text, truncate=truncate)} for text in texts]


TASK = Task(
    name="fill-mask",
    about="a text with masked bytes to what they may be",
    aliases=("mlm", "masked-lm", "masked-language-modeling"),
    pipeline=FillMaskPipeline,
    kind=always(TEXT),
    command=RunCommand(
        "TEXT … (with [MASK], or [MASK*9] for nine bytes) [--beams 8]",
        text_commands.add_mask_arguments,
        text_commands.fill_mask,
        text_commands.render_spans,
        text_commands.add_mask_options,
        text_commands.mask_options,
    ),
    columns=("filled",),
    rows=_rows,
    single_call=True,
    metric=SPANS,
    check_queries=lambda constants: TextProcessor.from_json(dict(constants)).check_positions,
)
