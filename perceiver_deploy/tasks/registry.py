"""What can be exported: each task's recipe, the checkpoint shipped for it, and other names people give it."""

from __future__ import annotations

import difflib

from perceiver_deploy.tasks.features import FeaturesRecipe
from perceiver_deploy.tasks.flow import FlowRecipe
from perceiver_deploy.tasks.image import ImageRecipe
from perceiver_deploy.tasks.multimodal import MultimodalRecipe
from perceiver_deploy.tasks.recipe import Recipe
from perceiver_deploy.tasks.text import FillMaskRecipe, TextClassificationRecipe
from perceiver_io import PUBLISHED
from perceiver_runtime import UsageError

RECIPES: dict[str, type[Recipe]] = {
    "flow": FlowRecipe,
    "fill-mask": FillMaskRecipe,
    "text-classification": TextClassificationRecipe,
    "image-classification": ImageRecipe,
    "multimodal": MultimodalRecipe,
    "features": FeaturesRecipe,
}
ABOUT = {
    "flow": "two images to the motion of every pixel",
    "fill-mask": "a text with masked bytes to what they may be",
    "text-classification": "a text or a pair to labels",
    "image-classification": "an image to labels: learned, Fourier or convolutional checkpoints",
    "multimodal": "a clip of video and sound to its reconstruction and its label",
    "features": "the encoder of any checkpoint, alone",
}
SHIPPED_FOR = {
    "flow": "flow-small",
    "fill-mask": "fill-mask-small",
    "text-classification": "glosses-small",
    "image-classification": "digits-fourier",
    "multimodal": "clips-small",
    "features": "flow-small",
}
ALIASES = {
    "optical-flow": "flow",
    "mlm": "fill-mask",
    "masked-lm": "fill-mask",
    "masked-language-modeling": "fill-mask",
    "sequence-classification": "text-classification",
    "sentiment-analysis": "text-classification",
    "image": "image-classification",
    "multimodal-autoencoding": "multimodal",
    "autoencoding": "multimodal",
    "feature-extraction": "features",
    "embeddings": "features",
}


def task_name(given: str) -> str:
    """The task of a name or an alias. Raises `UsageError` that names the nearest."""
    name = given.lower().replace("_", "-")
    if name in RECIPES:
        return name
    if name in ALIASES:
        return ALIASES[name]
    nearest = difflib.get_close_matches(name, [*RECIPES, *ALIASES], n=1, cutoff=0.0)[0]
    raise UsageError(f"unknown task {given!r}; did you mean {nearest!r}? available: {', '.join(RECIPES)}")


def published_for(task: str) -> list[str]:
    """The published checkpoints that a task's command takes; features take any."""
    return [name for name, published in PUBLISHED.items() if task in (published.task, "features")]


def other_names(task: str) -> list[str]:
    """A task's aliases."""
    return [alias for alias, name in ALIASES.items() if name == task]
