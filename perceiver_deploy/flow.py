"""What perceiver_deploy knows of optical flow: constants of a bundle, the cases it is checked on, its known answer."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import resources
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from perceiver_io import FlowConfig, OpticalFlow
from perceiver_io.positions import grid_positions
from perceiver_runtime.known_answer import FlowSample
from perceiver_runtime.manifest import Range
from perceiver_runtime.tiling import MIN_OVERLAP

QUERY_CHUNK = 32768
SMALLEST, ODD, KNOWN_ANSWER_SIZE = (16, 16), (61, 83), (64, 96)
KNOWN_ANSWER_POINTS = 200
Frames = NDArray[np.uint8]


def largest_size(config: FlowConfig) -> tuple[int, int]:
    """The largest frame that the graphs are verified on: the training size, or the published one if that is larger."""
    return max(368, config.train_size[0]), max(496, config.train_size[1])


def ranges(config: FlowConfig) -> dict[str, Range]:
    """The sizes that the graphs are meant for."""
    height, width = largest_size(config)
    return {
        "B": Range(1, 16),
        "H": Range(SMALLEST[0], height),
        "W": Range(SMALLEST[1], width),
        "O": Range(1, height * width),
    }


def processor(config: FlowConfig) -> dict[str, Any]:
    """The constants that perceiver_runtime.flow.FlowProcessor reads."""
    return {
        "tile": list(config.train_size),
        "min_overlap": min(MIN_OVERLAP, min(config.train_size) // 3),
        "flow_scale": config.flow_scale,
        "query_chunk": QUERY_CHUNK,
    }


def sample_frames(height: int, width: int) -> tuple[Frames, Frames]:
    """The photographs that come with this package, at any size: two of uint8 (height, width, 3)."""
    folder = resources.files("perceiver_deploy") / "samples"
    frames = []
    for name in ("frame1.png", "frame2.png"):
        with (folder / name).open("rb") as file, Image.open(file) as image:
            frames.append(np.asarray(image.convert("RGB").resize((width, height), Image.Resampling.BICUBIC)))
    return frames[0], frames[1]


def cases(config: FlowConfig) -> Iterator[NDArray[np.float32]]:
    """Inputs to verify on, (B, 2, 3, H, W): the smallest size, an odd one in a batch of two, the usual, the largest."""
    pair = model_input(*sample_frames(*ODD))
    yield model_input(*sample_frames(*SMALLEST))
    yield np.concatenate([pair, pair[:, ::-1]])
    for size in dict.fromkeys([config.train_size, largest_size(config)]):
        yield model_input(*sample_frames(*size))


def model_input(frame1: Frames, frame2: Frames) -> NDArray[np.float32]:
    """uint8 frames (H, W, 3) → (1, 2, 3, H, W) in [-1, 1]. Apart from the runtime's own, which the known answer checks."""
    return np.ascontiguousarray(np.stack([frame1, frame2]).transpose(0, 3, 1, 2)[None] / np.float32(127.5) - np.float32(1))


@torch.no_grad()
def reference_flow(model: OpticalFlow, frames: NDArray[np.float32]) -> NDArray[np.float32]:
    """What torch says: frames (B, 2, 3, H, W) → flow (B, H·W, 2) in pixels."""
    flow: NDArray[np.float32] = (model(torch.from_numpy(frames.copy())).flatten(1, 2) * model.config.flow_scale).numpy()
    return flow


def query_positions(frames: NDArray[np.float32]) -> NDArray[np.float32]:
    """Every pixel's position as the decode graph takes it: (B, H·W, 2)."""
    positions = grid_positions(frames.shape[-2:]).expand(frames.shape[0], -1, -1).contiguous()
    array: NDArray[np.float32] = positions.numpy()
    return array


def known_answer(model: OpticalFlow) -> FlowSample:
    """Small frames and torch's answer at points spread over them."""
    height, width = KNOWN_ANSWER_SIZE
    frame1, frame2 = sample_frames(height, width)
    pixels = np.linspace(0, height * width - 1, KNOWN_ANSWER_POINTS).astype(np.int64)
    flow = reference_flow(model, model_input(frame1, frame2))[0, pixels]
    return FlowSample(frame1, frame2, np.stack([pixels % width, pixels // width], axis=-1), flow)
