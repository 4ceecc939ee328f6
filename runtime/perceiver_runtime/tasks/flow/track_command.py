"""`perceiver run CLIP --track POINTS.csv`: where points are in every frame, as a table and as a picture."""

from __future__ import annotations

import argparse
import contextlib
import math
import time
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from perceiver_runtime.common.errors import UsageError
from perceiver_runtime.common.progress_bar import progress_bar
from perceiver_runtime.files.containers.reading import TimedFrame
from perceiver_runtime.files.images import check_picture_ending, write_image
from perceiver_runtime.files.outputs import check_ending
from perceiver_runtime.files.point_tables import read_points, track_writer
from perceiver_runtime.processing.drawing import TrackDrawing
from perceiver_runtime.tasks.flow.clip_command import as_pixels, frames_of
from perceiver_runtime.tasks.outputs import check_outputs
from perceiver_runtime.tasks.task import Load


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options that go with --track."""
    group = parser.add_argument_group("points through a clip")
    group.add_argument("--track", metavar="CSV", help="follow the points x,y of this table; -o TRACKS.csv then")
    group.add_argument("--picture", metavar="PNG", help="draw the tracks over the last frame (with --track)")
    help_text = "how far flow there and back may miss a point (default: 0.7 pixels and a tenth of its motion)"
    group.add_argument("--max-error", type=float, metavar="PX", help=help_text)


def run(arguments: argparse.Namespace, load: Load) -> dict[str, object]:
    """Follow the points and write what was asked for."""
    for given, option in (
        (arguments.camera is not None, "--camera"),
        (arguments.flo, "--flo"),
        (arguments.side_by_side, "--side-by-side"),
        (arguments.arrows, "--arrows"),
        (arguments.max_motion, "--max-motion"),
    ):
        if given:
            raise UsageError(f"--track follows points: leave out {option}, or --track")
    if arguments.max_error is not None and not 0 < arguments.max_error < math.inf:
        raise UsageError(f"--max-error is {arguments.max_error}: give pixels, more than 0")
    written = [str(path) for path in check_outputs([arguments.output, arguments.picture], force=arguments.force)]
    if arguments.output:
        check_ending(arguments.output, (".csv",), "a table of tracks")
    if arguments.picture:
        check_picture_ending(arguments.picture)
    points = read_points(arguments.track)
    frames, _, total = frames_of(arguments)
    start = time.perf_counter()
    with contextlib.closing(frames), load() as flow, contextlib.ExitStack() as opened:
        loaded = time.perf_counter() - start
        table = opened.enter_context(track_writer(arguments.output)) if arguments.output else None
        bar = opened.enter_context(progress_bar("frames", total))
        latest: list[TimedFrame] = []
        options = {"max_error": arguments.max_error, "scale": arguments.scale, "query_chunk": arguments.query_chunk}
        drawing, valid, first = None, np.zeros(len(points), np.bool_), np.zeros(len(points), np.bool_)
        for number, tracked in enumerate(flow.track(_noted(frames, latest), points, **options)):
            valid, pixels = tracked.valid, latest[0].pixels
            first = valid if number == 0 else first
            drawing = drawing or TrackDrawing(*pixels.shape[:2])
            if arguments.picture:
                drawing.add(tracked.positions)
            if table is not None:
                table.write(number, latest[0].seconds, tracked.positions, valid)
            bar.step()
        pixels = as_pixels(latest[0].pixels)
        if arguments.picture and drawing is not None:
            write_image(arguments.picture, drawing.over(pixels))
        result = {"provider": flow.provider, "width": pixels.shape[1], "height": pixels.shape[0], "frames": number + 1}
        result |= {"points": len(points), "inside": int(first.sum()), "followed": int(valid.sum())}
        return {**result, "written": written, "seconds": {"load": loaded, **flow.timing.seconds()}}


def _noted(frames: Iterable[TimedFrame], latest: list[TimedFrame]) -> Iterator[TimedFrame]:
    """The frames; the one that was given last is in the list."""
    for frame in frames:
        latest[:] = [frame]
        yield frame


def render(result: dict[str, Any]) -> str:
    """The same for people."""
    lines = [
        f"{result['width']}x{result['height']} on {result['provider']}",
        f"{result['followed']} of {result['points']} points followed through {result['frames']} frames"
        + (f"; {result['points'] - result['inside']} were outside the first" if result["inside"] < result["points"] else ""),
        *(f"wrote {name}" for name in result["written"]),
    ]
    if not result["written"]:
        lines.append("nothing written: add -o tracks.csv for the numbers, --picture tracks.png to see them")
    return "\n".join(lines)
