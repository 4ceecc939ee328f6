"""`perceiver run` for multimodal autoencoding: a clip to its labels, its reconstruction, or some frames of it."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perceiver_runtime.bundle.manifest import Manifest
from perceiver_runtime.common.errors import UsageError
from perceiver_runtime.files.images import require_pillow
from perceiver_runtime.files.outputs import check_ending
from perceiver_runtime.files.videos import check_clip_ending, write_video
from perceiver_runtime.files.wav import SOUNDS, write_wav
from perceiver_runtime.tasks.arguments import memory, old_memory, positive
from perceiver_runtime.tasks.kinds.clip import CLIP
from perceiver_runtime.tasks.multimodal.pipeline import MultimodalPipeline
from perceiver_runtime.tasks.outputs import add_force, check_outputs, progress
from perceiver_runtime.tasks.task import Load
from perceiver_runtime.tasks.text_commands import seconds


def add_arguments(parser: argparse.ArgumentParser, manifest: Manifest) -> None:
    """What follows the bundle."""
    CLIP.add_arguments(parser, manifest.processor)
    parser.add_argument("-o", "--output", metavar="GIF|DIR", help="write the video reconstructed: an animated GIF, or pictures")
    parser.add_argument("--audio-output", metavar="WAV", help="write the sound reconstructed")
    parser.add_argument("--frames", type=_numbers, metavar="N,N", help="reconstruct only these frames (with -o)")
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
    """Labels, and what was asked to be written."""
    if arguments.frames and (arguments.audio_output or not arguments.output):
        raise UsageError("--frames goes with -o, and without --audio-output")
    check_outputs([arguments.output, arguments.audio_output], force=arguments.force)
    if arguments.output:
        check_clip_ending(arguments.output)
        require_pillow(Path(arguments.output))
    if arguments.audio_output:
        check_ending(arguments.audio_output, SOUNDS, "a sound")
    start = time.perf_counter()
    with load() as autoencode:
        loaded = time.perf_counter() - start
        ((frames, sound),) = CLIP.from_arguments(arguments, autoencode.manifest.processor)
        result: dict[str, object] = {"provider": autoencode.provider}
        chunks = {"query_chunk": arguments.query_chunk, "query_memory": arguments.query_memory}
        if arguments.frames:
            video = autoencode.frames(arguments.frames, frames, sound, **chunks)
            write_video(arguments.output, _pixels(video), frames_per_second=_rate(autoencode))
            labels, written = autoencode.labels(top_k=arguments.top_k), [arguments.output]
        elif arguments.output or arguments.audio_output:
            found = autoencode(frames, sound, top_k=arguments.top_k, progress=progress("queries"), **chunks)
            labels, written = found.labels, _write(arguments, autoencode, found)
            result["psnr_db"] = _psnr(autoencode.processor.video(frames)[0].transpose(0, 2, 3, 1), found.video)
        else:
            labels, written = autoencode.labels(frames, sound, top_k=arguments.top_k), []
        result |= labels.to_dict()
        return {**result, "written": written, "seconds": {"load": loaded, **autoencode.timing.seconds()}}


def _write(arguments: argparse.Namespace, autoencode: MultimodalPipeline, found: Any) -> list[str]:
    written = []
    if arguments.output:
        write_video(arguments.output, _pixels(found.video), frames_per_second=_rate(autoencode))
        written.append(arguments.output)
    if arguments.audio_output:
        write_wav(arguments.audio_output, found.audio, autoencode.processor.sampling_rate)
        written.append(arguments.audio_output)
    return written


def _rate(autoencode: MultimodalPipeline) -> float:
    clip = autoencode.processor
    return clip.frames * clip.sampling_rate / clip.audio_samples


def _pixels(video: NDArray[np.float32]) -> NDArray[np.uint8]:
    return np.rint(np.clip(video, 0, 1) * 255).astype(np.uint8)


def _psnr(expected: NDArray[np.float32], found: NDArray[np.float32]) -> float:
    """Peak signal-to-noise ratio of values in [0, 1], in decibels."""
    return float(-10 * np.log10(np.square(expected - found).mean()))


def render(result: dict[str, Any]) -> str:
    """The same for people."""
    lines = [f"{label['probability']:8.3g}  {label['label']}" for label in result["labels"]]
    if "psnr_db" in result:
        lines.append(f"video reconstructed with a PSNR of {result['psnr_db']:.1f} dB")
    lines += [f"wrote {name}" for name in result["written"]]
    if not result["written"]:
        lines.append("nothing reconstructed: add -o out.gif, --audio-output out.wav")
    return "\n".join([*lines, seconds(result)])
