"""Token classification as bundles: equal to torch and transformers, long texts in windows, every command."""

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from forgery import edit_manifest
from own_models import ENCODER, varied
from test_token_labels import NAMES, TEXT, grouped
from transformers import PerceiverConfig
from transformers import PerceiverModel as Theirs
from transformers.models.perceiver import modeling_perceiver as theirs

import perceiver_deploy as pd
import perceiver_io as pio
import perceiver_runtime as pr
from perceiver_deploy.cli import main as export
from perceiver_runtime.bundle.reader import open_bundle
from perceiver_runtime.commands.main import main
from perceiver_runtime.processing.heads.text_windows import windows
from perceiver_runtime.ray import BundleRows

LENGTH = 80  # more than the known answer has


def transformers_model() -> Any:
    """A text preprocessor and a decoder with labels for each position, as one writes it with transformers."""
    config = PerceiverConfig(
        num_latents=12, d_latents=32, d_model=16, num_blocks=1, num_self_attends_per_block=2, num_self_attention_heads=4,
        num_cross_attention_heads=1, max_position_embeddings=LENGTH, qk_channels=32, v_channels=32,
    )  # fmt: skip
    decoder = theirs.PerceiverBasicDecoder(
        config, output_num_channels=len(NAMES), output_index_dims=LENGTH, num_channels=16, use_query_residual=True,
        position_encoding_type="trainable", trainable_position_encoding_kwargs={"num_channels": 16, "index_dims": LENGTH},
    )  # fmt: skip
    return varied(Theirs(config, input_preprocessor=theirs.PerceiverTextPreprocessor(config), decoder=decoder))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """transformers' composition as a bundle. Do not change it."""
    output = tmp_path_factory.mktemp("ner") / "ner"
    kinds: dict[str, Any] = {
        "inputs": {"input_ids": pd.Text(LENGTH, mask="mask")},
        "outputs": {"outputs": pd.TokenLabels(NAMES)},
    }
    assert pd.export_model(pio.from_transformers(transformers_model()), output, **kinds).task == "token-classification"
    return output


@torch.no_grad()
def test_equal_to_transformers(bundle: Path) -> None:
    """Short texts of several lengths in one batch."""
    texts = [TEXT, "東京 é🤖", "x"]
    model = transformers_model()
    with pr.load(bundle, task="token-classification") as label:
        for text, spans in zip(texts, label(texts)):
            ids = torch.tensor([[4, *(byte + 6 for byte in text.encode()), 5]])
            logits = model(inputs=ids, attention_mask=torch.ones_like(ids)).logits[0, 1 : ids.shape[1] - 1]
            found = label.probabilities(text)
            np.testing.assert_allclose(found, logits.softmax(-1).numpy(), rtol=0, atol=2e-6)
            assert np.abs(found[::-1] - logits.softmax(-1).numpy()).max() > 1e-3 or len(found) == 1
            for span in spans:
                assert span.text == text[span.start : span.end]
                assert span.text.encode() == text.encode()[span.start_byte : span.end_byte]
            if text.isascii():
                expected = grouped(text, found, NAMES, "simple")
                assert [(span.label, span.start, span.end) for span in spans] == [each[:3] for each in expected]


def test_longer_than_the_model(bundle: Path) -> None:
    """In windows: what is far from where they meet is as in the window alone."""
    with pr.load(bundle, task="token-classification") as label:
        text = TEXT * 4
        found = label.probabilities(text, overlap=20)
        assert found.shape == (len(text), len(NAMES))
        parts = windows(text.encode(), LENGTH - 2, 20)
        alone = label.probabilities(text[parts[1].start : parts[1].stop])
        np.testing.assert_allclose(found[parts[1].start + 12 : parts[1].stop - 12], alone[12:-12], rtol=0, atol=2e-6)
        assert label(text)[-1].end <= len(text)
        assert {span.score >= 0.5 for span in label(text, threshold=0.5)} <= {True}


def test_commands(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(bundle)]) == 0
    capsys.readouterr()
    assert main(["run", str(bundle), TEXT, "é", "--aggregation", "average", "--json"]) == 0
    first = json.loads(capsys.readouterr().out)["results"][0]
    assert [TEXT[span["start"] : span["end"]] for span in first["spans"]] == [span["text"] for span in first["spans"]]
    assert main(["run", str(bundle), TEXT]) == 0
    span = first["spans"][0]
    assert f"]({span['label']})" in capsys.readouterr().out
    for command in (["run", "--sample"], ["bench", "--runs", "2", "--batch", "2"], ["inspect"]):
        assert main([command[0], str(bundle), *command[1:]]) == 0
    assert main(["run", str(bundle), "a", "--overlap", "99"]) == 1
    assert "the overlap is 99: give bytes from 0 to 73" in capsys.readouterr().err


def test_in_tables(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    column = np.empty(2, object)
    column[:] = [TEXT, ""]
    table = BundleRows(bundle)({"text": column})
    with pr.load(bundle, task="token-classification") as label:
        assert json.loads(table["spans"][0]) == label(TEXT).to_dict()["spans"]
        found = list(label.map(iter([TEXT, ""]), batch_size=2, on_error="return", aggregation="first"))
        assert (found[0], type(found[1])) == (label(TEXT, aggregation="first"), pr.InputError)
        spans = label(TEXT, threshold=0.5)
    assert "the text is empty" in table["error"][1]
    lines, written, data = (tmp_path / name for name in ("a.jsonl", "a.csv", "data.csv"))
    for option, path in (("--jsonl", lines), ("--csv", written)):
        assert main(["run", str(bundle), TEXT, option, str(path), "--threshold", "0.5"]) == 0
    with written.open(newline="") as file:
        cell = next(csv.DictReader(file))["spans"]
    assert json.loads(lines.read_text())["spans"] == json.loads(cell) == spans.to_dict()["spans"]
    with data.open("w", newline="") as file:
        csv.writer(file).writerows([("text", "spans"), (TEXT, table["spans"][0])])
    capsys.readouterr()
    assert main(["evaluate", str(bundle), str(data), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["f1"] == 1
    assert main(["evaluate", str(bundle), str(data)]) == 0
    assert "F1 100.0% of" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (None, "does not say what this token-classification bundle answers"),
        ({"scheme": "xyz", "outside": "O"}, "the manifest's scheme of labels is 'xyz': upgrade perceiver-runtime"),
        ({"scheme": 3, "outside": "O"}, "manifest.processor.answer"),
        ({"scheme": "iob2", "outside": "O", "more": 1}, "manifest.processor.answer"),
    ],
)
def test_a_manifest_that_says_something_else(bundle: Path, tmp_path: Path, answer: Any, message: str) -> None:
    forged = Path(shutil.copytree(bundle, tmp_path / "bundle"))
    edit_manifest(forged, processor={**open_bundle(bundle).manifest.processor, "answer": answer})
    with pytest.raises(pr.IntegrityError, match=message):
        pr.load(forged)


class Tagger(torch.nn.Module):
    """Logits of as many tokens as there are: what the preprocessor makes of them goes to the decoder too."""

    def __init__(self) -> None:
        super().__init__()
        self.text = pio.TextPreprocessor(pio.TextInputConfig(max_positions=LENGTH, channels=16))
        self.encoder, self.output = pio.PerceiverEncoder(ENCODER, input_channels=16), torch.nn.Linear(48, 3)

    def encode(self, input_ids: Any, mask: Any) -> dict[str, Any]:
        tokens = self.text(input_ids)
        return {"latents": self.encoder(tokens, mask), "tokens": tokens}

    def decode(self, latents: dict[str, Any]) -> Any:
        seen = latents["latents"].mean(1, keepdim=True).expand(-1, latents["tokens"].shape[1], -1)
        return self.output(torch.cat([latents["tokens"], seen], dim=-1))


def make_tagger() -> Any:
    return varied(Tagger())


@torch.no_grad()
def test_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A model whose logits are of as many tokens as there are; what does not fit is said."""
    options = ["--inputs", f"input_ids=text:{LENGTH},mask=mask", "-o", str(tmp_path / "bundle")]
    command = ["--model", "test_token_classification:make_tagger", *options, "--outputs"]
    for wrong, message in (
        ("token-labels:date,time,place", "no label is called 'O'"),
        ("token-labels:O,date", "2 labels of each token are of the shape (B, L, 2), or (B, 80 or more, 2)"),
        ("token-labels:O,a,b,scheme=xyz", "the scheme is 'xyz', one of plain, iob2, bioes, bilou"),
    ):
        assert export([*command, f"logits={wrong}"]) in (1, 2)
        assert message in capsys.readouterr().err
    assert export([*command, "logits=token-labels:O,date,time"]) == 0
    model, ids = make_tagger(), torch.tensor([[4, *(byte + 6 for byte in TEXT.encode()), 5]])
    expected = model.decode(model.encode(ids, torch.ones_like(ids)))[0, 1:-1].softmax(-1).numpy()
    with pr.load(tmp_path / "bundle", task="token-classification") as label:
        assert (label.scheme.scheme, label.scheme.outside) == ("plain", "O")
        np.testing.assert_allclose(label.probabilities(TEXT), expected, rtol=0, atol=2e-6)
