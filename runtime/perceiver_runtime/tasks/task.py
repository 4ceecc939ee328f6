"""The record of a task: all that commands, servers and tables need to know of it."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from perceiver_runtime.bundle.manifest import Manifest
from perceiver_runtime.tasks.kinds.kind import Constants, InputKind, InputsCheck, unchecked
from perceiver_runtime.tasks.metrics.metric import Metric
from perceiver_runtime.tasks.pipeline import Pipeline

Load = Callable[[], Any]  # opens the pipeline of the bundle that a command names
Row = dict[str, Any]
Arrays = Mapping[str, tuple[int | str, ...]]


@dataclass(frozen=True)
class RunCommand:
    """`perceiver run` of a task: `usage` is what follows BUNDLE, `run` gives a JSON object, `render` that for people.

    For a table of many inputs, `add_options` declares what the pipeline's call may be given, and `options` reads that.
    """

    usage: str
    add_arguments: Callable[[argparse.ArgumentParser, Manifest], None]
    run: Callable[[argparse.Namespace, Load], dict[str, object]]
    render: Callable[[dict[str, Any]], str]
    add_options: Callable[[argparse.ArgumentParser], None] = lambda parser: None
    options: Callable[[argparse.Namespace], dict[str, Any]] = lambda arguments: {}


@dataclass(frozen=True)
class Task:
    """A task of the runtime.

    `kind` says what a bundle's pipeline takes. `rows` are the answers to several items as a table's rows, `columns` what they
    have, or a function that says so of a bundle; options that a row does not depend on are ignored. Where a task `gives_field`,
    a row has a flow field besides, under `field`, for .flo files. `answers` to several items for a table in JSON are the
    pipeline's own, unless a part of them is enough. With `batched` the pipeline is called with a list of items, else with the
    parts of one. `fixed_size` is for inputs of one usual size, whose operations say how well a machine is used; `single_call`
    where encode and decode alone give the whole answer, so that a server can join them. Where a task `takes_plain`, `rows` and
    the pipeline take `plain`, for texts of strangers.
    `arrays` names what an answer holds besides JSON, for servers, with its axes: the answer itself where that is an array, else
    its entries by name; or a function that says so of a bundle. `metric` says how good answers are, and how far two are apart.
    `check_queries` makes of the manifest's constants what raises `InputError` for inputs of other graphs than `encode`.
    """

    name: str
    about: str
    pipeline: type[Pipeline]
    kind: Callable[[Manifest], InputKind]
    command: RunCommand
    columns: tuple[str, ...] | Callable[[Manifest], tuple[str, ...]]
    rows: Callable[..., list[Row]]
    aliases: tuple[str, ...] = ()
    batched: bool = True
    fixed_size: bool = False
    single_call: bool = False
    gives_field: bool = False
    arrays: Arrays | Callable[[Manifest], Arrays] = field(default_factory=dict)
    takes_plain: bool = False
    answers: Callable[..., list[Any]] | None = None
    metric: Metric | None = None
    check_queries: Callable[[Constants], InputsCheck] = unchecked

    def columns_of(self, manifest: Manifest) -> tuple[str, ...]:
        """What answers have as a table's rows, of a bundle."""
        return self.columns(manifest) if callable(self.columns) else self.columns

    def arrays_of(self, manifest: Manifest) -> Arrays:
        """The arrays in an answer, of a bundle: by name, sizes, or names of sizes that vary."""
        return self.arrays(manifest) if callable(self.arrays) else self.arrays

    def call(self, pipeline: Any, item: Any, batch: int) -> Callable[[], object]:
        """A call as a user makes it, with `batch` times the item where the task is `batched`."""
        return (lambda: pipeline([item] * batch)) if self.batched else (lambda: pipeline(*item))

    def call_each(self, pipeline: Any, items: list[Any], options: dict[str, Any]) -> list[Any]:
        """The pipeline's answer to each item, with one call where the task is `batched`."""
        return list(pipeline(items, **options)) if self.batched else [pipeline(*item, **options) for item in items]

    def answer(self, pipeline: Any, items: list[Any], options: dict[str, Any]) -> list[Any]:
        """`answers` to each item."""
        return self.call_each(pipeline, items, options) if self.answers is None else self.answers(pipeline, items, **options)


def always(kind: InputKind) -> Callable[[Manifest], InputKind]:
    """For tasks whose bundles all take one kind."""
    return lambda manifest: kind


def label_rows(pipeline: Any, items: list[Any], **options: Any) -> list[Row]:
    """The best label of each item and its probability."""
    return [{"label": best.label, "probability": best.probability} for (best,) in pipeline(items, **{**options, "top_k": 1})]


LABEL_COLUMNS = ("label", "probability")
