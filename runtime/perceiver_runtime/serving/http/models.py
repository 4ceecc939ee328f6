"""What a bundle is on a server: its graphs, NAME_encode and so on; NAME, where one call of two graphs is enough; NAME_answer.

Names and tensors are those of a repository that `perceiver triton --with-processing` writes. Unlike there, inputs that no text
and no picture becomes are refused here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from perceiver_runtime.bundle.reader import Bundle
from perceiver_runtime.common.arrays import Array
from perceiver_runtime.common.errors import InputError, NotFiniteError, UsageError
from perceiver_runtime.serving.answering import ANSWER, Answering
from perceiver_runtime.serving.http.work import StoppedGraph
from perceiver_runtime.serving.raw_inputs import raw_check
from perceiver_runtime.serving.wire import WireSpec
from perceiver_runtime.tasks.loading import check_task
from perceiver_runtime.tasks.pipeline import Pipeline

Tensors = dict[str, Array]
Infer = Callable[[Mapping[str, Array], Sequence[str], Mapping[str, Any]], Tensors]


@dataclass(frozen=True)
class ServedModel:
    """A model: what it takes and gives. `infer` makes of inputs by name the outputs that are asked for, by name."""

    name: str
    task: str
    bundle: str  # the sha256 of its manifest
    inputs: Sequence[WireSpec]
    outputs: Sequence[WireSpec]
    infer: Infer


@dataclass(frozen=True)
class Served:
    """A bundle under a name: its models, and what answers texts and files."""

    name: str
    task: str
    bundle: str
    provider: str
    models: Sequence[ServedModel]
    answering: Answering | None


def served(bundle: Bundle, pipeline: Pipeline, name: str) -> Served:
    """A bundle's models. The pipeline's graphs are not run any more for calls that were stopped."""
    for graph in pipeline.graphs:
        pipeline.graphs[graph] = StoppedGraph(pipeline.graphs[graph])
    task, sha = check_task(bundle, None), bundle.manifest_sha256
    models = [_graph(pipeline, name, graph, sha) for graph in pipeline.graphs]
    if task.single_call:
        models.append(_both(pipeline, name, sha, models[0], models[1]))
    try:
        answering = Answering(pipeline)
    except UsageError:
        answering = None  # its tensors are served all the same
    if answering is not None:
        infer = answering.tensors
        models.append(ServedModel(f"{name}_{ANSWER}", task.name, sha, answering.inputs, answering.outputs, infer))
    return Served(name, task.name, sha, pipeline.provider, models, answering)


def _graph(pipeline: Pipeline, name: str, graph: str, sha: str) -> ServedModel:
    entry, check = pipeline.manifest.graphs[graph], raw_check(pipeline.manifest, graph)

    def infer(inputs: Mapping[str, Array], wanted: Sequence[str], parameters: Mapping[str, Any]) -> Tensors:
        if parameters:
            raise InputError(f"this model has no parameter {next(iter(parameters))}")
        check(inputs)
        try:
            outputs = pipeline.outputs(graph, inputs)
        except NotFiniteError as error:  # of numbers that the client chose
            raise InputError(f"{error}: give numbers as large as those that the graph is made for") from error
        return {spec.name: array for spec, array in zip(entry.outputs, outputs) if spec.name in wanted}

    inputs, outputs = ([WireSpec.of(spec) for spec in specs] for specs in (entry.inputs, entry.outputs))
    return ServedModel(f"{name}_{graph}", pipeline.manifest.task, sha, inputs, outputs, infer)


def _both(pipeline: Pipeline, name: str, sha: str, encode: ServedModel, decode: ServedModel) -> ServedModel:
    """Encode, then decode: only what neither makes is asked of the client."""
    made = [spec.name for spec in encode.outputs]
    queries = [spec for spec in decode.inputs if spec.name not in made]

    def infer(inputs: Mapping[str, Array], wanted: Sequence[str], parameters: Mapping[str, Any]) -> Tensors:
        own = {spec.name for spec in encode.inputs}
        latents = encode.infer({key: array for key, array in inputs.items() if key in own}, made, parameters)
        given = {**latents, **{key: array for key, array in inputs.items() if key not in own}}
        taken = {spec.name for spec in decode.inputs}
        return decode.infer({key: array for key, array in given.items() if key in taken}, wanted, parameters)

    return ServedModel(name, pipeline.manifest.task, sha, [*encode.inputs, *queries], decode.outputs, infer)
