"""What converting parts of transformers takes: which of ours a part becomes, its tensors under our names, Fourier positions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from perceiver_io.config import EncoderConfig
from perceiver_io.config_json import ConfigError

State = Mapping[str, Tensor]
OWN_METHODS = "give the model encode and decode of its own and export that (docs/own-heads.md)"


def converted(part: Any, table: Mapping[str, Callable[[Any, EncoderConfig], nn.Module | None]], config: EncoderConfig) -> Any:
    """The equivalent of a part with its weights; None where there is no part, or no equivalent."""
    if part is None or not type(part).__module__.startswith("transformers."):
        return None
    convert = table.get(type(part).__name__)
    return None if convert is None else convert(part, config)


def fill(ours: Any, theirs: State, name: Callable[[str], str]) -> Any:
    """`ours` with the tensors of `theirs`, whose names `name` gives. Raises `ConfigError` unless all are used."""
    state = {own: theirs[name(own)].detach().clone() for own in ours.state_dict() if name(own) in theirs}
    missing = sorted(set(ours.state_dict()) - set(state))
    unused = sorted(set(theirs) - {name(own) for own in state})
    if missing or unused:
        wrong = [f"{what} {', '.join(names)}" for what, names in (("lacks", missing), ("has no place for", unused)) if names]
        raise ConfigError(f"{type(ours).__name__} {' and '.join(wrong)}: the weights are not those of transformers' part")
    ours.load_state_dict(state)
    return ours


def fourier(positions: Any) -> tuple[int, Any] | None:
    """Bands and resolution of Fourier positions as ours are; None for others."""
    if type(positions).__name__ != "PerceiverFourierPositionEncoding" or positions.sine_only or not positions.concat_pos:
        return None
    return positions.num_bands, tuple(int(size) for size in positions.max_resolution)
