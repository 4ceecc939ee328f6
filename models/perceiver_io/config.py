"""Configurations of the model family, as frozen dataclasses that round-trip through JSON.

`to_json` writes plain JSON values, `from_json` is strict: an unknown key, a missing key or a value of another type is a
`ConfigError` that names the field. The law, tested: ``from_json(type(c), to_json(c)) == c``.
"""

from __future__ import annotations

import dataclasses
import types
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")


class ConfigError(ValueError):
    """A configuration that cannot be built; the message names the field and what was expected."""


@dataclass(frozen=True)
class EncoderConfig:
    """The latent array and the layers that fill and transform it (arXiv 2107.14795, section 3)."""

    num_latents: int = 2048
    latent_channels: int = 512
    num_blocks: int = 1  # how often the same stack of self-attention layers is applied
    layers_per_block: int = 24
    self_attention_heads: int = 16
    cross_attention_heads: int = 1
    qk_channels: int | None = None  # None: the latents' channels (self-attention), see cross_attention_shape (cross)
    v_channels: int | None = None  # None: as many as qk_channels
    cross_attention_shape: Literal["kv", "q"] = "kv"  # whose channels the cross-attention takes when qk_channels is None
    self_attention_widening: int = 1
    cross_attention_widening: int = 1
    query_residual: bool = True
    attention_dropout: float = 0.1
    initializer_range: float = 0.02


@dataclass(frozen=True)
class DecoderConfig:
    """The cross-attention from output queries to latents."""

    heads: int = 1
    qk_channels: int | None = None  # None: the latents' channels
    v_channels: int | None = None  # None: as many as qk_channels
    widening: int = 1
    query_residual: bool = False


@dataclass(frozen=True)
class FlowStemConfig:
    """How two frames become input tokens and query features.

    `patches`: one token per pixel, the 3×3 neighbourhoods of both frames through one linear layer (the published model).
    `conv`: residual convolutions at a quarter of the resolution give the tokens, and a learned upsampling gives every
    pixel its query features (after the paper's lightweight variant).
    """

    kind: Literal["patches", "conv"] = "patches"
    channels: int = 64  # of a token, before positions are appended
    query_channels: int = 64  # of a pixel's query features; equal to `channels` for `patches`
    residual_blocks: int = 0  # `conv` only
    window_radius: int = 0  # `conv` only: how far, in tokens, a match is looked for


@dataclass(frozen=True)
class FlowConfig:
    """Optical flow. The defaults are the published model, deepmind/optical-flow-perceiver."""

    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    decoder: DecoderConfig = field(default_factory=DecoderConfig)
    stem: FlowStemConfig = field(default_factory=FlowStemConfig)
    train_size: tuple[int, int] = (368, 496)  # height, width: the tile size, and the Fourier features' resolution
    fourier_bands: int = 64
    rescale_factor: float = 100.0  # the network's output is divided by this
    flow_scale: float = 20.0  # pixels per unit of the model's output (DeepMind's notebook)

    def __post_init__(self) -> None:
        if self.stem.kind == "patches" and self.stem.query_channels != self.stem.channels:
            raise ConfigError(
                f"stem.query_channels is {self.stem.query_channels}, but a 'patches' stem queries with its tokens: "
                f"make it equal to stem.channels ({self.stem.channels})"
            )

    @property
    def position_channels(self) -> int:
        """Channels of a two-dimensional Fourier position: y, x, then a sine and a cosine per band and axis."""
        return 2 + 4 * self.fourier_bands


def to_json(config: Any) -> dict[str, Any]:
    """The configuration as plain JSON values (tuples become lists)."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        return [plain(item) for item in value] if isinstance(value, (tuple, list)) else value

    result: dict[str, Any] = plain(dataclasses.asdict(config))
    return result


def from_json(kind: type[T], data: Any, *, where: str = "config") -> T:
    """Build the dataclass `kind` from what `to_json` wrote. Raises `ConfigError`, naming the field."""
    if not isinstance(data, dict):
        raise ConfigError(f"{where} should be an object, found {type(data).__name__}")
    hints = get_type_hints(kind)
    unknown, missing = sorted(set(data) - set(hints)), sorted(set(hints) - set(data))
    if unknown:
        raise ConfigError(f"{where} has unknown keys {unknown}; known: {sorted(hints)}")
    if missing:
        raise ConfigError(f"{where} lacks {missing}")
    return kind(**{name: _convert(hint, data[name], f"{where}.{name}") for name, hint in hints.items()})


def _convert(hint: Any, value: Any, where: str) -> Any:
    origin, arguments = get_origin(hint), get_args(hint)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return from_json(hint, value, where=where)
    if origin is Literal:
        if value in arguments:
            return value
        raise ConfigError(f"{where} is {value!r}, expected one of {list(arguments)}")
    if origin in (Union, types.UnionType):  # `int | None` is the only kind of union here
        return None if value is None else _convert(arguments[0], value, where)
    if origin is tuple:
        if not isinstance(value, list) or len(value) != len(arguments):
            raise ConfigError(f"{where} is {value!r}, expected a list of {len(arguments)}")
        return tuple(_convert(each, item, where) for each, item in zip(arguments, value))
    if hint is float and type(value) is int:
        return float(value)
    if type(value) is not hint:
        raise ConfigError(f"{where} is {value!r}, expected {hint.__name__}")
    return value
