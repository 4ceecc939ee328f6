"""How well a classifier of commands hears: what the model card says, and recordings for tests."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import listening
import numpy as np
import torch
from command_words import COMMANDS, LABELS, NEW_WORDS, OTHER
from numpy.typing import NDArray
from speech import Corpus, Samples

from perceiver_io import AudioClassifier

NOISES = (None, 20.0, 10.0, 5.0, 0.0)  # dB, measured at

Numbers = NDArray[np.int64]


def as_floats(samples: Samples) -> listening.Floats:
    """int16 as float32 in [-1, 1]."""
    return samples.astype(np.float32) / np.float32(32768)


def windows_of(corpus: Corpus, numbers: Numbers, decibels: float | None) -> NDArray[np.float32]:
    """Recordings as a microphone close by has them, each in the middle of a window, with noise at a signal-to-noise ratio."""
    generator = np.random.default_rng(1)
    windows = []
    for number in numbers:
        sound = as_floats(corpus[int(number)])
        window = listening.placed(sound, max(0, listening.WINDOW - len(sound)) // 2)
        windows.append(window if decibels is None else listening.with_noise(window, listening.noise(generator), decibels))
    found = np.stack(windows)
    found *= 0.3 / np.abs(found).max(axis=1, keepdims=True)
    return found


def write_held_out(corpus: Corpus, file: Path) -> None:
    """Some recordings of both groups, for tests: 8-bit mu-law, lengths, labels, groups."""
    chosen = (("validation", COMMANDS, 2), ("validation", NEW_WORDS[::3], 1), ("test", COMMANDS, 1))
    numbers = np.concatenate([few(corpus, *each) for each in chosen])
    sounds = [as_floats(corpus[int(number)]) for number in numbers]
    samples = np.concatenate(sounds)
    steps = np.sign(samples) * np.log1p(255 * np.abs(samples)) / np.log(256)
    np.savez_compressed(
        file,
        mu_law=np.rint((steps + 1) * 127.5).astype(np.uint8),
        lengths=np.array([len(sound) for sound in sounds]),
        labels=np.array([LABELS[label] for label in corpus.labels[numbers]]),
        groups=corpus.groups[numbers],
    )


def few(corpus: Corpus, group: str, words: Sequence[str], each: int) -> Numbers:
    """Recordings of a group's voices: `each` a word, of one voice after the other that says it."""
    own, found = corpus.of(group), []
    names = list(dict.fromkeys(corpus.voices[own]))
    for word in words:
        spoken = own[corpus.words[own] == word]
        for _ in range(each):
            voice = next((name for name in names if name in corpus.voices[spoken]), names[0])
            names = [name for name in names if name != voice] + [voice]
            found.append(spoken[corpus.voices[spoken] == voice][0])
    return np.array(found)


@torch.no_grad()
def answers(model: AudioClassifier, windows: NDArray[np.float32]) -> Numbers:
    """The first label of each window."""
    device = next(model.parameters()).device
    parts = [model(part.to(device)).argmax(-1).cpu().numpy() for part in torch.from_numpy(windows).split(100)]
    return np.concatenate(parts)


def shares(labels: Numbers, found: Numbers) -> tuple[float, float]:
    """Of commands, how many are named; of other words, how many are left alone."""
    command = labels != LABELS.index(OTHER)
    right = labels == found
    return float(right[command].mean()), float(right[~command].mean())


def report(model: AudioClassifier, corpus: Corpus, group: str) -> str:
    """What the model card says: by noise, by voice, by word, and what is taken for what."""
    numbers = corpus.of(group)
    labels, lines = corpus.labels[numbers], []
    quiet = None
    for decibels in NOISES:
        found = answers(model, windows_of(corpus, numbers, decibels))
        quiet = found if quiet is None else quiet
        at = "no noise" if decibels is None else f"{decibels:.0f} dB"
        named, left = shares(labels, found)
        lines.append(f"{at:>9}: {named:.1%} of commands named, {left:.1%} of other words left alone")
    assert quiet is not None
    lines.append(f"{len(labels)} recordings; without noise, by voice:")
    names = np.array([f"{a} {b}" for a, b in zip(corpus.synthesizers[numbers], corpus.voices[numbers])])
    for name in dict.fromkeys(names):
        own = names == name
        named, left = shares(labels[own], quiet[own])
        lines.append(f"  {name}: {named:.1%} of {int((labels[own] < len(COMMANDS)).sum())} commands, others {left:.1%}")
    lines.append("rows are said, columns are heard: " + " ".join(LABELS))
    for label, name in enumerate(LABELS):
        lines.append(
            f"{name:>6} " + " ".join(f"{int((quiet[labels == label] == other).sum()):4d}" for other in range(len(LABELS)))
        )
    taken = corpus.words[numbers][(labels == LABELS.index(OTHER)) & (quiet != labels)]
    lines.append("other words taken for commands: " + ", ".join(sorted(set(taken))))
    return "\n".join(lines)
