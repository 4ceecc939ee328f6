"""The reference of token classification: padding, checkpoints, its bundle equal to torch; the recipe's texts."""

from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import torch
from own_models import ENCODER, varied

import perceiver_io as pio
import perceiver_runtime as pr
from perceiver_deploy import export_bundle
from perceiver_deploy.cli import main as export
from perceiver_runtime import InputError

NAMES = ("O", "B-PER", "I-PER")
TEXT = "Anna met Bo 🤖 in Łódź."


def tiny(neighbours: int = 2) -> pio.TokenClassifier:
    """A model with random weights."""
    text = pio.TextInputConfig(max_positions=60, channels=16)
    config = pio.TokenClassificationConfig(
        ENCODER, pio.DecoderConfig(query_residual=True), NAMES, text, neighbours=neighbours, scheme="iob2"
    )
    torch.manual_seed(0)
    model: pio.TokenClassifier = varied(pio.TokenClassifier(config))
    return model.eval()


@torch.no_grad()
@pytest.mark.parametrize("neighbours", [0, 2])
def test_padding_counts_as_nothing(neighbours: int) -> None:
    """A text in a batch is as it is alone; without the mask it is not."""
    model, ids = tiny(neighbours), torch.randint(6, 262, (1, 20))
    padded = torch.cat([ids, torch.zeros(1, 9, dtype=torch.int64)], dim=1)
    alone, mask = model(ids), (padded > 0).long()
    torch.testing.assert_close(model(padded, mask)[:, :20], alone, rtol=0, atol=1e-5)
    assert (model(padded)[:, :20] - alone).abs().max() > 1e-3


@torch.no_grad()
def test_neighbours_reach_as_far_as_they_say() -> None:
    """Two convolutions of two bytes to either side: a byte's vector follows the four before and after it."""
    model, ids = tiny(), torch.randint(6, 262, (1, 30))
    changed = ids.clone()
    changed[0, 15] = (ids[0, 15] - 6 + 1) % 256 + 6
    moved = (model.encode(ids)[1] - model.encode(changed)[1]).abs().amax(-1)[0].nonzero().flatten().tolist()
    assert moved == list(range(11, 20))


def test_saved_and_loaded(tmp_path: Path) -> None:
    model = tiny()
    pio.save_checkpoint(model, tmp_path / "ner")
    again = pio.load_checkpoint(tmp_path / "ner")
    assert again.config == model.config
    ids = torch.randint(6, 262, (1, 20))
    assert torch.equal(again(ids), model(ids))
    with pytest.raises(pio.ConfigError, match="transformers has no equivalent of this configuration"):
        pio.save_checkpoint(model, tmp_path / "theirs", layout="huggingface")
    with pytest.raises(pio.ConfigError, match="outside is 'none', which is none of the labels"):
        pio.TokenClassificationConfig(ENCODER, pio.DecoderConfig(), NAMES, outside="none")


@torch.no_grad()
def test_the_bundle_is_equal_to_torch(tmp_path: Path) -> None:
    """One graph and two, and features of the same checkpoint, which are its latents."""
    model = tiny()
    pio.save_checkpoint(model, tmp_path / "checkpoint")
    manifest = export_bundle(checkpoint=tmp_path / "checkpoint", output=tmp_path / "ner", fused=True)
    assert manifest.task == "token-classification"
    assert manifest.processor["answer"] == {"scheme": "iob2", "outside": "O", "aggregation": "simple"}
    ids = torch.tensor([[4, *(byte + 6 for byte in TEXT.encode()), 5]])
    expected = model(ids)[0, 1:-1].softmax(-1).numpy()
    with pr.load(tmp_path / "ner", task="token-classification", device="cpu") as label:
        found = label.probabilities(TEXT)
        np.testing.assert_allclose(found, expected, rtol=0, atol=2e-6)
        assert np.abs(found[::-1] - expected).max() > 1e-3
        assert {span.label for span in label(TEXT)} == {"PER"}
    export_bundle(task="features", checkpoint=tmp_path / "checkpoint", output=tmp_path / "features")
    with pr.load(tmp_path / "features", task="features", device="cpu") as features:
        np.testing.assert_allclose(features(TEXT), model.encode(ids)[0][0].numpy(), rtol=0, atol=1e-4)


def test_a_task_that_a_composition_is_not_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A checkpoint of parts, and a task that its kinds do not make: said, not another bundle."""
    vectors = pio.PerceiverModel(ENCODER, input_channels=8, decoder=pio.ProjectionDecoder(ENCODER, num_labels=3))
    pio.save_checkpoint(vectors, tmp_path / "parts")
    options = ["--checkpoint", str(tmp_path / "parts"), "-o", str(tmp_path / "bundle")]
    assert export(["--task", "ner", *options]) == 2
    assert "these inputs and outputs are for arrays, not for token-classification: leave out --task" in capsys.readouterr().err
    with pytest.raises(InputError, match="holds parts put together"):
        export_bundle(task="token-classification", checkpoint=tmp_path / "parts", output=tmp_path / "bundle")


@pytest.fixture
def recipe(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The recipe's module."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent.parent / "models/training"))
    import token_classification

    return token_classification


def test_generated_texts_are_labelled_rightly(recipe: Any) -> None:
    """Bytes have their characters' labels, what a window cuts of a field has none; kept ways to write are not trained."""
    from field_texts import texts
    from field_texts.amounts import MONEY, NAMES, NUMBERS, SYMBOLS
    from field_texts.contacts import ENDS, PHONES, STARTS
    from field_texts.dates_times import DATES, TIMES
    from field_texts.draw import Draw

    for formats in (DATES, TIMES, MONEY, NUMBERS, NAMES, SYMBOLS, ENDS, PHONES, STARTS):
        assert formats.kept
        assert not set(formats.kept) & set(formats.trained)
    assert not set(texts.HELD_OUT) & set(texts.TRAINED)
    draw = Draw(Random(0), ["robot", "arm"], ["a small boat that is moved by oars"])
    seen = set()
    for _ in range(200):
        example = texts.labelled(texts.passage(draw, 200))
        content, labels = recipe.byte_labels(example)
        assert len(content) == len(labels)
        for start, end, label in example.spans:
            first, last = (len(example.text[:place].encode()) for place in (start, end))
            assert set(labels[first:last]) == {texts.LABELS.index(label)}
            assert content[first:last].decode() == example.text[start:end].strip()
            seen.add(label)
        assert sum(map(bool, labels)) == sum(len(example.text[start:end].encode()) for start, end, _ in example.spans)
    assert seen == set(texts.LABELS[1:])
    _, cut = recipe.window(b"at 14:30" + b"." * 300, [0] * 3 + [2] * 5 + [0] * 300, 5)
    assert cut[:4] == [recipe.IGNORED] * 3 + [0]
    _, whole = recipe.window(b"at 14:30" + b"." * 300, [0] * 3 + [2] * 5 + [0] * 300, 3)
    assert whole[:6] == [2] * 5 + [0]
