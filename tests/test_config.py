from dataclasses import replace

import pytest

from perceiver_io import ConfigError, EncoderConfig, FlowConfig, FlowStemConfig, OpticalFlow, from_json, to_json

PUBLISHED = FlowConfig()


def test_round_trip() -> None:
    config = replace(PUBLISHED, encoder=EncoderConfig(num_latents=7, qk_channels=9), train_size=(5, 6))
    assert from_json(FlowConfig, to_json(config)) == config


def test_defaults_are_the_published_model() -> None:
    assert (PUBLISHED.encoder.num_latents, PUBLISHED.encoder.latent_channels, PUBLISHED.encoder.layers_per_block) == (
        2048,
        512,
        24,
    )
    assert (
        OpticalFlow(replace(PUBLISHED, encoder=replace(PUBLISHED.encoder, layers_per_block=1))).decoder.output.in_features
        == 322
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"surplus": 1}, r"config has unknown keys \['surplus'\]"),
        ({"train_size": [1]}, r"config.train_size is \[1\], expected a list of 2"),
        ({"train_size": [1, "2"]}, r"config.train_size is '2', expected int"),
        ({"fourier_bands": True}, "config.fourier_bands is True, expected int"),
        ({"stem": 3}, "config.stem should be an object, found int"),
    ],
)
def test_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        from_json(FlowConfig, {**to_json(PUBLISHED), **change})


def test_missing_key_is_named() -> None:
    data = to_json(PUBLISHED)
    del data["decoder"]
    with pytest.raises(ConfigError, match=r"config lacks \['decoder'\]"):
        from_json(FlowConfig, data)


def test_unknown_choice_lists_the_choices() -> None:
    data = to_json(PUBLISHED)
    data["stem"]["kind"] = "pixels"
    with pytest.raises(ConfigError, match=r"config.stem.kind is 'pixels', expected one of \['patches', 'conv'\]"):
        from_json(FlowConfig, data)


def test_patch_stem_queries_with_its_tokens() -> None:
    with pytest.raises(ConfigError, match="a 'patches' stem queries with its tokens"):
        replace(PUBLISHED, stem=FlowStemConfig(channels=64, query_channels=32))
