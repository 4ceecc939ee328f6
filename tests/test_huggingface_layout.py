"""Checkpoints that we write in Hugging Face's layout: transformers loads them and gives the same answer."""

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from heads import HEADS, Head, save_random_head
from published import model_frames, patches, real_frames
from test_heads_reference import answer_of_ours, answer_of_transformers
from transformers import PerceiverConfig

from perceiver_io import (
    PUBLISHED,
    TASKS,
    ConfigError,
    FlowConfig,
    FlowStemConfig,
    OpticalFlow,
    load_checkpoint,
    save_checkpoint,
)
from perceiver_io.loading.huggingface import model_config
from perceiver_io.loading.huggingface_save import huggingface_config


@pytest.mark.parametrize("head", HEADS, ids=[head.name.removeprefix("PerceiverFor") for head in HEADS])
@torch.no_grad()
def test_transformers_loads_what_we_save(head: Head, tmp_path: Path) -> None:
    save_random_head(tmp_path / "theirs", head.name, head.tiny)
    model = load_checkpoint(tmp_path / "theirs")
    save_checkpoint(model, tmp_path / "ours", layout="huggingface")
    other = getattr(transformers, head.name).from_pretrained(tmp_path / "ours", dtype=torch.float32).eval()
    assert other.config.id2label == transformers.AutoConfig.from_pretrained(tmp_path / "theirs").id2label
    inputs = head.inputs(other.config)
    if head.task == "flow":
        inputs = {"inputs": patches(model_frames(*real_frames(*model.config.train_size)))}
    expected, found = answer_of_ours(head, model, inputs), answer_of_transformers(head, other, inputs)
    for name, answer in expected.items():
        torch.testing.assert_close(found[name], answer, rtol=0, atol=1e-4 * float(answer.std()))
    assert load_checkpoint(tmp_path / "ours").config == model.config


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_configurations_have_an_equivalent(name: str) -> None:
    config: Any = PUBLISHED[name].config
    assert model_config(huggingface_config(config), ()) == config
    assert PerceiverConfig(**huggingface_config(config)).d_latents == config.encoder.latent_channels


def test_what_transformers_lacks_is_refused(tmp_path: Path) -> None:
    config = FlowConfig(stem=FlowStemConfig("conv", channels=8, query_channels=8), train_size=(16, 16))
    with torch.device("meta"):
        model = OpticalFlow(config)
    assert TASKS["flow"].model is OpticalFlow
    with pytest.raises(ConfigError, match="transformers has no equivalent of this configuration"):
        save_checkpoint(model, tmp_path / "out", layout="huggingface")
    assert not (tmp_path / "out").exists()
