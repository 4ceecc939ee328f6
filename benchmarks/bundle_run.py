"""The work of a benchmark on a bundle's graphs, and its time, in a process that never imports torch."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perceiver_runtime.bundle.reader import Bundle
from perceiver_runtime.common.arrays import gather_rows
from perceiver_runtime.processing.flow import pixel_grid, query_positions
from perceiver_runtime.processing.multimodal import output_positions
from perceiver_runtime.tasks.loading import open_pipeline
from perceiver_runtime.tasks.pipeline import RuntimeOptions

Arrays = dict[str, NDArray[Any]]
FRAMES = 1  # of a clip, decoded


class BundleRun:
    """The same work on a bundle's graphs, latents and features staying where they are computed."""

    def __init__(self, bundle: Bundle, *, device: str, opener: Any = None) -> None:
        self.pipeline: Any = open_pipeline(bundle, RuntimeOptions(device, opener=opener))
        self.task = bundle.manifest.task

    def __call__(self, inputs: Arrays) -> NDArray[np.float32]:
        """(values, channels)."""
        graphs = self.pipeline.graphs
        latents, *features = self.pipeline.encode_inputs(inputs)
        entries = self.pipeline.manifest.graphs
        given = {spec.name: value for spec, value in zip(entries["encode"].outputs, [latents, *features])}
        if "decode" in entries and all(spec.name in given for spec in entries["decode"].inputs):  # no queries
            logits = graphs["decode"].run({spec.name: given[spec.name] for spec in entries["decode"].inputs})[0]
            return np.reshape(logits, (-1, logits.shape[-1]))
        if self.task == "fill-mask":
            every_byte = np.arange(inputs["input_ids"].shape[1])[None]
            return np.concatenate(graphs["decode"].run({"latents": latents, "query_positions": every_byte})[0])
        chunk = self.pipeline.processor.query_chunk
        parts = []
        if self.task == "flow":
            size = inputs["frames"].shape[-2:]
            pixels = pixel_grid(*size)
            for start in range(0, len(pixels), chunk):
                rows = np.arange(start, min(start + chunk, len(pixels)))
                given = {"latents": latents, "query_features": gather_rows(features[0], rows)}
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
