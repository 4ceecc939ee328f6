"""krasserm's perceiver-io from PyPI through the protocol. Its pins forbid this Python, so it is installed without them."""

import importlib
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from own_models import varied
from torch import Tensor, nn

import perceiver_deploy as pd
import perceiver_runtime as pr
from perceiver_runtime.common.children import python_module

PACKAGES = ["perceiver-io==0.11.0", "fairscale==0.4.13"]  # the second is imported for checkpointing of activations


@pytest.fixture(scope="module")
def core(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Its parts: `perceiver.model.core`. The rest of the package needs PyTorch Lightning."""
    folder = tmp_path_factory.mktemp("krasserm")
    options = ["--quiet", "--disable-pip-version-check", "--no-deps", "--ignore-requires-python", "--target", str(folder)]
    done = subprocess.run([*python_module("pip"), "install", *options, *PACKAGES], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"perceiver-io does not install here: {done.stderr.strip().splitlines()[-1]}")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        yield importlib.import_module("perceiver.model.core")


class Krasserm(nn.Module):
    """A `perceiver.model.core.PerceiverIO` as encode and decode."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def encode(self, input_ids: Tensor, mask: Tensor) -> Tensor:
        return self.model.encoder(input_ids, pad_mask=mask == 0)

    def decode(self, latents: Tensor) -> Tensor:
        return self.model.decoder(latents)


@torch.no_grad()
def test_a_text_classifier(core: Any, tmp_path: Path) -> None:
    """Texts of any length, in a batch with padding; equal to torch; its attention is recognised."""
    sizes = {"num_latents": 8, "num_latent_channels": 32, "num_cross_attention_heads": 2, "num_self_attention_heads": 4}
    blocks = {"num_self_attention_layers_per_block": 2, "num_self_attention_blocks": 2, "num_cross_attention_layers": 2}
    encoder = core.PerceiverEncoder(core.TokenInputAdapter(262, 64, 24), **sizes, **blocks)
    decoder = core.PerceiverDecoder(
        core.ClassificationOutputAdapter(3, 16), core.TrainableQueryProvider(1, 16), 32, num_cross_attention_heads=2
    )
    model = varied(Krasserm(core.PerceiverIO(encoder, decoder)))
    inputs: Any = {"input_ids": pd.Text(64, mask="mask")}
    manifest = pd.export_model(model, tmp_path / "bundle", inputs=inputs, outputs={"logits": pd.Labels(("a", "b", "c"))})
    passes = manifest.choices["passes"]
    assert (passes["encode"]["recognise_attention"], passes["decode"]["recognise_attention"]) == (6, 1)
    assert "unrecognised" not in manifest.choices
    texts = ["a", "a bird that swims", "the state of being calm and quiet, of having no waves"]
    with pr.load(tmp_path / "bundle", task="text-classification") as classify:
        answers = classify(texts, top_k=1)
        for text, answer in zip(texts, answers):
            ids = torch.tensor([[4, *(byte + 6 for byte in text.encode()), 5]])
            expected = model.decode(model.encode(ids, torch.ones_like(ids)))[0].softmax(0)
            assert answer[0].label == "abc"[int(expected.argmax())]
            np.testing.assert_allclose(answer[0].probability, float(expected.max()), rtol=0, atol=1e-5)
    assert len({round(answer[0].probability, 3) for answer in answers}) == 3
