"""The shipped digit classifiers truly read digits: the figures of their cards, on the held-out fifth."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from sklearn.datasets import load_digits

import perceiver_runtime as pr
from perceiver_deploy import export_bundle
from perceiver_io import SHIPPED, load_checkpoint

HEADS = {
    "fourier": "PerceiverForImageClassificationFourier",
    "learned": "PerceiverForImageClassificationLearned",
    "conv": "PerceiverForImageClassificationConvProcessing",
}


@pytest.fixture
def digits(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The recipe's module."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent.parent / "models/training"))
    import digits

    return digits


VARIANTS = [variant for variant in HEADS if f"digits-{variant}" in SHIPPED]


def test_the_default_is_among_them() -> None:
    assert "fourier" in VARIANTS


@pytest.mark.parametrize("variant", VARIANTS)
@torch.no_grad()
def test_accuracy(variant: str, digits: Any) -> None:
    """97 % and more, here and in transformers, which loads the same folder."""
    pixels, labels, held_out = digits.pictures(digits.SIDES[variant])
    pixels, labels = pixels[held_out], labels[held_out]
    model = load_checkpoint(f"digits-{variant}")
    assert digits.accuracy(model, pixels, labels) >= 0.97
    assert digits.accuracy(model, pixels, labels.roll(1)) < 0.3
    head = getattr(transformers, HEADS[variant]).from_pretrained(SHIPPED[f"digits-{variant}"], dtype=torch.float32).eval()
    torch.testing.assert_close(head(inputs=pixels[:20]).logits, model(pixels[:20]), rtol=0, atol=1e-4)
    assert head.config.id2label[3] == "3"


@pytest.mark.parametrize("variant", VARIANTS)
def test_bundle(variant: str, digits: Any, tmp_path: Path) -> None:
    """From the 8x8 pictures as they are, through the runtime's own processor."""
    export_bundle(task="image-classification", checkpoint=f"digits-{variant}", output=tmp_path / "bundle")
    _, labels, held_out = digits.pictures(8)
    images = np.rint(load_digits().images * 255 / 16).astype(np.uint8)[held_out.numpy()]
    with pr.load(tmp_path / "bundle") as classify:
        found = [scores[0].label for scores in classify(list(images), top_k=1)]
    right = np.mean([label == str(int(truth)) for label, truth in zip(found, labels[held_out])])
    assert right >= 0.97
    assert sum(path.stat().st_size for path in SHIPPED[f"digits-{variant}"].iterdir()) < 12e6
