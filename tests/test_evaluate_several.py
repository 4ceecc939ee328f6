"""Classifiers of several labels at once, and of values: scored as scikit-learn scores them, compared label by label."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from forgery import edit_manifest
from PIL import Image
from sklearn.metrics import accuracy_score, average_precision_score, f1_score, mean_absolute_error, mean_squared_error, r2_score

import perceiver_runtime as pr
from perceiver_runtime.bundle.manifest import Manifest
from perceiver_runtime.commands.main import main
from perceiver_runtime.tasks.labels import Labels, LabelScores
from perceiver_runtime.tasks.metrics.labels import distance, render, score_of
from perceiver_runtime.tasks.metrics.several_labels import average_precision

NAMES = tuple("abcdef")


def scores(problem: str, logits: Sequence[float], names: tuple[str, ...] = NAMES) -> LabelScores:
    return Labels(names, problem).scores(np.array(logits, np.float32), 1 << 20)


def test_several_labels_as_sklearn() -> None:
    rng = np.random.default_rng(0)
    truth = rng.random((80, 6)) < 0.3
    truth[:, 5] = False  # a label that is never right
    truth[0] = False  # an input without any
    logits = np.round(rng.normal(size=(80, 6)) + truth, 1)  # with equal ones
    score = score_of(Labels(NAMES, "multi_label"))
    for right, row in zip(truth, logits):
        score.add(scores("multi_label", row), json.dumps([NAMES[number] for number in np.flatnonzero(right)]))
    found, probabilities = score.result(), 1 / (1 + np.exp(-logits.astype(np.float32).astype(float)))
    given = logits >= 0
    assert found["exact_match"] == pytest.approx(accuracy_score(truth, given))
    assert found["f1"] == pytest.approx(f1_score(truth, given, average="micro"))
    assert found["macro_f1"] == pytest.approx(f1_score(truth[:, :5], given[:, :5], average="macro"))
    expected = [average_precision_score(truth[:, number], probabilities[:, number]) for number in range(5)]
    assert [each["average_precision"] for each in found["labels"]] == pytest.approx([*expected, None])
    assert found["mean_average_precision"] == pytest.approx(np.mean(expected))
    assert found["labels"][5]["recall"] is None
    assert 0.2 < found["f1"] < 0.9  # neither right nor wrong throughout
    assert any(line.endswith("  a") for line in render(found))
    assert score.picture() is None


def test_average_precision_of_ties() -> None:
    """In any order of equal scores the same."""
    truths = np.array([True, False, True, False])
    assert average_precision(truths, np.zeros(4)) == pytest.approx(average_precision_score(truths, np.zeros(4)))
    assert average_precision(truths[::-1], np.zeros(4)) == pytest.approx(0.5)
    assert average_precision(np.zeros(4, bool), np.zeros(4)) is None


def test_values_as_sklearn() -> None:
    rng = np.random.default_rng(0)
    truth, found = rng.normal(size=(50, 2)), rng.normal(size=(50, 2)).astype(np.float32)
    score = score_of(Labels(("x", "y"), "regression"))
    for right, row in zip(truth, found):
        score.add(scores("regression", row, ("x", "y")), json.dumps(right.tolist()))
    result = score.result()
    assert result["mean_absolute_error"] == pytest.approx(mean_absolute_error(truth, found))
    assert result["root_mean_squared_error"] == pytest.approx(np.sqrt(mean_squared_error(truth, found)))
    assert [each["r2"] for each in result["values"]] == pytest.approx(r2_score(truth, found, multioutput="raw_values"))
    assert render(result)[-1].endswith("  y")
    single = score_of(Labels(("x",), "regression"))
    single.add(scores("regression", [1.5], ("x",)), "2")
    assert single.result()["values"] == [{"label": "x", "mean_absolute_error": 0.5, "root_mean_squared_error": 0.5, "r2": None}]
    assert len(render(single.result())) == 2


@pytest.mark.parametrize(
    ("problem", "truth", "message"),
    [
        ("multi_label", '["a", "z"]', "'z' is none of the bundle's 6 labels"),
        ("multi_label", "6", "'6' is none of the bundle's 6 labels"),
        ("regression", "1", "the right value is '1': give a JSON list of 6 numbers"),
        ("regression", '["a", 1, 2, 3, 4, 5]', "give a JSON list of 6 numbers"),
        ("regression", "[1, 2, 3, 4, 5, NaN]", "give a JSON list of 6 numbers"),
    ],
)
def test_right_answers_that_are_none(problem: str, truth: str, message: str) -> None:
    score = score_of(Labels(NAMES, problem))
    with pytest.raises(pr.InputError) as error:
        score.add(scores(problem, range(6)), truth)
    assert message in str(error.value)


def test_names_that_are_twice_there() -> None:
    with pytest.raises(pr.InputError, match="two of the bundle's labels are 'crane'"):
        score_of(Labels(("crane", "x", "crane"), "multi_label"))


def test_how_far_two_are_apart() -> None:
    a, b = scores("multi_label", [1, -1, 1, 0, 0, 0]), scores("multi_label", [1, -1, 2, 0, 0, 0])
    same, apart = distance(a, b)
    assert (same, apart["probability"]) == (True, pytest.approx(0.1497, abs=1e-4))
    assert distance(a, scores("multi_label", [1, 1, 1, 0, 0, 0]))[0] is False
    assert distance(scores("regression", [1.0], ("x",)), scores("regression", [1.005], ("x",)))[0] is True
    same, apart = distance(scores("regression", [1.0], ("x",)), scores("regression", [1.1], ("x",)))
    assert (same, apart["value"]) == (False, pytest.approx(0.1))


@pytest.mark.parametrize("problem", ["multi_label", "regression"])
def test_by_command(
    problem: str, shipped: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A classifier whose logits are taken as those of another problem."""
    monkeypatch.chdir(tmp_path)
    bundle = Path(shutil.copytree(shipped("image-classification"), "bundle"))
    processor = Manifest.from_json((bundle / "manifest.json").read_bytes()).processor
    edit_manifest(bundle, processor={**processor, "problem": problem})
    Image.fromarray(np.full((28, 28, 3), 200, np.uint8)).save("a.png")
    truth = '["3", "4"]' if problem == "multi_label" else json.dumps([0.0] * 10)
    Path("data.csv").write_text("image,label\n" + f'a.png,"{truth.replace(chr(34), chr(34) * 2)}"\n' * 2 + "a.png,x\n")
    assert main(["evaluate", str(bundle), "data.csv", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert (found["scored"], found["failed"]) == (2, 1)
    with pr.load(bundle, task="image-classification") as classify:
        values = {each.label: each.probability for each in classify("a.png", top_k=10)}
    if problem == "regression":
        assert found["mean_absolute_error"] == pytest.approx(np.mean(np.abs(list(values.values()))), rel=1e-4)
    else:
        assert found["labels"][3]["recall"] == float(values["3"] >= 0.5)
    assert main(["evaluate", str(bundle), "data.csv"]) == 1
    assert ("mean absolute" if problem == "regression" else "mean average precision") in capsys.readouterr().out
    assert main(["compare", str(bundle), str(bundle), "a.png"]) == 0
    assert "the same on 100.0% of 1 inputs" in capsys.readouterr().out
