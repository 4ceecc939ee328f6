"""`perceiver run` for optical flow between two images: a picture, a `.flo` file, or the motion at points."""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np

from perceiver_runtime.common.errors import InputError, UsageError
from perceiver_runtime.files.flo import write_flo
from perceiver_runtime.files.images import check_picture_ending, read_images, write_image
from perceiver_runtime.files.outputs import check_ending
from perceiver_runtime.processing.flow_image import flow_to_image, warp
from perceiver_runtime.tasks.flow.pipeline import FlowPipeline
from perceiver_runtime.tasks.outputs import check_outputs, progress
from perceiver_runtime.tasks.task import Load


def run(arguments: argparse.Namespace, load: Load) -> dict[str, object]:
    """Read the frames, run the bundle, write what was asked for."""
    if arguments.at and (arguments.output or arguments.flo):
        raise UsageError("--at prints the motion of some pixels: leave out -o and --flo, or --at")
    check_outputs([arguments.output, arguments.flo], force=arguments.force)
    if arguments.output:
        check_picture_ending(arguments.output)
    if arguments.flo:
        check_ending(arguments.flo, (".flo",), "a flow field")
    points = _points(arguments.at) if arguments.at else None
    frame1, frame2 = read_images(arguments.inputs)
    start = time.perf_counter()
    with load() as flow:
        loaded = time.perf_counter() - start
        result: dict[str, object] = {"provider": flow.provider, "width": frame1.shape[1], "height": frame1.shape[0]}
        if points is not None:
            result |= _at(flow, frame1, frame2, points, arguments)
        else:
            result |= _dense(flow, frame1, frame2, arguments)
        result["seconds"] = {"load": loaded, **flow.timing.seconds()}
        return result


def _at(flow: FlowPipeline, frame1: Any, frame2: Any, points: Any, arguments: argparse.Namespace) -> dict[str, object]:
    """The motion of the points that are in the frame, and an error for each of the others."""
    pair = flow.encode(frame1, frame2, scale=arguments.scale)
    motion, inside = pair.at(points, mask=True, query_chunk=arguments.query_chunk)
    height, width = frame1.shape[:2]
    limits = f"the frame of {width}x{height}: give x in [0, {width - 1}] and y in [0, {height - 1}]"
    outside = [text for text, good in zip(arguments.at, inside) if not good]
    errors = [{"input": text, "error": f"point ({text}) is outside {limits}"} for text in outside]
    if len(errors) == len(points):
        raise InputError(errors[0]["error"])
    found = [
        {"x": float(x), "y": float(y), "dx": float(dx), "dy": float(dy)}
        for (x, y), (dx, dy) in zip(points[inside], motion[inside])
    ]
    return {"points": found} | ({"errors": errors} if errors else {})


def _dense(flow: FlowPipeline, frame1: Any, frame2: Any, arguments: argparse.Namespace) -> dict[str, object]:
    field = flow(frame1, frame2, scale=arguments.scale, query_chunk=arguments.query_chunk, progress=progress("tiles"))
    written = []
    if arguments.output:
        write_image(arguments.output, flow_to_image(field))
        written.append(arguments.output)
    if arguments.flo:
        write_flo(arguments.flo, field)
        written.append(arguments.flo)
    length = np.hypot(field[..., 0], field[..., 1])
    grey_levels = 1 if frame1.dtype == np.uint8 else 255
    before = grey_levels * np.abs(frame1.astype(np.float32) - frame2).mean()
    after = grey_levels * np.abs(frame1.astype(np.float32) - warp(frame2, field)).mean()
    return {
        "motion_px": {"mean": float(length.mean()), "max": float(length.max())},
        "frame_difference": {"before": float(before), "after_warping": float(after)},
        "written": written,
    }


def _points(texts: list[str]) -> Any:
    try:
        points = np.array([[float(part) for part in text.split(",")] for text in texts])
        if points.shape == (len(texts), 2):
            return points
    except ValueError:
        pass
    raise UsageError(f"--at wants points as X,Y such as 120,80, found {' '.join(texts)}")


def render(result: dict[str, Any]) -> str:
    """The same for people."""
    lines = [f"{result['width']}x{result['height']} on {result['provider']}"]
    for point in result.get("points", []):
        lines.append(f"({point['x']:g}, {point['y']:g}) moves by ({point['dx']:.3f}, {point['dy']:.3f}) px")
    if "motion_px" in result:
        motion, difference = result["motion_px"], result["frame_difference"]
        lines.append(f"motion: mean {motion['mean']:.2f} px, longest {motion['max']:.2f} px")
        lines.append(
            f"mean difference of the frames: {difference['before']:.2f} grey levels as they are, "
            f"{difference['after_warping']:.2f} with the second moved back along the flow"
        )
        lines += [f"wrote {name}" for name in result["written"]]
        if not result["written"]:
            lines.append("nothing written: add -o flow.png for a picture, --flo flow.flo for the numbers")
    return "\n".join(lines)
