"""Object detection and question answering as bundles: equal to torch, long texts, pictures, every command."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from own_models import ENCODER, varied
from PIL import Image as Pillow
from torch import Tensor, nn

import perceiver_deploy as pd
import perceiver_io as pio
import perceiver_runtime as pr
from perceiver_deploy.cli import main as export
from perceiver_runtime.commands.main import main
from perceiver_runtime.processing.heads.text_windows import windows
from perceiver_runtime.ray import BundleRows

NAMES = ("cat", "dog", "cup")
SIZE, LENGTH = (32, 48), 96
RESIDUAL = pio.DecoderConfig(query_residual=True)  # answers that differ from query to query
QUESTION, TEXT = "Who is in Rome?", "Anna lives in Berlin, Bo in Rome."


class Detector(nn.Module):
    """DETR's answers of learned queries: logits with a class for no object, boxes in [0, 1]."""

    def __init__(self) -> None:
        super().__init__()
        self.image = pio.ImagePreprocessor(pio.ImageInputConfig("patches", size=SIZE, downsample=8, fourier_bands=3))
        self.encoder = pio.PerceiverEncoder(ENCODER, input_channels=self.image.channels)
        self.queries = pio.LearnedQueriesDecoder(RESIDUAL, ENCODER, count=7, query_channels=16, output_channels=None)
        self.labels, self.boxes = nn.Linear(16, 4), nn.Linear(16, 4)

    def encode(self, pixel_values: Tensor) -> Tensor:
        return self.encoder(self.image(pixel_values))

    def decode(self, latents: Tensor) -> dict[str, Tensor]:
        found = self.queries(latents)
        sides = self.boxes(found).sigmoid() * torch.tensor([1.0, 1.0, 0.4, 0.4])
        return {"pred_boxes": sides, "logits": self.labels(found)}


def make_detector() -> Any:
    return varied(Detector())


def make_reader() -> Any:
    """Parts put together: start and end logits for each position."""
    text = pio.TextPreprocessor(pio.TextInputConfig(max_positions=LENGTH, channels=16))
    decoder = pio.LearnedQueriesDecoder(RESIDUAL, ENCODER, count=LENGTH, query_channels=16, output_channels=2)
    return varied(pio.PerceiverModel(ENCODER, input_channels=16, preprocessor=text, decoder=decoder))


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the command line. Do not change it."""
    output = tmp_path_factory.mktemp("boxes") / "detector"
    outputs = ["logits=box-labels:cat,dog,cup", "pred_boxes=boxes"]
    command = ["--model", "test_detection_and_questions:make_detector", "--inputs", "pixel_values=image:32x48", "--outputs"]
    assert export([*command, *outputs, "-o", str(output)]) == 0
    return output


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Do not change it."""
    output = tmp_path_factory.mktemp("answers") / "reader"
    inputs: Any = {"input_ids": pd.Text(LENGTH, mask="mask")}
    assert pd.export_model(make_reader(), output, inputs=inputs, outputs={"y": pd.Spans(30)}).task == "question-answering"
    return output


def picture(height: int = 60, width: int = 80) -> Any:
    return (np.random.default_rng(height).random((height, width, 3)) * 255).astype(np.uint8)


@torch.no_grad()
def test_boxes_are_equal_to_torch(detector: Path) -> None:
    """In pixels of each picture's own size."""
    model, processor = make_detector(), pd.Image(SIZE).processor
    pictures = [picture(), picture(30, 100)]
    with pr.load(detector, task="object-detection") as detect:
        for image, found in zip(pictures, detect(pictures, threshold=0.0)):
            answer = model.decode(model.encode(torch.from_numpy(processor(image))[None]))
            scores, labels = answer["logits"][0].softmax(-1)[:, :-1].max(-1)
            centre, half = answer["pred_boxes"][0, :, :2], answer["pred_boxes"][0, :, 2:] / 2
            height, width = image.shape[:2]
            boxes = torch.cat([centre - half, centre + half], -1) * torch.tensor([width, height, width, height])
            boxes = boxes.clip(min=0).minimum(torch.tensor([width, height, width, height]))
            order = scores.argsort(descending=True)
            assert [each.label for each in found] == [NAMES[label] for label in labels[order]]
            np.testing.assert_allclose([each.score for each in found], scores[order], rtol=0, atol=1e-5)
            np.testing.assert_allclose([each.box for each in found], boxes[order], rtol=0, atol=1e-2)
            assert boxes.std(dim=0).min() > 0.1
        middle = detect(pictures[0], threshold=0.0)[3].score
        assert len(detect(pictures[0], threshold=middle)) == 3
        assert len(detect(pictures[0], threshold=0.0, top_k=2)) == 2
        with pytest.raises(pr.InputError, match="the image has shape"):
            detect(np.zeros((3, 3, 7), np.uint8))


def test_commands_of_boxes(detector: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Pillow.fromarray(picture(120, 160)).save(tmp_path / "a.png")
    assert main(["verify", str(detector)]) == 0
    capsys.readouterr()
    run, drawn = ["run", str(detector), str(tmp_path / "a.png"), "--threshold", "0"], tmp_path / "boxes.png"
    assert main([*run, "-o", str(drawn), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["results"][0]["objects"]
    with pr.load(detector) as detect:
        own = detect(picture(120, 160), threshold=0)
        assert found == own.to_dict()["objects"]
        np.testing.assert_array_equal(np.asarray(Pillow.open(drawn)), pr.draw_boxes(picture(120, 160), own))
    assert (np.asarray(Pillow.open(drawn)) != picture(120, 160)).any()
    assert main([*run[:3], "--threshold", "0.9999"]) == 0
    assert "nothing above the threshold" in capsys.readouterr().out
    assert main([*run[:3], "b.png", "-o", str(drawn), "--force"]) == 2
    assert main([*run, "-o", str(drawn)]) == 1
    assert "boxes.png is already there" in capsys.readouterr().err
    for command in (["run", "--sample"], ["bench", "--runs", "2", "--batch", "2"], ["inspect"]):
        assert main([command[0], str(detector), *command[1:]]) == 0
    table = BundleRows(detector)({"image": np.array([str(tmp_path / "a.png"), "none.png"], object)})
    assert json.loads(table["objects"][0]) == [each for each in found if each["score"] > 0.5]
    assert "none.png" in table["error"][1]


def test_boxes_that_do_not_fit(tmp_path: Path) -> None:
    class Fewer(Detector):
        def decode(self, latents: Tensor) -> dict[str, Tensor]:
            return {name: value[:, : 5 if name == "logits" else 6] for name, value in super().decode(latents).items()}

    inputs: Any = {"pixel_values": pd.Image(SIZE)}
    outputs: Any = {"logits": pd.BoxLabels(NAMES), "pred_boxes": pd.Boxes()}
    with pytest.raises(pr.InputError, match="logits and pred_boxes are of 5 and 6 queries: give one number"):
        pd.export_model(Fewer(), tmp_path / "a", inputs=inputs, outputs=outputs)
    outputs["logits"] = pd.BoxLabels(NAMES, problem="multi_label")
    with pytest.raises(pr.InputError, match=r"the model gives \(B, 7, 4\), logits of 3 labels are of the shape"):
        pd.export_model(make_detector(), tmp_path / "a", inputs=inputs, outputs=outputs)


def logits_of(question: str, text: str) -> Tensor:
    """Start and end logits of each token of `[CLS] question [SEP] text [SEP]`."""
    bytes_of = [[byte + 6 for byte in each.encode()] for each in (question, text)]
    ids = torch.tensor([[4, *bytes_of[0], 5, *bytes_of[1], 5]])
    model = make_reader()
    return model.decode(model.encode(ids, mask=torch.ones_like(ids)))[0, : ids.shape[1]]


@torch.no_grad()
def test_answers_are_equal_to_torch(reader: Path) -> None:
    """The best of all spans, one after the other, as transformers scores them."""
    logits = logits_of(QUESTION, TEXT).double()
    first = len(QUESTION) + 2
    start, end = torch.cat([logits[:1], logits[first:-1]]).softmax(0).T
    spans = [(float(start[1 + a] * end[1 + b]), a, b + 1) for a in range(len(TEXT)) for b in range(a, min(len(TEXT), a + 30))]
    expected = sorted(spans, reverse=True)[:4]
    with pr.load(reader, task="question-answering") as ask:
        found = ask(QUESTION, TEXT, top_k=4)
        assert [(each.start, each.end) for each in found] == [each[1:] for each in expected]
        np.testing.assert_allclose([each.score for each in found], [each[0] for each in expected], rtol=1e-4)
        assert all(each.text == TEXT[each.start : each.end] and len(each.text) <= 30 for each in found)
        none = float(start[0] * end[0])
        assert none in [pytest.approx(each.score, rel=1e-4) for each in ask(QUESTION, TEXT, top_k=500, allow_none=True)]
        assert max(len(each.text) for each in ask(QUESTION, TEXT, top_k=9, max_answer=3)) <= 3
        both = ask([(QUESTION, TEXT), ("é?", "東京 é🤖")])
        assert (both[0][0].start, both[0][0].end) == (found[0].start, found[0].end)
        assert both[1][0].text in "東京 é🤖"


@torch.no_grad()
def test_a_text_longer_than_the_model(reader: Path) -> None:
    text = "🤖 " + TEXT * 5
    parts = windows(text.encode(), LENGTH - 3 - len(QUESTION), 20)
    assert len(parts) > 2
    with pr.load(reader, task="question-answering") as ask:
        (best,) = ask(QUESTION, text, overlap=20)
        assert best.text.encode() == text.encode()[best.start_byte : best.end_byte]
        assert best.text == text[best.start : best.end]
        alone = [ask(QUESTION, text.encode()[part.start : part.stop].decode())[0].score for part in parts]
        assert best.score == pytest.approx(max(alone), rel=1e-4)
        for question, content, message in (
            ("x" * 90, TEXT, "the question has 90 bytes, which leaves 3 of the model's 96 for the text: shorten it"),
            ("", TEXT, "the question is empty"),
            (QUESTION, "", "the text is empty"),
            (QUESTION, None, "give a tuple of a question and a text; found str"),
            ([QUESTION], TEXT, "a text should be a str"),
        ):
            with pytest.raises(pr.InputError, match=message):
                ask(question, content)  # type: ignore[arg-type]


def test_commands_of_questions(reader: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(reader)]) == 0
    capsys.readouterr()
    assert main(["run", str(reader), QUESTION, TEXT, "--top-k", "2", "--json"]) == 0
    answers = json.loads(capsys.readouterr().out)["answers"]
    assert len(answers) == 2
    assert main(["run", str(reader), QUESTION, TEXT]) == 0
    assert f"[{answers[0]['text']}]" in capsys.readouterr().out
    for command in (["run", "--sample"], ["bench", "--runs", "2", "--batch", "2"], ["inspect"]):
        assert main([command[0], str(reader), *command[1:]]) == 0
    table = BundleRows(reader)({"question": np.array([QUESTION, ""], object), "text": np.array([TEXT, TEXT], object)})
    assert (table["answer"][0], table["start"][0]) == (answers[0]["text"], answers[0]["start"])
    assert "the question is empty" in table["error"][1]


def test_boxes_of_files_and_tables(detector: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The bundle's own objects as the truth: all are right; with others of the wrong label none is."""
    Pillow.fromarray(picture()).save(tmp_path / "a.png")
    lines, data = tmp_path / "a.jsonl", tmp_path / "data.csv"
    with pr.load(detector, task="object-detection") as detect:
        own = detect(picture(), threshold=0.0)
        assert detect(tmp_path / "a.png", threshold=0.0) == detect(np.stack([picture()] * 2), threshold=0.0)[1] == own
        found = list(detect.map([tmp_path / "a.png", "b.png"], on_error="return", threshold=0.0))
        assert (found[0], found[0].image, type(found[1])) == (own, None, pr.InputError)
        with Pillow.open(io.BytesIO(own._repr_png_())) as shown:
            np.testing.assert_array_equal(np.asarray(shown), pr.draw_boxes(tmp_path / "a.png", own))
    assert main(["run", str(detector), str(tmp_path), "--jsonl", str(lines), "--threshold", "0"]) == 0
    assert json.loads(lines.read_text())["objects"] == own.to_dict()["objects"]
    for change, expected in (
        ({"cat": "cat", "dog": "dog", "cup": "cup"}, 1.0),
        ({"cat": "dog", "dog": "cup", "cup": "cat"}, 0.0),
    ):
        truth = [{"label": change[each.label], "box": each.box} for each in own]
        with data.open("w", newline="") as file:
            csv.writer(file).writerows([("image", "objects"), ("a.png", json.dumps(truth))])
        capsys.readouterr()
        assert main(["evaluate", str(detector), str(data), "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["map_50"] == pytest.approx(expected)
    assert main(["evaluate", str(detector), str(data)]) == 0
    assert "mean average precision 0.0% at an overlap of 0.5" in capsys.readouterr().out
    assert main(["compare", str(detector), str(detector), str(tmp_path / "a.png"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["agree"] == 1


def test_questions_in_tables(reader: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Lines, CSV, `map`; the bundle's own answer as the truth."""
    (tmp_path / "list.txt").write_text(f"{QUESTION}\t{TEXT}\nno text\n")
    lines, table, data = (tmp_path / name for name in ("a.jsonl", "a.csv", "data.csv"))
    with pr.load(reader, task="question-answering") as ask:
        own = ask(QUESTION, TEXT, top_k=2)
        assert ask((QUESTION, TEXT), top_k=2) == ask(iter([(QUESTION, TEXT)]), top_k=2)[0] == own
        found = list(ask.map([(QUESTION, TEXT), QUESTION], batch_size=2, on_error="return", top_k=2))
        assert (found[0], "give a tuple of a question and a text" in str(found[1])) == (own, True)
    assert main(["run", str(reader), "--from-file", str(tmp_path / "list.txt"), "--jsonl", str(lines), "--top-k", "2"]) == 1
    answered, failed = map(json.loads, lines.read_text().splitlines())
    assert (answered["answers"], answered["input"]) == (own.to_dict()["answers"], [QUESTION, TEXT])
    assert "expected question, text, with a tab between" in failed["error"]
    assert main(["run", str(reader), f"{QUESTION}\t{TEXT}", "--csv", str(table)]) == 0
    assert own[0].text in table.read_text()
    with data.open("w", newline="") as file:
        rows = [
            (QUESTION, TEXT, own[0].text),
            (QUESTION, TEXT, json.dumps(["x", own[0].text])),
            (QUESTION, TEXT, "neither nor"),
        ]
        csv.writer(file).writerows([("question", "text", "answer"), *rows])
    capsys.readouterr()
    assert main(["evaluate", str(reader), str(data), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["exact_match"] == 2 / 3
    assert main(["evaluate", str(reader), str(data)]) == 0
    assert "exact match 66.7%" in capsys.readouterr().out
