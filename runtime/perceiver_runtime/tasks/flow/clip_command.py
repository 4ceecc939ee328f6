"""`perceiver run` for optical flow along a clip or a camera: a clip in colours, `.flo` files, tracks of points."""

from __future__ import annotations

import argparse
import contextlib
import math
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perceiver_runtime.common.errors import InputError, UsageError
from perceiver_runtime.common.progress_bar import progress_bar
from perceiver_runtime.files.clip_writers import check_clip_ending, clip_writer, folder_of
from perceiver_runtime.files.containers.camera import Preview, camera_frames
from perceiver_runtime.files.containers.reading import TimedFrame
from perceiver_runtime.files.flo import write_flo
from perceiver_runtime.files.frames import USUAL_RATE, open_video
from perceiver_runtime.processing.drawing import draw_arrows
from perceiver_runtime.processing.flow_image import flow_to_image
from perceiver_runtime.tasks.arguments import positive
from perceiver_runtime.tasks.outputs import check_outputs
from perceiver_runtime.tasks.task import Load

Pixels = NDArray[np.uint8]
_PERCENT = 99  # of a field's pixels move less than what has full colour
Source = tuple[Generator[TimedFrame, None, None], float, int | None]  # frames, their rate, and how many there are


class _Camera(argparse.Action):
    """With a camera there need be no inputs. (Nor may `inputs` be of any number: argparse would take none before an option.)"""

    def __init__(self, *, inputs: argparse.Action, **options: Any) -> None:
        super().__init__(**options)
        self._inputs = inputs

    def __call__(self, parser: Any, namespace: argparse.Namespace, values: Any, option_string: str | None = None) -> None:
        self._inputs.required = False
        setattr(namespace, self.dest, values)


def add_arguments(parser: argparse.ArgumentParser, inputs: argparse.Action) -> None:
    """Options that go with a clip or a camera, not with two frames."""
    group = parser.add_argument_group("a clip, or --camera, instead of two frames")
    help_text = "the frames of camera N, until Ctrl-C; frames that come while another is worked on are dropped"
    group.add_argument("--camera", action=_Camera, inputs=inputs, type=int, metavar="N", help=help_text)
    group.add_argument("--every", type=positive, default=1, metavar="N", help="flow between every Nth frame (default: 1)")
    group.add_argument("--start", type=float, default=0.0, metavar="S", help="begin S seconds after the first frame")
    group.add_argument("--seconds", type=float, metavar="S", help="take S seconds of the clip")
    group.add_argument("--fps", type=float, metavar="N", help="frames a second of a folder or series of pictures (default: 25)")
    group.add_argument("--side-by-side", action="store_true", help="show the frame beside its flow (with -o)")
    group.add_argument("--arrows", action="store_true", help="draw arrows on the frame, in place of or beside colours")
    help_text = "motion that has full colour (default: what 99 in 100 pixels stay below, the most so far)"
    group.add_argument("--max-motion", type=float, metavar="PX", help=help_text)


def frames_of(arguments: argparse.Namespace) -> Source:
    """What the arguments name. Raises `InputError`, `UsageError`."""
    if arguments.camera is not None:
        if arguments.start or arguments.fps:
            raise UsageError("--camera takes frames as they come: leave out --start and --fps")
        return _part(camera_frames(arguments.camera), arguments.every, arguments.seconds), USUAL_RATE, None
    video = open_video(arguments.inputs[0], rate=arguments.fps)
    part = {"start": arguments.start, "seconds": arguments.seconds, "every": arguments.every}
    return video.frames(**part), video.rate / arguments.every, video.expected(**part)


def _part(frames: Iterator[TimedFrame], every: int, seconds: float | None) -> Generator[TimedFrame, None, None]:
    """Every `every`th of a camera's frames, for so many seconds."""
    for number, frame in enumerate(frames):
        if seconds is not None and frame.seconds >= seconds:
            return
        if number % every == 0:
            yield frame


def run(arguments: argparse.Namespace, load: Load) -> dict[str, object]:
    """Fields along the clip, written as they come."""
    if (arguments.side_by_side or arguments.arrows) and not arguments.output and arguments.camera is None:
        raise UsageError("--side-by-side and --arrows say how -o looks: add -o flow.mp4")
    if arguments.max_motion is not None and not 0 < arguments.max_motion < math.inf:
        raise UsageError(f"--max-motion is {arguments.max_motion}: give pixels, more than 0")
    written = [str(path) for path in check_outputs([arguments.output, arguments.flo], force=arguments.force)]
    if arguments.output:
        check_clip_ending(arguments.output)
    if arguments.flo and Path(arguments.flo).suffix:
        raise UsageError(f"--flo {arguments.flo} is for many fields: give the name of a folder")
    frames, rate, total = frames_of(arguments)
    start = time.perf_counter()
    with load() as flow, contextlib.ExitStack() as opened:
        loaded = time.perf_counter() - start
        options = {"latest": arguments.camera is not None, "scale": arguments.scale, "query_chunk": arguments.query_chunk}
        stream = opened.enter_context(flow.stream(frames, **options))
        pictures = opened.enter_context(clip_writer(arguments.output, rate)) if arguments.output else None
        folder = Path(arguments.flo) if arguments.flo else None
        fields = opened.enter_context(folder_of(folder, write_flo, ".flo", (".flo",))) if folder else None
        look = _Look(arguments)
        preview = Preview("perceiver: q ends") if arguments.camera is not None else None
        if preview is not None:
            opened.callback(preview.close)
        bar = opened.enter_context(progress_bar("fields", None if total is None else max(0, total - 1)))
        motion = _Motion()
        with _ends_on_interrupt(arguments.camera is not None):
            for field in stream:
                motion.add(field)
                frame, _ = stream.between
                if pictures is not None or (preview is not None and preview.shown):
                    picture = look(frame.pixels, field)
                    if pictures is not None:
                        pictures.write(picture, frame.seconds - motion.started(frame.seconds))
                    if preview is not None and not preview.show(picture):
                        break
                if fields is not None:
                    fields.write(field, frame.seconds)
                bar.step(f"{stream.dropped} frames dropped" if stream.dropped else "")
        if motion.fields == 0:
            raise InputError("there is one frame, and flow is between two: take more of the clip, or a smaller --every")
        stream.close()
        result = {"provider": flow.provider, "width": motion.width, "height": motion.height}
        result |= {"frames": stream.read, "dropped": stream.dropped, "fields": motion.fields}
        result |= {"fields_per_second": bar.rate, "motion_px": {"mean": motion.mean, "max": motion.longest}}
        return {**result, "written": written, "seconds": {"load": loaded, **flow.timing.seconds()}}


@contextlib.contextmanager
def _ends_on_interrupt(camera: bool) -> Iterator[None]:
    """Ctrl-C ends a camera's clip, which is kept; it stops work on a file, of which nothing is kept."""
    try:
        yield
    except KeyboardInterrupt:
        if not camera:
            raise


class _Motion:
    """What all fields say together."""

    def __init__(self) -> None:
        self.fields, self.longest, self._sum = 0, 0.0, 0.0
        self.width = self.height = 0
        self._first: float | None = None

    def add(self, field: NDArray[np.float32]) -> None:
        length = np.hypot(field[..., 0], field[..., 1])
        self.fields, self._sum = self.fields + 1, self._sum + float(length.mean())
        self.longest = max(self.longest, float(length.max()))
        self.height, self.width = field.shape[:2]

    def started(self, seconds: float) -> float:
        """The time of the first frame, which what is written begins with."""
        self._first = seconds if self._first is None else self._first
        return self._first

    @property
    def mean(self) -> float:
        return self._sum / max(1, self.fields)


class _Look:
    """A field as a picture: colours, arrows on the frame, or both beside each other. Full colour only ever grows."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self._arrows, self._beside = arguments.arrows, arguments.side_by_side
        self._fixed: float | None = arguments.max_motion
        self._full = 1.0  # pixels: less than that is little motion, whatever there is of it

    def __call__(self, frame: NDArray[Any], field: NDArray[np.float32]) -> Pixels:
        self._full = max(self._full, float(np.percentile(np.hypot(field[..., 0], field[..., 1]), _PERCENT)))
        full = self._fixed or self._full
        shown = as_pixels(frame)
        if self._arrows:
            shown = draw_arrows(shown, field, full=full)
            if not self._beside:
                return shown
        colors = flow_to_image(field, max_motion=full)
        return np.hstack([shown, colors]) if self._beside else colors


def as_pixels(frame: NDArray[Any]) -> Pixels:
    """A frame that flow takes, uint8 (H, W, 3)."""
    pixels = frame if frame.dtype == np.uint8 else np.rint(255 * frame).astype(np.uint8)
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    return np.ascontiguousarray(np.broadcast_to(pixels, (*pixels.shape[:2], 3)))


def render(result: dict[str, Any]) -> str:
    """The same for people."""
    dropped = f", {result['dropped']} of them dropped" if result["dropped"] else ""
    motion = result["motion_px"]
    lines = [
        f"{result['width']}x{result['height']} on {result['provider']}",
        f"{result['fields']} fields of {result['frames']} frames{dropped}, {result['fields_per_second']:.2f} a second",
        f"motion: mean {motion['mean']:.2f} px, longest {motion['max']:.2f} px",
        *(f"wrote {name}" for name in result["written"]),
    ]
    if not result["written"]:
        lines.append("nothing written: add -o flow.mp4 for a clip, --flo FOLDER for the numbers")
    return "\n".join(lines)
