"""What can be exported, by the task's name. What a task does and its other names, the runtime's record says."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from perceiver_deploy.tasks.audio import AudioRecipe
from perceiver_deploy.tasks.features import FeaturesRecipe
from perceiver_deploy.tasks.flow import FlowRecipe
from perceiver_deploy.tasks.image import ImageRecipe
from perceiver_deploy.tasks.multimodal import MultimodalRecipe
from perceiver_deploy.tasks.recipe import Recipe
from perceiver_deploy.tasks.text import FillMaskRecipe, TextClassificationRecipe
from perceiver_deploy.tasks.token_classification import TokenClassificationRecipe
from perceiver_io import PUBLISHED, TASKS
from perceiver_io.tasks.installed import Installed
from perceiver_runtime import UsageError
from perceiver_runtime.tasks.registry import BUILT_IN, find_task


@dataclass(frozen=True)
class ExportTask:
    """A task's recipe, and the checkpoint that is exported where none is given (None: one has to be given)."""

    recipe: type[Recipe]
    shipped: str | None = None


GROUP = "perceiver.export_tasks"  # of entry points: the task's name = "module:record"
EXPORT_TASKS: Installed[ExportTask] = Installed(
    GROUP,
    {
        "flow": ExportTask(FlowRecipe, "flow-small"),
        "fill-mask": ExportTask(FillMaskRecipe, "fill-mask-small"),
        "text-classification": ExportTask(TextClassificationRecipe, "glosses-small"),
        "token-classification": ExportTask(TokenClassificationRecipe, "fields-small"),
        "image-classification": ExportTask(ImageRecipe, "digits-fourier"),
        "audio-classification": ExportTask(AudioRecipe, "commands-small"),
        "multimodal": ExportTask(MultimodalRecipe, "clips-small"),
        "features": ExportTask(FeaturesRecipe, "flow-small"),
    },
)


def task_name(given: str) -> str:
    """The task of a name or an alias. Raises `UsageError` that names the nearest."""
    name = given.lower().replace("_", "-")
    if name in EXPORT_TASKS:
        return name
    own = next((task.name for task in BUILT_IN.values() if name in (task.name, *task.aliases)), name)
    if own not in EXPORT_TASKS and (own in BUILT_IN or name in TASKS):
        raise UsageError(
            f"{own} is for a model of your own: give --model MODULE:FUNCTION, or --checkpoint FOLDER without --task, and "
            "--inputs and --outputs; see docs/new-tasks.md"
        )
    aliases = {alias: task for task in EXPORT_TASKS for alias in other_names(task)}
    if name in aliases:
        return aliases[name]
    nearest = difflib.get_close_matches(name, [*EXPORT_TASKS, *aliases], n=1, cutoff=0.6)
    way_out = (
        f"did you mean {nearest[0]!r}?"
        if nearest
        else "a model with other outputs is exported with --model, see docs/own-heads.md;"
    )
    raise UsageError(f"unknown task {given!r}; {way_out} available: {', '.join(EXPORT_TASKS)}")


def published_for(task: str) -> list[str]:
    """The published checkpoints that a task's command takes; those that take any task's take all."""
    any_task = EXPORT_TASKS[task].recipe.any_checkpoint
    return [name for name, published in PUBLISHED.items() if any_task or published.task == task]


def about(task: str) -> str:
    """One line of what a task does."""
    found = find_task(task)
    return found.about if found else "its runtime is not installed"


def other_names(task: str) -> tuple[str, ...]:
    """A task's aliases."""
    found = find_task(task)
    return found.aliases if found else ()
