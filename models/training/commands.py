"""Train the small audio classifier that ships with perceiver_io: ten spoken commands, and all else.

    python models/training/speech.py --out speech
    python models/training/commands.py --minutes 40 --out commands-small
    python models/training/commands.py --evaluate commands-small

The recordings are of free synthesizers (speech.py); each is heard through another microphone, room and noise every time
(listening.py). The checkpoint is in this package's own layout: transformers has no such model.
"""

from __future__ import annotations

from pathlib import Path

import listening
import loop
import numpy as np
import torch
from command_words import COMMANDS, LABELS, OTHER
from commands_report import Numbers, answers, as_floats, few, report, shares, windows_of, write_held_out
from speech import RATE, Corpus
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
from samples import write_sound_sample

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
COMMAND_SHARE, NOTHING_SHARE, BABBLE_SHARE = 0.6, 0.05, 0.15
ESPEAK_SHARE = 0.55  # of words: it has most voices, none of which is made of a person's
SMOOTHING = 0.05  # of labels
SAMPLE = ("stop", "no", "up", "yes", "go")


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
        return as_floats(self.corpus[int(generator.choice(numbers))])

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
            babble = np.stack(placed).sum(axis=0, dtype=np.float32)
        return self.around.heard(self._word(label, generator), generator, babble), label


def batch_of(words: Words, size: int, generator: np.random.Generator) -> tuple[Tensor, Tensor]:
    """audio (size, S) and labels (size,)."""
    windows, labels = zip(*(words.draw(generator) for _ in range(size)))
    return torch.from_numpy(np.stack(windows)), torch.tensor(labels)


def main() -> None:
    """Train, or evaluate a checkpoint."""
    parser = loop.arguments(__doc__, out="commands-small", minutes=40, batch=64)
    parser.add_argument("--speech", type=Path, default=Path("speech"), help="recordings, which speech.py makes")
    parser.add_argument("--evaluate", metavar="CHECKPOINT", help="measure a checkpoint on voices never trained on")
    parser.add_argument("--held-out", type=Path, metavar="NPZ", help="write some recordings of test voices, for tests")
    options = parser.parse_args()
    corpus = Corpus.read(options.speech)
    if options.evaluate:
        model = load_checkpoint(options.evaluate)
        for group in ("validation", "test"):
            print(f"{group}\n{report(model, corpus, group)}")
        return
    if options.held_out:
        write_held_out(corpus, options.held_out)
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
        write_sound_sample(options.out, windows_of(corpus, few(corpus, "validation", SAMPLE, 1), 20.0).reshape(-1), RATE)

    def evaluate() -> str:
        named, left = shares(corpus.labels[unseen], answers(model, windows))
        return f"validation at 10 dB: {named:.3f} of commands, {left:.3f} of other words"

    loop.train(model, options, loss=loss, evaluate=evaluate, save=save, evaluate_every=100)


if __name__ == "__main__":
    main()
