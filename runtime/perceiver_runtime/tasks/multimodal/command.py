"""`perceiver run` for multimodal autoencoding: a clip to its labels, its reconstruction, or some frames of it."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import time
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perceiver_runtime.bundle.manifest import Manifest
from perceiver_runtime.common.errors import UsageError
from perceiver_runtime.files.clip_writers import check_clip_ending, clip_writer
from perceiver_runtime.files.outputs import check_ending
from perceiver_runtime.files.wav import SOUNDS, wav_writer
from perceiver_runtime.processing.clip_windows import Window, frame_rate
from perceiver_runtime.tasks.arguments import memory, old_memory, positive
from perceiver_runtime.tasks.kinds.clip import CLIP, clip_windows
from perceiver_runtime.tasks.labels import LabelScores
from perceiver_runtime.tasks.multimodal.clip import EncodedClip, mean_labels
from perceiver_runtime.tasks.multimodal.pipeline import MultimodalPipeline
from perceiver_runtime.tasks.outputs import add_force, check_outputs, progress
from perceiver_runtime.tasks.task import Load
from perceiver_runtime.tasks.text_commands import seconds


def add_arguments(parser: argparse.ArgumentParser, manifest: Manifest) -> None:
    """What follows the bundle."""
    CLIP.add_arguments(parser, manifest.processor)
    help_text = "write the video reconstructed: an .mp4 with its sound, an animated .gif, or a folder of pictures"
    parser.add_argument("-o", "--output", metavar="FILE", help=help_text)
    help_text = "how much of a video file, in windows of what the model takes (default: all)"
    parser.add_argument("--seconds", type=float, metavar="S", help=help_text)
    parser.add_argument("--audio-output", metavar="WAV", help="write the sound reconstructed")
    parser.add_argument("--frames", type=_numbers, metavar="N,N", help="only these frames, of the first window (with -o)")
    add_options(parser)
    parser.add_argument("--query-chunk", type=positive, help="pixels decoded at once; fewer need less memory")
    parser.add_argument("--query-memory", type=memory, metavar="MEMORY", help="decode as many at once as fit into this: 200MB")
    parser.add_argument(
        "--memory-mb", type=old_memory("--memory-mb", "--query-memory"), dest="query_memory", help=argparse.SUPPRESS
    )
    add_force(parser)


def add_options(parser: argparse.ArgumentParser) -> None:
    """--top-k."""
    parser.add_argument("--top-k", type=positive, default=5, metavar="N", help="how many labels to print (default: 5)")


def options(arguments: argparse.Namespace) -> dict[str, Any]:
    """The same, for labels."""
    return {"top_k": arguments.top_k}


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]  # argparse reports a ValueError


def run(arguments: argparse.Namespace, load: Load) -> dict[str, object]:
    """Labels, and what was asked to be written, window by window."""
    if arguments.frames and (arguments.audio_output or not arguments.output):
        raise UsageError("--frames goes with -o, and without --audio-output")
    paths = [str(path) for path in check_outputs([arguments.output, arguments.audio_output], force=arguments.force)]
    if arguments.output:
        check_clip_ending(arguments.output)
    if arguments.audio_output:
        check_ending(arguments.audio_output, SOUNDS, "a sound")
    start = time.perf_counter()
    with load() as autoencode, contextlib.ExitStack() as opened:
        loaded = time.perf_counter() - start
        windows = clip_windows(arguments, autoencode.manifest.processor, arguments.seconds)
        outputs = _Outputs(arguments, autoencode, opened)
        found = [outputs.window(autoencode, window) for window in (islice(windows, 1) if arguments.frames else windows)]
        result: dict[str, object] = {"provider": autoencode.provider}
        if outputs.pixels:
            result["psnr_db"] = float(-10 * np.log10(max(1e-12, outputs.squares / outputs.pixels)))
        result |= mean_labels([(each.labels, each.count) for each in found], arguments.top_k).to_dict()
        if len(found) > 1:
            result["windows"] = [
                {"start": each.start, **LabelScores(each.labels[: arguments.top_k]).to_dict()} for each in found
            ]
        return {**result, "written": paths, "seconds": {"load": loaded, **autoencode.timing.seconds()}}


@dataclasses.dataclass(frozen=True)
class _Found:
    start: float
    count: int  # of frames that are the clip's
    labels: LabelScores  # all, the most probable first


class _Outputs:
    """What is decoded of each window, and where it goes."""

    def __init__(self, arguments: argparse.Namespace, autoencode: MultimodalPipeline, opened: contextlib.ExitStack) -> None:
        self._arguments, self.squares, self.pixels, self._frames = arguments, 0.0, 0, 0
        self._rate = frame_rate(autoencode.processor)
        self._chunks = {"query_chunk": arguments.query_chunk, "query_memory": arguments.query_memory}
        with_sound = arguments.output and Path(arguments.output).suffix.lower() == ".mp4" and not arguments.frames
        sound_rate = autoencode.processor.sampling_rate
        self._video: Any = None
        self._sound: Any = None
        if arguments.output:
            writer = clip_writer(arguments.output, self._rate, sound_rate=sound_rate if with_sound else None)
            self._video = opened.enter_context(writer)
        if arguments.audio_output:
            self._sound = opened.enter_context(wav_writer(arguments.audio_output, sound_rate))
        self._hears = bool(with_sound or arguments.audio_output)

    def window(self, autoencode: MultimodalPipeline, window: Window) -> _Found:
        clip = autoencode.encode_window(window)
        if self._arguments.frames:
            self._write(clip.frames(self._arguments.frames, **self._chunks))
        elif self._video is not None or self._sound is not None:
            self._whole(autoencode, window, clip)
        return _Found(window.start, window.count, clip.labels(top_k=len(autoencode.label_names.names)))

    def _whole(self, autoencode: MultimodalPipeline, window: Window, clip: EncodedClip) -> None:
        if self._video is not None:
            found = clip.video(progress=progress("pixels"), **self._chunks)[: window.count]
            given = autoencode.processor.video(window.frames)[0].transpose(0, 2, 3, 1)[: window.count]
            self.squares += float(np.square(given - found).sum(dtype=np.float64))
            self.pixels += found.size
            self._write(found)
        if self._hears:
            samples = clip.audio(**self._chunks)
            samples = samples[: round(len(samples) * window.count / len(window.frames))]
            if self._sound is not None:
                self._sound(samples)
            if self._video is not None:
                self._video.write_sound(samples)

    def _write(self, video: NDArray[np.float32]) -> None:
        for frame in np.rint(np.clip(video, 0, 1) * 255).astype(np.uint8):
            self._video.write(frame, self._frames / self._rate)
            self._frames += 1


def render(result: dict[str, Any]) -> str:
    """The same for people."""
    lines = [f"{label['probability']:8.3g}  {label['label']}" for label in result["labels"]]
    for window in result.get("windows", []):
        best = window["labels"][0]
        lines.append(f"from {window['start']:.2f} s on: {best['probability']:.3g}  {best['label']}")
    if "psnr_db" in result:
        lines.append(f"video reconstructed with a PSNR of {result['psnr_db']:.1f} dB")
    lines += [f"wrote {name}" for name in result["written"]]
    if not result["written"]:
        lines.append("nothing reconstructed: add -o out.mp4, --audio-output out.wav")
    return "\n".join([*lines, seconds(result)])
