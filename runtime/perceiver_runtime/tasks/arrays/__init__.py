"""Named arrays in, named arrays out: models that no other task is made for."""

from perceiver_runtime.tasks.arrays import command
from perceiver_runtime.tasks.arrays.items import items_of
from perceiver_runtime.tasks.arrays.pipeline import ArraysPipeline
from perceiver_runtime.tasks.task import RunCommand, Task

TASK = Task(
    name="arrays",
    about="named arrays, pictures or texts in, named arrays out: a model of one's own",
    aliases=("custom",),
    pipeline=ArraysPipeline,
    kind=items_of,
    command=RunCommand(
        "NAME=FILE … [-o ANSWER.npz]",
        command.add_arguments,
        command.run,
        command.render,
        command.add_options,
        command.options,
    ),
    columns=lambda manifest: tuple(spec.name for spec in manifest.graphs["decode"].outputs),
    rows=lambda pipeline, items, **options: list(pipeline(items, **options)),
    arrays=lambda manifest: {spec.name: spec.shape[1:] for spec in manifest.graphs["decode"].outputs},
    single_call=True,
)
