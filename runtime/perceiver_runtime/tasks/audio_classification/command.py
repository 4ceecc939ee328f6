"""`perceiver run` for audio classification."""

from __future__ import annotations

import argparse
import time
from functools import partial
from typing import Any

from perceiver_runtime.bundle.manifest import Manifest
from perceiver_runtime.common.errors import UsageError
from perceiver_runtime.files.images import check_picture_ending, write_image
from perceiver_runtime.processing.heads.sounds import SoundProcessor
from perceiver_runtime.tasks.arguments import positive
from perceiver_runtime.tasks.audio_classification.picture import draw_sound
from perceiver_runtime.tasks.audio_classification.pipeline import SoundLabels
from perceiver_runtime.tasks.kinds.audio import AUDIO
from perceiver_runtime.tasks.outputs import add_force, check_outputs
from perceiver_runtime.tasks.several import Item, answered, attempt, results
from perceiver_runtime.tasks.task import Load
from perceiver_runtime.tasks.text_commands import seconds


def add_arguments(parser: argparse.ArgumentParser, manifest: Manifest) -> None:
    """What follows the bundle."""
    window = SoundProcessor.from_json(dict(manifest.processor)).seconds
    help_text = f"WAV or video files, or .npy samples at the bundle's rate; longer ones in windows of {window:.4g} s"
    parser.add_argument("sounds", nargs="+", metavar="SOUND", help=help_text)
    add_options(parser)
    parser.add_argument("-o", "--output", metavar="PNG", help="of one sound: its waveform with the label of each window")
    add_force(parser)


def add_options(parser: argparse.ArgumentParser) -> None:
    """--top-k and --hop."""
    parser.add_argument("--top-k", type=positive, default=5, metavar="N", help="how many labels to print (default: 5)")
    help_text = "a window every S seconds of a longer sound (default: one after the other)"
    parser.add_argument("--hop", type=float, metavar="S", help=help_text)


def options(arguments: argparse.Namespace) -> dict[str, Any]:
    """The same, for the pipeline."""
    return {"top_k": arguments.top_k, "hop": arguments.hop}


def run(arguments: argparse.Namespace, load: Load) -> dict[str, object]:
    """Labels of each sound, and of its windows where it has several."""
    names = arguments.sounds
    check_outputs([arguments.output], force=arguments.force)
    if arguments.output:
        check_picture_ending(arguments.output)
        if len(names) > 1:
            raise UsageError(f"-o is for one sound, found {len(names)}")
    items = [Item(name, attempt(partial(AUDIO.read, name))) for name in names]
    start = time.perf_counter()
    with load() as classify:
        loaded = time.perf_counter() - start
        answers = answered(items, lambda sounds: [classify.details(each, **options(arguments)) for each in sounds])
        done = results(answers, _described)
        written = []
        if arguments.output:
            samples = classify.processor(items[0].value)
            write_image(arguments.output, draw_sound(samples, classify.processor.sampling_rate, answers[0].value.windows))
            written = [arguments.output]
        return {
            "provider": classify.provider, **done, "written": written,
            "seconds": {"load": loaded, **classify.timing.seconds()},
        }  # fmt: skip


def _described(item: Item, answer: SoundLabels) -> dict[str, object]:
    return {"input": item.name, **answer.to_dict()}


def render(result: dict[str, Any]) -> str:
    """The same for people."""
    lines = []
    for each in result["results"]:
        lines.append(each["input"])
        lines += [f"  {label['probability']:8.3g}  {label['label']}" for label in each["labels"]]
        for part in each["windows"] if len(each["windows"]) > 1 else []:
            best = part["labels"][0]
            lines.append(f"  {part['start']:7.2f} to {part['end']:.2f} s: {best['label']} {best['probability']:.3g}")
    lines += [f"wrote {name}" for name in result["written"]]
    return "\n".join([*lines, seconds(result)])
