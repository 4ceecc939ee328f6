"""transformers' own integration examples on the published weights, for anyone who has them.

    PERCEIVER_CHECKPOINTS=folder python -m pytest tests/test_real_checkpoints.py

The folder holds the published checkpoints as they come from the hub, under their names without `deepmind/`:
language-perceiver, vision-perceiver-learned, vision-perceiver-fourier, vision-perceiver-conv; and the picture
000000039769.jpg of COCO's validation set. What is missing is skipped. The values are those that transformers' slow tests
expect (tests/models/perceiver), with their tolerance; checked through the reference and through an exported bundle.
"""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import perceiver_runtime as pr
from perceiver_deploy import export_bundle
from perceiver_io import load_checkpoint
from perceiver_runtime.processing import tokenizer

TOLERANCE = 1e-4  # relative and absolute
TEXT = "This is an incomplete sentence where some words are missing."
LANGUAGE = [[-10.8609, -10.7651, -10.9187], [-12.1689, -11.9389, -12.1479], [-12.1518, -11.9707, -12.2073]]
VISION = {
    "vision-perceiver-learned": [-1.1652, -0.1992, -0.7520],
    "vision-perceiver-fourier": [-1.1295, -0.2832, 0.3226],
    "vision-perceiver-conv": [-1.1186, 0.0554, 0.0897],
}


def checkpoint(name: str) -> Path:
    """The folder of a published checkpoint, or a skip that says how to have it."""
    folder = os.environ.get("PERCEIVER_CHECKPOINTS")
    if not folder:
        pytest.skip("set PERCEIVER_CHECKPOINTS to a folder with the published checkpoints to check their known values")
    path = Path(folder) / name
    if not path.exists():
        pytest.skip(f"{folder} has no {name}: download deepmind/{name} into it")
    return path


def test_language(tmp_path: Path) -> None:
    folder = checkpoint("language-perceiver")
    ids = np.array([tokenizer.add_special_tokens(tokenizer.tokenize(TEXT), None, max_length=2048, truncate=False)])
    attention_mask = np.pad(np.ones_like(ids), ((0, 0), (0, 2048 - ids.shape[1])))
    input_ids = np.pad(ids, ((0, 0), (0, 2048 - ids.shape[1])))
    input_ids[0, 52:61] = tokenizer.MASK
    model = load_checkpoint(folder, allow_pickle=True)
    with torch.no_grad():
        logits = model(torch.from_numpy(input_ids), torch.from_numpy(attention_mask)).numpy()
    np.testing.assert_allclose(logits[0, :3, :3], LANGUAGE, rtol=TOLERANCE, atol=TOLERANCE)
    assert tokenizer.decode(logits[0, 52:61].argmax(axis=-1)) == " missing."
    export_bundle(task="fill-mask", checkpoint=folder, output=tmp_path / "bundle", allow_pickle=True)
    with pr.load(tmp_path / "bundle") as mlm:
        given = {"input_ids": input_ids, "attention_mask": attention_mask}
        latents = mlm.run("encode", given, shape=(1, None, None))
        queries = {"latents": latents, "query_positions": np.arange(3)[None]}
        found = mlm.run("decode", queries, shape=(1, 3, None))
        np.testing.assert_allclose(found[0, :, :3], LANGUAGE, rtol=TOLERANCE, atol=TOLERANCE)
        spans = mlm(TEXT, spans=[(51, 60)], top_k=1)
    assert spans[0].candidates[0].text == " missing."


@pytest.mark.parametrize("name", VISION)
def test_vision(name: str, tmp_path: Path) -> None:
    folder, picture = checkpoint(name), checkpoint("000000039769.jpg")
    image = np.asarray(Image.open(picture).convert("RGB"))
    export_bundle(task="image-classification", checkpoint=folder, output=tmp_path / "bundle", allow_pickle=True)
    model = load_checkpoint(folder, allow_pickle=True)
    with pr.load(tmp_path / "bundle") as classify, torch.no_grad():
        pixels = classify.processor(image)[None]
        reference = model(torch.from_numpy(pixels)).numpy()
        latents = classify.run("encode", {"pixel_values": pixels}, shape=(1, None, None))
        found = classify.run("decode", {"latents": latents}, shape=(1, None))
    for logits in (reference, found):
        np.testing.assert_allclose(logits[0, :3], VISION[name], rtol=TOLERANCE, atol=TOLERANCE)
