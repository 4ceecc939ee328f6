"""Optical flow in an OpenCV loop: of a camera, always its newest frame, or of a video file, every frame.

    pip install opencv-python './runtime[cpu]'
    python examples/opencv_flow.py flow 0 --scale tile             # camera 0 in a window; Escape ends
    python examples/opencv_flow.py flow clip.mp4 -o motion.mp4     # a file to a file, without a window

OpenCV's frames are in BGR: `pr.from_bgr` says so once, and OpenCV is given BGR back.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np

import perceiver_runtime as pr

ESCAPE = 27


def frames(capture: Any) -> Iterator[Any]:
    """What a capture gives until it ends, in RGB."""
    while True:
        there, frame = capture.read()
        if not there:
            return
        yield pr.from_bgr(frame)


def picture(frame: Any, field: Any) -> Any:
    """The frame beside its flow in colours, in BGR: uint8 (H, 2 W, 3)."""
    return np.ascontiguousarray(np.concatenate([frame, pr.flow_to_image(field)], axis=1)[..., ::-1])


def main() -> int:
    """Open, loop, close."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", help="of the task flow")
    parser.add_argument("source", help="a video file, or the number of a camera")
    parser.add_argument("-o", "--output", help="write an mp4 file in place of showing a window")
    parser.add_argument("--scale", help="compute the flow of a smaller picture: tile, or a factor such as 0.5")
    options = parser.parse_args()
    camera = options.source.isdigit()
    capture = cv2.VideoCapture(int(options.source) if camera else options.source)
    if not capture.isOpened():
        print(f"{parser.prog}: {options.source} cannot be opened", file=sys.stderr)
        return 1
    scale = options.scale if options.scale in (None, "tile") else float(options.scale)
    writer = None
    try:
        with (
            pr.load(options.bundle, task="flow") as flow,
            flow.stream(frames(capture), latest=camera, scale=scale) as stream,
        ):
            for field in stream:
                shown = picture(stream.between[0], field)
                if options.output is None:
                    cv2.imshow("flow", shown)
                    if cv2.waitKey(1) == ESCAPE:
                        break
                    continue
                if writer is None:
                    height, width = shown.shape[:2]
                    rate = capture.get(cv2.CAP_PROP_FPS) or 25.0
                    writer = cv2.VideoWriter(options.output, cv2.VideoWriter.fourcc(*"mp4v"), rate, (width, height))
                writer.write(shown)
            print(f"{stream.fields} fields of {stream.read} frames, {stream.dropped} of them passed over")
    except pr.PerceiverError as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return error.exit_code
    finally:
        capture.release()
        if writer is not None:
            writer.release()
    return 0


if __name__ == "__main__":
    sys.exit(main())
