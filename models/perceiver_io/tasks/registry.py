"""The tasks, by name: which configuration and which model each has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn

from perceiver_io.config import (
    FeaturesConfig,
    FillMaskConfig,
    FlowConfig,
    ImageClassificationConfig,
    MultimodalConfig,
    TextClassificationConfig,
)
from perceiver_io.tasks.classification import ImageClassifier, TextClassifier
from perceiver_io.tasks.features import FeatureExtractor
from perceiver_io.tasks.fill_mask import MaskedLanguageModel
from perceiver_io.tasks.flow import OpticalFlow
from perceiver_io.tasks.installed import Installed
from perceiver_io.tasks.multimodal import MultimodalAutoencoder


@dataclass(frozen=True)
class Task:
    """A configuration class, and the model class that takes one."""

    config: type[Any]
    model: type[nn.Module]

    def build(self, config: Any) -> nn.Module:
        """The task's model, with random weights."""
        return self.model(config)


GROUP = "perceiver.models"  # of entry points: the task's name = "module:record"
TASKS: Installed[Task] = Installed(
    GROUP,
    {
        "flow": Task(FlowConfig, OpticalFlow),
        "fill-mask": Task(FillMaskConfig, MaskedLanguageModel),
        "text-classification": Task(TextClassificationConfig, TextClassifier),
        "image-classification": Task(ImageClassificationConfig, ImageClassifier),
        "multimodal": Task(MultimodalConfig, MultimodalAutoencoder),
        "features": Task(FeaturesConfig, FeatureExtractor),
    },
)


def task_of(model: nn.Module) -> str:
    """The task whose model this is. Raises `ValueError` for another module."""
    for name, task in TASKS.items():
        if type(model) is task.model:
            return name
    raise ValueError(
        f"{type(model).__name__} is no task's model; those are {', '.join(t.model.__name__ for t in TASKS.values())}"
    )
