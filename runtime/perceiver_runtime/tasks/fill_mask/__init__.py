"""Masked bytes: a text with `[MASK]` in it to what may stand there."""

from perceiver_runtime.tasks import text_commands
from perceiver_runtime.tasks.fill_mask.pipeline import FillMaskPipeline
from perceiver_runtime.tasks.kinds.text import TEXT
from perceiver_runtime.tasks.task import RunCommand, Task, always

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
    ),
    columns=("filled",),
    rows=lambda pipeline, texts: [{"filled": pipeline.fill(text)} for text in texts],
    single_call=True,
)
