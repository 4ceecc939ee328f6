"""`perceiver-export --model package.module:make_model --inputs …`: a model of one's own from the command line."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from perceiver_deploy.own.composition import kinds_of
from perceiver_deploy.own.export_model import export_model
from perceiver_deploy.own.head import Head
from perceiver_deploy.own.text_form import FORMS, OUTPUTS, kinds, load_model
from perceiver_io import CheckpointError
from perceiver_io.loading.checkpoint import CheckpointFiles, load_files
from perceiver_runtime import InputError, UsageError
from perceiver_runtime.bundle.manifest import Manifest


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """--model and what it takes and gives."""
    group = parser.add_argument_group(
        "a model of one's own", "any module with encode(**inputs) and decode(latents, **queries): docs/own-heads.md"
    )
    help_text = "a function that makes it, looked for in the current folder too"
    group.add_argument("--model", metavar="MODULE:FUNCTION", help=help_text)
    forms = "; ".join(form for name, form in FORMS.items() if name not in OUTPUTS)
    group.add_argument("--inputs", nargs="+", default=[], metavar="NAME=KIND", help=f"what encode takes: {forms}")
    group.add_argument(
        "--queries", nargs="+", default=[], metavar="NAME=KIND", help="what decode takes beside latents, likewise"
    )
    help_text = f"what decode gives: array; {'; '.join(FORMS[name] for name in OUTPUTS)}"
    group.add_argument("--outputs", nargs="+", default=[], metavar="NAME=KIND", help=help_text)


def check(arguments: argparse.Namespace) -> None:
    """Raise `UsageError` for options that do not belong together."""
    declared = [name for name in ("inputs", "queries", "outputs") if getattr(arguments, name)]
    if arguments.model and (arguments.task or arguments.checkpoint):
        raise UsageError("--model makes the model itself: leave out --task and --checkpoint")
    if arguments.model and not (arguments.inputs and arguments.outputs):
        raise UsageError("--model needs --inputs and --outputs, which say what it takes and gives: docs/own-heads.md")
    if declared and not arguments.model and not arguments.checkpoint:
        raise UsageError(f"--{declared[0]} is for --model, or for a --checkpoint of parts put together")


def run(
    arguments: argparse.Namespace, options: dict[str, Any], files: CheckpointFiles | None, say: Callable[[str], None]
) -> Manifest:
    """Export what --model makes, or a composition's checkpoint. `options` are those of every export."""
    if arguments.image_size is not None:
        raise UsageError("--image-size is for checkpoints of images: say the size with --inputs NAME=image:HxW")
    declared: dict[str, Any] = {name: kinds(getattr(arguments, name), name) for name in ("inputs", "queries", "outputs")}
    if files is None:
        return export_model(load_model(arguments.model), arguments.output, name=arguments.model, **declared, **options)
    try:
        model = load_files(files)
    except CheckpointError as error:
        raise InputError(str(error)) from error
    if not (declared["inputs"] and declared["outputs"]):
        own = kinds_of(model, declared["inputs"])
        for note in own.notes:
            say(f"note: {note}")
        declared = {name: given or getattr(own, name) for name, given in declared.items()}
    made = Head.of(**declared).task
    if arguments.task not in (files.task, made):
        raise UsageError(f"these inputs and outputs are for {made}, not for {arguments.task}: leave out --task, or change them")
    return export_model(model, arguments.output, checkpoint=files, **declared, **options)
