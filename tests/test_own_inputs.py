"""Verification on the user's own inputs, saturated classifiers, and rounding."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import saturated
import torch

from perceiver_deploy import export_bundle
from perceiver_deploy.tasks.recipe import ExportOptions
from perceiver_deploy.tasks.registry import EXPORT_TASKS
from perceiver_deploy.verification.comparison import TOLERANCES
from perceiver_deploy.verification.judge import Judge, Noise, Pair
from perceiver_deploy.verification.rounding import UNIT, rounding_noise
from perceiver_deploy.verification.verify import _allowed as known_answer_allowed
from perceiver_io import load_checkpoint
from perceiver_runtime import InputError, VerificationError


def judge(*, error: float, noise: float, allow_rounding: bool = False) -> Judge:
    """What is said of a flow of spread 1 that is `error` off, where rounding moves torch's own answer by `noise`."""
    recipe: Any = EXPORT_TASKS["flow"].recipe.__new__(EXPORT_TASKS["flow"].recipe)
    recipe.options = ExportOptions(allow_rounding=allow_rounding)
    recipe.unit = " px"
    reference = np.random.default_rng(0).standard_normal((200, 2))
    measured = Noise(dict)
    measured.__dict__["by_output"] = {"flow": noise}
    judged = Judge(recipe, TOLERANCES["fp32"])
    judged.row(Pair("a case", "flow", reference, reference + error, 1, measured))
    judged.finish()
    return judged


def test_rounding_is_allowed_for_up_to_a_cap() -> None:
    assert judge(error=1e-3, noise=1e-6).rows[0]["allowed_for_rounding"] == 0
    found = judge(error=4e-3, noise=1e-3)
    assert found.rows[0]["allowed_for_rounding"] == pytest.approx(4e-3)
    assert found.rounding()["noise"] == {"flow": 1e-3}
    with pytest.raises(VerificationError, match=r"graphs differ from torch .* moves torch's own answer by 1e-05 px only"):
        judge(error=4e-3, noise=1e-5)
    with pytest.raises(VerificationError, match=r"checkpoint amplifies rounding: .* add --allow-rounding"):
        judge(error=4e-2, noise=2e-2)
    assert judge(error=4e-2, noise=2e-2, allow_rounding=True).rows[0]["allowed_for_rounding"] == pytest.approx(8e-2)
    with pytest.raises(VerificationError, match=r"float32 does not determine its answer"):
        judge(error=4e-2, noise=10.0, allow_rounding=True)


def test_the_noise_measured_grows_with_amplification() -> None:
    layers = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.Linear(8, 8))
    inputs = torch.randn(4, 8)

    def noise(scale: float) -> float:
        with torch.no_grad():
            layers[1].weight.mul_(scale)
        return rounding_noise(layers, lambda: {"y": layers(inputs).detach().numpy()})["y"]

    usual = noise(1.0)
    assert 0 < usual < 20 * UNIT
    assert noise(1000.0) > 100 * usual


def test_own_inputs_do_not_loosen_the_known_answer() -> None:
    """What `perceiver verify` allows on a device comes from the general cases."""
    general, own = (
        {"output": "logits", "allowed": allowed, "allowed_for_rounding": 0.0, "own": is_own}
        for allowed, is_own in ((0.01, False), (0.5, True))
    )
    answer = np.zeros(3)
    assert known_answer_allowed("logits", answer, [general, own], TOLERANCES["fp32"]) == 0.01
    assert known_answer_allowed("logits", answer, [own], TOLERANCES["fp32"]) == 0.5


SATURATED = {
    "text-classification": (saturated.text_classifier, saturated.save_texts),
    "image-classification": (saturated.image_classifier, saturated.save_pictures),
}


@pytest.mark.parametrize(
    ("task", "precision"),
    [("text-classification", "fp16"), ("image-classification", "fp32")]
    + [
        pytest.param(task, precision, marks=pytest.mark.long)
        for task, precision in [
            ("text-classification", "fp32"),
            ("text-classification", "int8"),
            ("text-classification", "bf16"),
            ("image-classification", "fp16"),
            ("image-classification", "int8"),
            ("image-classification", "bf16"),
        ]
    ],
)
def test_saturated_classifiers_export(task: str, precision: Any, tmp_path: Path) -> None:
    """With and without the user's own inputs; the parity report says which outputs did not vary."""
    make, save = SATURATED[task]
    make(tmp_path / "checkpoint")
    options: dict[str, Any] = {"task": task, "checkpoint": tmp_path / "checkpoint", "precision": precision}
    options["target"] = "tensorrt" if precision == "bf16" else "ort"
    if (task, precision) in {
        ("text-classification", "fp16"),
        ("text-classification", "fp32"),
        ("image-classification", "fp32"),
    }:
        alone = export_bundle(**options, output=tmp_path / "alone")
        assert "--samples FOLDER" in alone.parity["summary"]["constant"]["logits"]
    elif (task, precision) != ("text-classification", "bf16"):  # without a spread, a share of the logits' size is too little
        with pytest.raises(VerificationError, match=r"or verify it on your own inputs: --samples FOLDER"):
            export_bundle(**options, output=tmp_path / "alone")
    manifest = export_bundle(**options, output=tmp_path / "bundle", samples=save(tmp_path / "own"))
    assert "constant" not in manifest.parity["summary"]
    assert manifest.parity["own_inputs"] == 4
    assert manifest.parity["summary"]["figures"]["top1_agreeing"] == 1.0


def test_of_many_samples_it_is_said_how_many_are_taken(tmp_path: Path) -> None:
    lines = [f"text number {number}" for number in range(40)]
    (tmp_path / "texts.txt").write_text("\n".join(lines[:32]))
    recipe: Any = EXPORT_TASKS["text-classification"].recipe(load_checkpoint("glosses-small").config, ExportOptions(), tmp_path)
    assert len(recipe.read_samples(tmp_path)) == 32
    assert not recipe.notes
    (tmp_path / "texts.txt").write_text("\n".join(lines))
    assert len(recipe.read_samples(tmp_path)) == 32
    assert list(recipe.notes) == [f"{tmp_path} holds 40 samples, the first 32 are taken"]


def test_a_sample_text_is_cut_by_bytes(tmp_path: Path) -> None:
    """From a whole character on, to what the model takes."""
    (tmp_path / "sample").mkdir()
    (tmp_path / "sample" / "text.txt").write_text("東京" * 400 + "é", encoding="utf-8")
    config = load_checkpoint("glosses-small").config
    recipe: Any = EXPORT_TASKS["text-classification"].recipe(config, ExportOptions(), tmp_path)
    text = recipe.sample_text("usual")
    room = config.text.max_positions - 3
    assert room - 3 < len(text.encode()) <= room
    assert ("東京" * 400 + "é").endswith(text)


def test_samples_that_cannot_be_used(tmp_path: Path) -> None:
    """Said before anything is exported."""
    folder = tmp_path / "own"
    options: dict[str, Any] = {"task": "text-classification", "output": tmp_path / "bundle", "samples": folder}
    with pytest.raises(InputError, match=r"there is no folder .*own of samples: name one that holds texts"):
        export_bundle(**options)
    folder.mkdir()
    with pytest.raises(InputError, match=r"own holds no samples for this task: put texts \(.txt, one a line\) into it"):
        export_bundle(**options)
    (folder / "a.txt").write_bytes(b"caf\xe9")
    with pytest.raises(InputError, match=r"a.txt cannot be read as UTF-8 text"):
        export_bundle(**options)
    assert not (tmp_path / "bundle").exists()
