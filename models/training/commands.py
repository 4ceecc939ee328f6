"""Train the small audio classifier that ships with perceiver_io: ten spoken commands, and all else.

    python models/training/speech.py --out speech
    python models/training/commands.py --minutes 40 --out commands-small
    python models/training/commands.py --evaluate commands-small

The recordings are of free synthesizers (speech.py); each is heard through another microphone, room and noise every time
(listening.py). The checkpoint is in this package's own layout: transformers has no such model.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import listening
import loop
import numpy as np
import torch
from numpy.typing import NDArray
from samples import write_sound_sample
from speech import COMMANDS, LABELS, OTHER, RATE, Corpus, Samples
from torch import Tensor

from perceiver_io import (
    AudioClassificationConfig,
    AudioClassifier,
    DecoderConfig,
    EncoderConfig,
    SpectrogramConfig,
    classification_loss,
    load_checkpoint,
    save_checkpoint,
)

ENCODER = EncoderConfig(
    num_latents=32,
    latent_channels=128,
    num_blocks=1,
    layers_per_block=4,
    self_attention_heads=4,
    cross_attention_heads=4,
    qk_channels=128,
    self_attention_widening=2,
    attention_dropout=0.1,
)
CONFIG = AudioClassificationConfig(ENCODER, DecoderConfig(heads=4, query_residual=True), SpectrogramConfig(), LABELS)
COMMAND_SHARE, NOTHING_SHARE, BABBLE_SHARE = 0.75, 0.05, 0.15
ESPEAK_SHARE = 0.55  # of words: it has most voices, none of which is made of a person's
SMOOTHING = 0.05  # of labels
SAMPLE = ("stop", "left", "up", "yes", "go")
NOISES = (None, 20.0, 10.0, 5.0, 0.0)  # dB, measured at

Numbers = NDArray[np.int64]


class Words:
    """Windows to train on, drawn of a corpus' training voices."""

    def __init__(self, corpus: Corpus) -> None:
        self.corpus = corpus
        self.around = listening.Surroundings.make(np.random.default_rng(0))
        own = corpus.of("training")
        self.by_label: dict[tuple[int, bool], Numbers] = {
            (label, espeak): own[(corpus.labels[own] == label) & ((corpus.synthesizers[own] == "espeak-ng") == espeak)]
            for label in range(len(LABELS))
            for espeak in (True, False)
        }

    def _word(self, label: int, generator: np.random.Generator) -> listening.Floats:
        numbers = self.by_label[label, bool(generator.random() < ESPEAK_SHARE)]
        return _floats(self.corpus[int(generator.choice(numbers))])

    def draw(self, generator: np.random.Generator) -> tuple[listening.Floats, int]:
        """A window and its label."""
        kind = generator.random()
        if kind < NOTHING_SHARE:
            return self.around.nothing(generator), LABELS.index(OTHER)
        command = kind > 1 - COMMAND_SHARE
        label = int(generator.integers(len(COMMANDS))) if command else LABELS.index(OTHER)
        babble = None
        if generator.random() < BABBLE_SHARE:
            sounds = [self._word(LABELS.index(OTHER), generator) for _ in range(3)]
            placed = [listening.placed(each, int(generator.integers(listening.WINDOW // 2))) for each in sounds]
            babble = np.sum(placed, axis=0, dtype=np.float32)
        return self.around.heard(self._word(label, generator), generator, babble), label


def _floats(samples: Samples) -> listening.Floats:
    return samples.astype(np.float32) / np.float32(32768)


def batch_of(words: Words, size: int, generator: np.random.Generator) -> tuple[Tensor, Tensor]:
    """audio (size, S) and labels (size,)."""
    windows, labels = zip(*(words.draw(generator) for _ in range(size)))
    return torch.from_numpy(np.stack(windows)), torch.tensor(labels)


def windows_of(corpus: Corpus, numbers: Numbers, decibels: float | None) -> NDArray[np.float32]:
    """Recordings as a microphone close by has them, each in the middle of a window, with noise at a signal-to-noise ratio."""
    generator = np.random.default_rng(1)
    windows = []
    for number in numbers:
        sound = _floats(corpus[int(number)])
        window = listening.placed(sound, max(0, listening.WINDOW - len(sound)) // 2)
        windows.append(window if decibels is None else listening.with_noise(window, listening.noise(generator), decibels))
    found = np.stack(windows)
    found *= 0.3 / np.abs(found).max(axis=1, keepdims=True)
    return found


def few(corpus: Corpus, words: Sequence[str], each: int) -> Numbers:
    """Recordings of test voices: `each` a word, of one voice after the other."""
    own, found = corpus.of("test"), []
    names = list(dict.fromkeys(corpus.voices[own]))
    for place, word in enumerate(words):
        for take in range(each):
            voice = names[(place + take) % len(names)]
            found.append(own[(corpus.words[own] == word) & (corpus.voices[own] == voice)][0])
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


def main() -> None:
    """Train, or evaluate a checkpoint."""
    parser = loop.arguments(__doc__, out="commands-small", minutes=40, batch=64)
    parser.add_argument("--speech", type=Path, default=Path("speech"), help="recordings, which speech.py makes")
    parser.add_argument("--evaluate", metavar="CHECKPOINT", help="measure a checkpoint on voices never trained on")
    options = parser.parse_args()
    corpus = Corpus.read(options.speech)
    if options.evaluate:
        model = load_checkpoint(options.evaluate)
        for group in ("validation", "test"):
            print(f"{group}\n{report(model, corpus, group)}")
        return
    torch.manual_seed(options.seed)
    model = AudioClassifier(CONFIG).to(options.device)
    words = Words(corpus)
    unseen = corpus.of("validation")
    windows = windows_of(corpus, unseen, 10.0)

    def loss(generator: torch.Generator) -> Tensor:
        seed = int(torch.randint(1 << 62, (), generator=generator))
        audio, labels = batch_of(words, options.batch, np.random.default_rng(seed))
        with torch.autocast(torch.device(options.device).type, torch.bfloat16):
            logits = model(audio.to(options.device)).float()
        smooth = SMOOTHING * torch.logsumexp(logits, -1).mean() - SMOOTHING * logits.mean()
        hard = classification_loss(logits, labels.to(options.device), problem="single_label")
        total: Tensor = (1 - SMOOTHING) * hard + smooth
        return total

    def save() -> None:
        save_checkpoint(model, options.out, dtype=torch.float16)
        write_sound_sample(options.out, windows_of(corpus, few(corpus, SAMPLE, 1), 20.0).reshape(-1), RATE)

    def evaluate() -> str:
        named, left = shares(corpus.labels[unseen], answers(model, windows))
        return f"validation at 10 dB: {named:.3f} of commands, {left:.3f} of other words"

    loop.train(model, options, loss=loss, evaluate=evaluate, save=save, evaluate_every=100)


if __name__ == "__main__":
    main()
