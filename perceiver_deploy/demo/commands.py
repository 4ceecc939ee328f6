"""Spoken commands of voices never trained on, one after the other, and what is heard in each second."""

from __future__ import annotations

from pathlib import Path

import perceiver_runtime as pr
from perceiver_runtime.bundle.reader import open_bundle
from perceiver_runtime.files.images import write_image
from perceiver_runtime.tasks.audio_classification.picture import draw_sound
from perceiver_runtime.tasks.known_answer import FILE, Sample


def show(bundle: Path, folder: Path) -> list[str]:
    """Write commands.png: the waveform with the label of each second."""
    audio = Sample.read(open_bundle(bundle).read(FILE)).inputs["audio"]
    with pr.load(bundle, task="audio-classification", device="cpu") as classify:
        rate = classify.processor.sampling_rate
        found = classify.details(audio, top_k=1)
        seconds = sum(classify.timing.seconds().values())
    write_image(folder / "commands.png", draw_sound(audio, rate, found.windows))
    words = [f"{part.labels[0].label} {part.labels[0].probability:.2f}" for part in found.windows]
    return [
        f"{len(audio) / rate:.0f} s of voices never trained on, in {seconds:.2f} s: {', '.join(words)}",
        f"{folder / 'commands.png'}: the waveform with the label of each second",
    ]
