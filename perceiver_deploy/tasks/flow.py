"""Exporting optical flow."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from perceiver_deploy.tasks import samples
from perceiver_deploy.tasks.pictures import Frames, sample_frames
from perceiver_deploy.tasks.recipe import Answer, Case, Graphs, Inputs, Recipe, contiguous, rows, shape_text
from perceiver_io import OpticalFlow
from perceiver_io.parts.positions import grid_positions
from perceiver_runtime.backends.onnxruntime import OnnxGraph
from perceiver_runtime.bundle.manifest import Range
from perceiver_runtime.files.images import read_image
from perceiver_runtime.files.picture_series import PICTURES
from perceiver_runtime.processing.image import checked_image, with_channels
from perceiver_runtime.processing.resize import resize
from perceiver_runtime.processing.tiling import MIN_OVERLAP
from perceiver_runtime.tasks.known_answer import Sample

QUERY_CHUNK = 8192  # small enough to stay in the processor's caches, large enough for products at its peak
SMALLEST, ODD = (16, 16), (61, 83)
KNOWN_ANSWER_POINTS = 200
PAIRS = 4  # of the user's own pictures: each has as many rows as pixels


def model_input(frame1: Frames, frame2: Frames) -> NDArray[np.float32]:
    """uint8 frames (H, W, 3) → (1, 2, 3, H, W) in [-1, 1]. Apart from the runtime's own, which the known answer checks."""
    return np.ascontiguousarray(np.stack([frame1, frame2]).transpose(0, 3, 1, 2)[None] / np.float32(127.5) - np.float32(1))


class FlowRecipe(Recipe):
    """Two frames to the motion of every pixel."""

    unit = " px"
    tensorrt_batch = 1
    limits: ClassVar[Mapping[str, float]] = {"end_point_error_px": 0.05}
    sample_files = "two or more pictures of a scene"
    usage = "frame1.png frame2.png -o flow.png"

    @property
    def _largest(self) -> tuple[int, int]:
        """The largest frame that the graphs are verified on: the training size, or the published one if that is larger."""
        return max(368, self.config.train_size[0]), max(496, self.config.train_size[1])

    def ranges(self) -> dict[str, Range]:
        """The sizes that the graphs are meant for."""
        height, width = self._largest
        return {
            "B": Range(1, 16),
            "H": Range(SMALLEST[0], height),
            "W": Range(SMALLEST[1], width),
            "O": Range(1, height * width),
        }

    def planned_sizes(self) -> dict[str, int]:
        """Of the training size, which the runtime's tiles have."""
        if self.target.profiles:
            return super().planned_sizes()
        height, width = self.config.train_size
        return {"B": 1, "H": height, "W": width, "O": height * width}

    def processor(self) -> dict[str, Any]:
        """The constants that perceiver_runtime.processing.flow.FlowProcessor reads."""
        return {
            "tile": list(self.config.train_size),
            "min_overlap": min(MIN_OVERLAP, min(self.config.train_size) // 3),
            "flow_scale": self.config.flow_scale,
            "query_chunk": self.query_limit(QUERY_CHUNK),
        }

    def cases(self) -> Iterator[Case]:
        """Frames of the smallest size, an odd one in a batch of two, the usual, the largest."""
        pair = model_input(*sample_frames(*ODD))
        frames = [model_input(*sample_frames(*SMALLEST)), np.concatenate([pair, pair[:, ::-1]])]
        frames += [model_input(*sample_frames(*size)) for size in dict.fromkeys([self.config.train_size, self._largest])]
        for each in frames:
            yield Case(shape_text({"frames": each}), ({"frames": each},))

    def read_samples(self, folder: Path) -> list[Inputs]:
        """Each picture and the next, by name, at the training size."""
        size = self.config.train_size
        pictures = self.first(samples.files(folder, tuple(each for each in PICTURES if each != ".npy")), folder, PAIRS + 1)
        frames = [resize(with_channels(checked_image(read_image(file), str(file)), 3), size) for file in pictures]
        return [{"frames": model_input(*pair)} for pair in itertools.pairwise(frames)]

    @torch.no_grad()
    def reference(self, model: OpticalFlow, inputs: Inputs) -> Answer:
        """flow (B·H·W, 2) in pixels."""
        frames = torch.from_numpy(inputs["frames"].copy())
        return {"flow": rows((model(frames).flatten(1, 2) * self.config.flow_scale).numpy())}

    def answer(self, graphs: Graphs, inputs: Inputs) -> Answer:
        """The same from the graphs, decoded in chunks."""
        latents, query_features = graphs["encode"].run({"frames": contiguous(inputs["frames"])})
        positions = grid_positions(inputs["frames"].shape[-2:]).expand(len(latents), -1, -1).numpy()
        flows = [
            graphs["decode"].run(
                {
                    "latents": latents,
                    "query_features": contiguous(query_features[:, start : start + QUERY_CHUNK]),
                    "query_positions": contiguous(positions[:, start : start + QUERY_CHUNK]),
                }
            )[0]
            for start in range(0, positions.shape[1], QUERY_CHUNK)
        ]
        return {"flow": rows(np.concatenate(flows, axis=1)) * np.float32(self.config.flow_scale)}

    def fused_answer(self, graph: OnnxGraph, inputs: Inputs) -> Answer:
        """The same from the fused graph."""
        flow = graph.run({"frames": contiguous(inputs["frames"])})[0]
        return {"flow": rows(flow) * np.float32(self.config.flow_scale)}

    def metrics(self, reference: Answer, found: Answer) -> dict[str, float]:
        """The mean end-point error in pixels."""
        return {"end_point_error_px": float(np.linalg.norm(reference["flow"] - found["flow"], axis=-1).mean())}

    @property
    def sample_size(self) -> tuple[int, int]:
        """The training size, or where every pixel is a token 64x96: what is quick to run."""
        height, width = self.config.train_size
        return (height, width) if self.config.stem.kind == "conv" else (min(height, 64), min(width, 96))

    def sample(self, model: OpticalFlow) -> Sample:
        """Two frames and torch's answer at points spread over them."""
        height, width = self.sample_size
        frame1, frame2 = sample_frames(height, width)
        pixels = np.linspace(0, height * width - 1, KNOWN_ANSWER_POINTS).astype(np.int64)
        flow = self.reference(model, {"frames": model_input(frame1, frame2)})["flow"][pixels]
        points = np.stack([pixels % width, pixels // width], axis=-1)
        return Sample({"frame1": frame1, "frame2": frame2, "points": points}, {"flow": flow})
