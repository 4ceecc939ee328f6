"""Bare features: the encoder of any checkpoint, alone."""

import numpy as np

from perceiver_runtime.tasks.features import command
from perceiver_runtime.tasks.features.pipeline import FeaturesPipeline, kind_of
from perceiver_runtime.tasks.metrics.texts import LATENTS
from perceiver_runtime.tasks.task import RunCommand, Task

TASK = Task(
    name="features",
    about="the encoder of any checkpoint, alone",
    aliases=("feature-extraction", "embeddings"),
    pipeline=FeaturesPipeline,
    kind=kind_of,
    command=RunCommand("INPUT … [-o LATENTS.npy]", command.add_arguments, command.run, command.render, command.add_options),
    columns=("latents",),
    rows=lambda pipeline, items, **options: [{"latents": np.asarray(each)} for each in pipeline(items, **options)],
    takes_plain=True,
    arrays={"latents": ("N", "D")},
    metric=LATENTS,
)
