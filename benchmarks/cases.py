"""What the benchmarks run: published models with random weights, an input, and the same work for torch and for a bundle."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import perceiver_io as pio
from perceiver_runtime.arrays import take_rows
from perceiver_runtime.bundle import Bundle
from perceiver_runtime.flow_processing import pixel_grid, query_positions
from perceiver_runtime.loading import open_pipeline
from perceiver_runtime.multimodal_processing import output_positions
from perceiver_runtime.pipeline import Placement

Arrays = dict[str, NDArray[Any]]
FRAMES = 1  # of a clip, decoded
CHECKPOINTS = {
    "flow": "deepmind/optical-flow-perceiver",
    "fill-mask": "deepmind/language-perceiver",
    "image-learned": "deepmind/vision-perceiver-learned",
    "image-fourier": "deepmind/vision-perceiver-fourier",
    "image-conv": "deepmind/vision-perceiver-conv",
    "multimodal": "deepmind/multimodal-perceiver",
}
SHIPPED = {  # small ones of the same tasks, to try a benchmark on
    "flow": "flow-small",
    "fill-mask": "fill-mask-small",
    "image-learned": "digits-learned",
    "image-fourier": "digits-fourier",
    "image-conv": "digits-conv",
    "multimodal": "clips-small",
}


def save_random(case: str, folder: Path) -> None:
    """A published model with random weights, scaled until its answers differ between inputs; as initialised they hardly do."""
    torch.manual_seed(0)
    published = pio.PUBLISHED[CHECKPOINTS[case]]
    model = pio.TASKS[published.task].build(published.config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith((".query.weight", ".key.weight")):
                parameter.mul_(3)
            elif name.endswith(".value.weight"):
                parameter.mul_(2)
            elif "latents" in name or name.startswith("decoder.output") or "output_bias" in name:
                parameter.mul_(20)
    pio.save_checkpoint(model, folder)


def make_inputs(task: str, config: Any) -> Arrays:
    """Of the model's own size, a batch of one."""
    rng = np.random.default_rng(0)
    if task == "flow":
        return {"frames": rng.uniform(-1, 1, (1, 2, 3, *config.train_size)).astype(np.float32)}
    if task == "fill-mask":
        ids = rng.integers(6, 262, (1, config.text.max_positions))
        return {"input_ids": ids, "attention_mask": np.ones_like(ids)}
    if task == "image-classification":
        return {"pixel_values": rng.standard_normal((1, 3, *config.image.size)).astype(np.float32)}
    video = rng.uniform(0, 1, (1, config.num_frames, 3, *config.frame_size)).astype(np.float32)
    return {"video": video, "audio": rng.uniform(-1, 1, (1, config.audio_samples, 1)).astype(np.float32)}


def torch_answer(task: str, model: nn.Module, given: dict[str, Tensor]) -> Tensor:
    """Everything the model says, on the device of its inputs: (values, channels). Of a clip, `FRAMES` frames."""
    if task != "multimodal":
        answer: Tensor = model(*given.values())
        return answer.flatten(0, -2)
    places = range(FRAMES * given["video"].shape[-2] * given["video"].shape[-1])
    pixels, patches = (torch.arange(len(each), device=given["video"].device) for each in (places, range(16)))
    video: Tensor = model(given["video"], given["audio"], pixels=pixels, patches=patches).rgb
    return video.flatten(0, -2)


class BundleRun:
    """The same work on a bundle's graphs, latents and features staying where they are computed."""

    def __init__(self, bundle: Bundle, *, device: str) -> None:
        self.pipeline: Any = open_pipeline(bundle, Placement(device))
        self.task = bundle.manifest.task

    def __call__(self, inputs: Arrays) -> NDArray[np.float32]:
        """(values, channels)."""
        graphs = self.pipeline.graphs
        latents, *features = self.pipeline.encode(inputs)
        if self.task == "image-classification":
            logits: NDArray[np.float32] = graphs["decode"].run({"latents": latents})[0]
            return logits
        if self.task == "fill-mask":
            positions = np.arange(inputs["input_ids"].shape[1])[None]
            return np.concatenate(graphs["decode"].run({"latents": latents, "query_positions": positions})[0])
        chunk = self.pipeline.processor.query_chunk
        parts = []
        if self.task == "flow":
            size = inputs["frames"].shape[-2:]
            pixels = pixel_grid(*size)
            for start in range(0, len(pixels), chunk):
                rows = np.arange(start, min(start + chunk, len(pixels)))
                given = {"latents": latents, "query_features": take_rows(features[0], rows)}
                given["query_positions"] = query_positions(pixels[rows], size)[None]
                parts.append(graphs["decode"].run(given)[0][0])
            return np.concatenate(parts)
        clip = self.pipeline.processor
        places = np.arange(FRAMES * clip.frame_size[0] * clip.frame_size[1])
        for start in range(0, len(places), chunk):
            positions = output_positions(places[start : start + chunk], (clip.frames, *clip.frame_size))[None]
            parts.append(graphs["decode_video"].run({"latents": latents, "query_positions": positions})[0][0])
        return np.concatenate(parts)


def measure(call: Callable[[], Any], *, runs: int, warm_up: int) -> dict[str, float]:
    """Median and p99 seconds of a call that has finished when it returns."""
    for _ in range(warm_up):
        call()
    seconds = []
    for _ in range(runs):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return {"median": float(np.median(seconds)), "p99": float(np.percentile(seconds, 99))}
