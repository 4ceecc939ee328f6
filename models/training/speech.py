"""Spoken words from free synthesizers, cut to the word, at 16 kHz: what commands.py trains and is measured on.

    python models/training/speech.py --out speech

Debian's packages espeak-ng, flite, festival, festvox-kallpc16k, festvox-kdlpc16k and festvox-us-slt-hts make the sound. A voice
is of one group alone: `training`, `validation` (voices of a synthesizer that is trained on) or `test` (speakers that are never
trained on, one of them with a synthesizer of its own). So is a word that is no command.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from command_words import COMMANDS, LABELS, NEW_WORDS, OTHER, OTHER_WORDS
from numpy.typing import NDArray

from perceiver_runtime.files.outputs import replacing
from perceiver_runtime.files.wav import read_wav
from perceiver_runtime.processing.sound import mono, resample

RATE = 16_000
SAYINGS = ("{}", "{}.", "{}!", "{}?")  # a synthesizer's melody follows the sign
LONGEST = RATE  # samples of a command: of a window

Samples = NDArray[np.int16]


@dataclass(frozen=True)
class Voice:
    """Who speaks: a synthesizer's voice, and the group that it is of."""

    synthesizer: str
    name: str
    group: str = "training"


FLITE = (*(Voice("flite", each) for each in ("kal16", "kal", "awb", "rms")), Voice("flite", "slt", "test"))
FESTIVAL = (
    Voice("festival", "kal_diphone"),
    Voice("festival", "ked_diphone"),
    Voice("festival", "cmu_us_slt_arctic_hts", "test"),
)
ACCENTS = ("en-us", "en-gb", "en-gb-scotland", "en-029", "en-gb-x-gbclan", "en-gb-x-rp", "en-gb-x-gbcwmd", "en-us-nyc")
VALIDATION = ("Andrea", "Michael", "Gene", "belinda", "edward", "f3", "klatt4", "linda", "m5", "max", "steph2", "zac")
TAKES = {"espeak-ng": 2, "flite": 12, "festival": 12}  # of each command, by each voice
OTHERS = {"espeak-ng": 16, "flite": len(OTHER_WORDS), "festival": len(OTHER_WORDS)}  # takes of other words
NEW_OTHERS = {"espeak-ng": 10, "flite": 3 * len(NEW_WORDS), "festival": 3 * len(NEW_WORDS)}


class Take(NamedTuple):
    """What is to be said, by whom and how: pitch and pace are factors."""

    voice: Voice
    word: str
    text: str
    pitch: float
    pace: float


def voices(generator: np.random.Generator) -> list[Voice]:
    """All of them: espeak-ng's variants with two accents each."""
    listed = subprocess.run(["espeak-ng", "--voices=variant"], capture_output=True, text=True, check=True).stdout
    variants = sorted(
        {line.split("!v/")[1].split("  ")[0].split("(")[0].strip() for line in listed.splitlines() if "!v/" in line}
    )
    found = []
    for variant in variants:
        group = "validation" if variant in VALIDATION else "training"
        for accent in generator.choice(ACCENTS, 2, replace=False):
            found.append(Voice("espeak-ng", f"{accent}+{variant}", group))
    return [*found, *FLITE, *FESTIVAL]


def takes(voice: Voice, generator: np.random.Generator) -> Iterator[Take]:
    """What a voice says: each command several times, and other words of its group."""
    known = voice.group == "training"
    others, count = (OTHER_WORDS, OTHERS) if known else (NEW_WORDS, NEW_OTHERS)
    words = list(COMMANDS) * TAKES[voice.synthesizer]
    most = count[voice.synthesizer]
    rounds = [generator.permutation(len(others)) for _ in range(-(-most // len(others)))]
    words += [others[number] for number in np.concatenate(rounds)[:most]]
    for word in words:
        pitch, pace = 2.0 ** generator.uniform(-0.5, 0.5), 2.0 ** generator.uniform(-0.45, 0.45)
        yield Take(voice, word, str(generator.choice(SAYINGS)).format(word), pitch, pace)


def _espeak(said: Sequence[Take], folder: Path) -> None:
    for number, take in enumerate(said):
        pitch, speed = round(np.clip(50 + 90 * np.log2(take.pitch), 0, 99)), round(160 * take.pace)
        settings = ["-v", take.voice.name, "-p", str(pitch), "-s", str(speed)]
        _run(["espeak-ng", *settings, "-w", str(folder / f"{number}.wav"), take.text])


def _flite(said: Sequence[Take], folder: Path) -> None:
    for number, take in enumerate(said):
        mean = take.pitch * (180 if take.voice.name == "slt" else 110)  # Hz
        settings = ["--setf", f"duration_stretch={1 / take.pace:.3f}", "--setf", f"int_f0_target_mean={mean:.0f}"]
        _run(["flite", "-voice", take.voice.name, *settings, "-t", take.text, "-o", str(folder / f"{number}.wav")])


def _festival(said: Sequence[Take], folder: Path) -> None:
    """All with one process, which takes half a second to start; it may die of a word, and is started again after that.

    Only its diphone voices heed the pitch.
    """
    start = 0
    while start < len(said):
        lines = [f"(voice_{said[0].voice.name})"]
        for number, take in enumerate(said[start:], start):
            mean = f"(target_f0_mean {105 * take.pitch:.0f}) (target_f0_std 14)"
            lines += [
                f"(Parameter.set 'Duration_Stretch {1 / take.pace:.3f})",
                f"(set! int_lr_params '({mean} (model_f0_mean 170) (model_f0_std 34)))",
                f'(utt.save.wave (utt.synth (Utterance Text "{take.text}")) "{folder / f"{number}.wav"}" \'riff)',
            ]
        script = folder / "takes.scm"
        script.write_text("\n".join(lines) + "\n", encoding="utf-8")
        _run(["festival", "--batch", str(script)])
        start = next((number for number in range(start, len(said)) if not (folder / f"{number}.wav").is_file()), len(said)) + 1


def _run(command: list[str]) -> None:
    subprocess.run(command, capture_output=True, timeout=3600, check=False)


_SYNTHESIZERS = {"espeak-ng": _espeak, "flite": _flite, "festival": _festival}


def say(said: Sequence[Take]) -> list[Samples | None]:
    """Takes of one voice, each cut to what is heard of it, as loud as int16 allows; None where nothing is."""
    with tempfile.TemporaryDirectory() as folder:
        _SYNTHESIZERS[said[0].voice.synthesizer](said, Path(folder))
        return [_cut(Path(folder) / f"{number}.wav") for number in range(len(said))]


def _cut(file: Path) -> Samples | None:
    if not file.is_file():
        return None
    audio, rate = read_wav(file)
    sound = resample(mono(audio), rate, RATE)
    loudness = np.sqrt(np.convolve(sound**2, np.full(160, 1 / 160), "same"))
    heard = np.flatnonzero(loudness > 0.02 * loudness.max(initial=0.0))
    if not len(heard) or loudness.max() < 1e-3:
        return None
    cut = sound[max(0, heard[0] - 240) : heard[-1] + 240]
    loud: Samples = np.rint(cut * (32000 / np.abs(cut).max())).astype(np.int16)
    return loud


def fits(take: Take, sound: Samples) -> bool:
    """Whether a command is no longer than a window; of other words, parts will do."""
    return take.word not in COMMANDS or len(sound) <= LONGEST


@dataclass(frozen=True)
class Corpus:
    """Recordings one after the other: (S,) int16, where each ends, its label, word and voice."""

    samples: Samples
    ends: NDArray[np.int64]
    labels: NDArray[np.int64]
    words: NDArray[np.str_]
    synthesizers: NDArray[np.str_]
    voices: NDArray[np.str_]
    groups: NDArray[np.str_]

    def __getitem__(self, number: int) -> Samples:
        return self.samples[self.ends[number - 1] if number else 0 : self.ends[number]]

    def of(self, group: str) -> NDArray[np.int64]:
        """The numbers of a group's recordings."""
        return np.flatnonzero(self.groups == group)

    @classmethod
    def read(cls, folder: Path) -> Corpus:
        """All voices of a folder."""
        files = sorted(file for file in folder.glob("*.npz") if not file.name.startswith("."))
        if not files:
            raise SystemExit(f"there are no recordings in {folder}: make them with speech.py")
        parts = [dict(np.load(file)) for file in files]
        columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        columns["ends"] = np.cumsum(columns.pop("lengths"))
        return cls(**columns)

    @staticmethod
    def write(file: Path, found: Sequence[tuple[Take, Samples]]) -> None:
        """Takes and what was heard of them, as .npz."""
        columns: dict[str, Any] = {
            "samples": np.concatenate([sound for _, sound in found]),
            "lengths": np.array([len(sound) for _, sound in found]),
            "labels": np.array([LABELS.index(take.word if take.word in COMMANDS else OTHER) for take, _ in found]),
            "words": np.array([take.word for take, _ in found]),
            "synthesizers": np.array([take.voice.synthesizer for take, _ in found]),
            "voices": np.array([take.voice.name for take, _ in found]),
            "groups": np.array([take.voice.group for take, _ in found]),
        }
        with replacing(file) as whole:
            np.savez(whole, **columns)


def main() -> None:
    """Make the recordings."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("speech"), help="folder, a file for each voice; those there are kept")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--synthesizers", nargs="+", default=list(_SYNTHESIZERS), choices=_SYNTHESIZERS)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    for number, voice in enumerate(voices(np.random.default_rng(options.seed))):
        file = options.out / f"{voice.synthesizer} {voice.name}.npz"
        if file.exists() or voice.synthesizer not in options.synthesizers:
            continue
        said = list(takes(voice, np.random.default_rng([options.seed, number])))
        found = [(take, sound) for take, sound in zip(said, say(said)) if sound is not None and fits(take, sound)]
        Corpus.write(file, found)
        print(f"{voice.synthesizer} {voice.name}: {len(found)} of {len(said)} recordings", flush=True)


if __name__ == "__main__":
    main()
