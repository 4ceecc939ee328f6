"""Question answering: a question and a text to the part of the text that answers it."""

from perceiver_runtime.tasks.kinds.question import QUESTION
from perceiver_runtime.tasks.metrics.parts import ANSWERS
from perceiver_runtime.tasks.question_answering import command
from perceiver_runtime.tasks.question_answering.pipeline import QuestionAnsweringPipeline, answer_rows
from perceiver_runtime.tasks.task import RunCommand, Task, always

TASK = Task(
    name="question-answering",
    about="a question and a text to the part of the text that answers it",
    aliases=("qa",),
    pipeline=QuestionAnsweringPipeline,
    kind=always(QUESTION),
    command=RunCommand(
        "QUESTION TEXT", command.add_arguments, command.run, command.render, command.add_options, command.options
    ),
    columns=("answer", "score", "start", "end"),
    rows=answer_rows,
    single_call=True,
    metric=ANSWERS,
)
