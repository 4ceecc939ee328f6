"""A model of one's own, put together of parts: saved and loaded as any task's, under the name `arrays`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn

from perceiver_io.config_json import ConfigError
from perceiver_io.parts.part import build, describe


@dataclass(frozen=True)
class CompositionConfig:
    """The outermost part's name and its arguments, as `describe` writes them."""

    part: str
    arguments: dict[str, Any]

    @classmethod
    def of(cls, model: nn.Module) -> CompositionConfig:
        """Of a composition. Raises `ConfigError` for a part whose class is in no registry."""
        return cls(**describe(model))

    @classmethod
    def read(cls, data: Any) -> CompositionConfig:
        """From JSON. Raises `ConfigError`."""
        if not isinstance(data, dict) or set(data) != {"part", "arguments"}:
            raise ConfigError("config should be a part and its arguments")
        return cls(**data)


def build_composition(config: CompositionConfig) -> Any:
    """The model, with random weights. Raises `ConfigError`."""
    return build({"part": config.part, "arguments": config.arguments})
