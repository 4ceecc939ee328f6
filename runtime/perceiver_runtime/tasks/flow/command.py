"""`perceiver run` for optical flow: between two images, along a clip or a camera, or of points through a clip."""

from __future__ import annotations

import argparse
from typing import Any

from perceiver_runtime.bundle.manifest import Manifest
from perceiver_runtime.common.errors import UsageError
from perceiver_runtime.tasks.arguments import positive
from perceiver_runtime.tasks.flow import clip_command, stills_command, track_command
from perceiver_runtime.tasks.outputs import add_force
from perceiver_runtime.tasks.task import Load

_CLIP_OPTIONS = [
    "every",
    "start",
    "seconds",
    "fps",
    "side_by_side",
    "arrows",
    "max_motion",
    "track",
    "picture",
    "max_error",
]  # that say nothing of two frames


def add_arguments(parser: argparse.ArgumentParser, manifest: Manifest) -> None:
    """What follows the bundle."""
    help_text = "two images of one size; or one clip: a video file, a GIF, a folder, frame_%%04d.png; .npy arrays"
    inputs = parser.add_argument("inputs", nargs="+", metavar="FRAME", help=help_text)
    help_text = "write the flow in colours (Middlebury's): a PNG; of a clip .mp4, .gif, or a folder"
    parser.add_argument("-o", "--output", metavar="FILE", help=help_text)
    parser.add_argument("--flo", metavar="FILE", help="write the flow as a .flo file; of a clip a folder of them")
    parser.add_argument("--at", metavar="X,Y", nargs="+", help="print the motion of these pixels, decoding only them")
    help_text = "make frames smaller by this share, or 'tile' to fit one tile: faster; motion is still in full-size pixels"
    parser.add_argument("--scale", type=_scale, metavar="SHARE", help=help_text)
    parser.add_argument("--query-chunk", type=positive, help="pixels decoded at once; fewer need less memory")
    add_force(parser)
    clip_command.add_arguments(parser, inputs)
    track_command.add_arguments(parser)


def run(arguments: argparse.Namespace, load: Load) -> dict[str, object]:
    """Read the frames, run the bundle, write what was asked for."""
    result: dict[str, object] = _mode(arguments).run(arguments, load)
    return result


def _mode(arguments: argparse.Namespace) -> Any:
    """The module that does what is asked for. Raises `UsageError` for options of another."""
    count = len(arguments.inputs or ())
    if "" in (arguments.inputs or ()):
        raise UsageError("the name of a frame is empty: give a name, or leave the option out")
    if count not in ((1, 2) if arguments.camera is None else (0,)):
        raise UsageError("give two frames, or one clip, or --camera")
    if count == 2:
        for option in _CLIP_OPTIONS:
            if getattr(arguments, option) not in (None, False, 0, 1):
                raise UsageError(f"--{option.replace('_', '-')} goes with a clip, not with two frames: give one clip")
        return stills_command
    if arguments.at:
        raise UsageError("--at is of two frames: give two, or --track points.csv for a clip")
    if not arguments.track and (arguments.picture or arguments.max_error):
        raise UsageError("--picture and --max-error go with --track: add --track points.csv")
    return track_command if arguments.track else clip_command


def _scale(text: str) -> Any:
    return text if text == "tile" else float(text)  # argparse reports a ValueError


def render(result: dict[str, Any]) -> str:
    """The same for people."""
    mode: Any = track_command if "followed" in result else clip_command if "fields" in result else stills_command
    stages = ", ".join(f"{stage} {value:.3f}" for stage, value in result["seconds"].items())
    return f"{mode.render(result)}\nseconds: {stages}"
