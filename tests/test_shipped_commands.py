"""commands-small truly hears: the figures of its card, on voices never trained on, through the bundle, in each precision.

commands.npz holds recordings of espeak-ng's voices that are for validation, and of the speaker slt by flite and festival: 8-bit
mu-law at 16 kHz (models/training/commands.py writes it).
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import perceiver_runtime as pr
from perceiver_io import SHIPPED
from perceiver_runtime.commands.main import main
from perceiver_runtime.files.wav import write_wav

RATE, FOREIGN = 16_000, 0.4


def recordings() -> tuple[list[Any], list[str], list[str]]:
    """Sounds, float32 (S,), what they are, and which group they are of."""
    with np.load(Path(__file__).parent / "data/commands.npz") as arrays:
        steps, lengths = arrays["mu_law"].astype(np.float32) / 127.5 - 1, arrays["lengths"]
        labels, groups = ([str(each) for each in arrays[name]] for name in ("labels", "groups"))
    samples = np.sign(steps) * (256 ** np.abs(steps) - 1) / 255
    return np.split(samples.astype(np.float32), np.cumsum(lengths)[:-1]), labels, groups


def share(found: list[str], labels: list[str], chosen: list[bool]) -> float:
    return float(np.mean([answer == label for answer, label, each in zip(found, labels, chosen) if each]))


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_commands_of_unseen_voices(precision: Any, shipped: Callable[..., Path]) -> None:
    sounds, labels, groups = recordings()
    assert {*labels} == {"stop", "go", "left", "right", "up", "down", "yes", "no", "on", "off", "other"}
    with pr.load(shipped("audio-classification", precision=precision), device="cpu") as classify:
        found, backwards, hushed = (
            [each[0].label for each in classify(given, top_k=1)]
            for given in (sounds, [sound[::-1].copy() for sound in sounds], [0.01 * sound for sound in sounds])
        )
        assert classify(np.zeros(RATE, np.float32), top_k=1)[0].label == "other"
    command = [label != "other" for label in labels]
    known, foreign = ([group == wanted for group in groups] for wanted in ("validation", "test"))
    commands = [all(each) for each in zip(command, known)]
    assert share(found, labels, commands) >= 0.9  # another voice
    assert share(hushed, labels, commands) >= 0.9
    assert share(found, labels, [not each for each in command]) >= 0.5
    assert share(found, labels, foreign) >= FOREIGN  # another synthesizer
    assert share(backwards, labels, commands) < 0.5
    assert share(found, labels[2:] + labels[:2], commands) < 0.3


def test_a_file_and_the_sample(tmp_path: Path, shipped: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    """`perceiver run` prints the word and its probability; the sample's words are found second by second."""
    sounds, labels, _ = recordings()
    write_wav(tmp_path / "word.wav", sounds[0], RATE)
    bundle = str(shipped("audio-classification"))
    assert main(["run", bundle, str(tmp_path / "word.wav"), "--top-k", "1"]) == 0
    assert labels[0] in capsys.readouterr().out
    assert main(["run", bundle, "--sample"]) == 0
    shown = capsys.readouterr().out
    for second, word in enumerate(("stop", "no", "up", "yes", "go")):
        assert f"{second:7.2f} to {second + 1:.2f} s: {word} " in shown


def test_it_is_small() -> None:
    assert sum(path.stat().st_size for path in SHIPPED["commands-small"].rglob("*") if path.is_file()) < 3e6
