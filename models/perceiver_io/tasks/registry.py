"""The tasks, by name: which configuration and which model each has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn

from perceiver_io.config import (
    AudioClassificationConfig,
    FeaturesConfig,
    FillMaskConfig,
    FlowConfig,
    ImageClassificationConfig,
    MultimodalConfig,
    TextClassificationConfig,
    TokenClassificationConfig,
)
from perceiver_io.config_json import from_json
from perceiver_io.parts.part import is_part
from perceiver_io.tasks import names
from perceiver_io.tasks.classification import AudioClassifier, ImageClassifier, TextClassifier
from perceiver_io.tasks.composition import CompositionConfig, build_composition
from perceiver_io.tasks.features import FeatureExtractor, PerceiverModel
from perceiver_io.tasks.fill_mask import MaskedLanguageModel
from perceiver_io.tasks.flow import OpticalFlow
from perceiver_io.tasks.installed import Installed
from perceiver_io.tasks.multimodal import MultimodalAutoencoder
from perceiver_io.tasks.names import Names
from perceiver_io.tasks.token_classification import TokenClassifier


@dataclass(frozen=True)
class Task:
    """A configuration class, the model class that takes one, and how other layouts name its tensors.

    `names` are those of Hugging Face after `prefix`; tensors there that match `ignored` are left out. `label_query` is where
    DeepMind's one learned query of a classifier goes.
    """

    config: type[Any]
    model: type[nn.Module]
    names: Names = ()
    prefix: str = "perceiver."
    ignored: str | None = None
    label_query: str = "decoder.queries.table"

    def build(self, config: Any) -> nn.Module:
        """The task's model, with random weights."""
        model: nn.Module = build_composition(config) if self.config is CompositionConfig else self.model(config)
        return model

    def read_config(self, data: Any) -> Any:
        """The configuration of plain JSON values. Raises `ConfigError`."""
        return CompositionConfig.read(data) if self.config is CompositionConfig else from_json(self.config, data)


GROUP = "perceiver.models"  # of entry points: the task's name = "module:record"
TASKS: Installed[Task] = Installed(
    GROUP,
    {
        "flow": Task(FlowConfig, OpticalFlow, names.FLOW),
        "fill-mask": Task(FillMaskConfig, MaskedLanguageModel, names.FILL_MASK),
        "text-classification": Task(TextClassificationConfig, TextClassifier, names.TEXT_CLASSIFICATION),
        "token-classification": Task(TokenClassificationConfig, TokenClassifier),
        "image-classification": Task(ImageClassificationConfig, ImageClassifier, names.IMAGE_CLASSIFICATION),
        "audio-classification": Task(AudioClassificationConfig, AudioClassifier),
        "multimodal": Task(MultimodalConfig, MultimodalAutoencoder, names.MULTIMODAL, label_query="decoder.label.table"),
        "features": Task(FeaturesConfig, FeatureExtractor, names.FEATURES, prefix="", ignored=names.NO_FEATURES),
        "arrays": Task(CompositionConfig, PerceiverModel),
    },
)


def task_of(model: nn.Module) -> str:
    """The task whose model this is, `arrays` for a composition of parts. Raises `ValueError` for another module."""
    for name, task in TASKS.items():
        if type(model) is task.model:
            return name
    if is_part(model):
        return "arrays"
    raise ValueError(
        f"{type(model).__name__} is no task's model; those are {', '.join(t.model.__name__ for t in TASKS.values())}: put "
        "@perceiver_io.part above a class of your own"
    )
