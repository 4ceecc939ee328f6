"""What the benchmarks run: published models with random weights, an input, and the same work for torch and for a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from bundle_run import FRAMES, Arrays
from torch import Tensor, nn

import perceiver_io as pio

CHECKPOINTS = {
    "flow": "deepmind/optical-flow-perceiver",
    "fill-mask": "deepmind/language-perceiver",
    "image-learned": "deepmind/vision-perceiver-learned",
    "image-fourier": "deepmind/vision-perceiver-fourier",
    "image-conv": "deepmind/vision-perceiver-conv",
    "multimodal": "deepmind/multimodal-perceiver",
}
SHIPPED = {  # small ones, to try a benchmark on; the last two are of tasks without a published checkpoint
    "flow": "flow-small",
    "fill-mask": "fill-mask-small",
    "image-learned": "digits-learned",
    "image-fourier": "digits-fourier",
    "image-conv": "digits-conv",
    "multimodal": "clips-small",
    "audio": "commands-small",
    "fields": "fields-small",
}


def save_random(case: str, folder: Path) -> None:
    """A published model in transformers' layout, with random weights, scaled until answers differ between inputs."""
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
    pio.save_checkpoint(model, folder, layout="huggingface")


def patches(frames: Tensor) -> Tensor:
    """(B, 2, 3, H, W) → (B, 2, 27, H, W), the 3×3 neighbourhoods that transformers' flow takes."""
    height, width = frames.shape[-2:]
    padded = nn.functional.pad(frames, (1, 1, 1, 1))
    shifted = [padded[..., row : row + height, column : column + width] for row in range(3) for column in range(3)]
    return torch.cat(shifted, dim=2)


def make_inputs(task: str, config: Any) -> Arrays:
    """Of the model's own size, a batch of one."""
    rng = np.random.default_rng(0)
    if task == "flow":
        return {"frames": rng.uniform(-1, 1, (1, 2, 3, *config.train_size)).astype(np.float32)}
    if task in ("fill-mask", "token-classification"):
        ids = rng.integers(6, 262, (1, config.text.max_positions))
        return {"input_ids": ids, "attention_mask": np.ones_like(ids)}
    if task == "image-classification":
        return {"pixel_values": rng.standard_normal((1, 3, *config.image.size)).astype(np.float32)}
    if task == "audio-classification":
        return {"audio": rng.uniform(-1, 1, (1, config.audio.samples)).astype(np.float32)}
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
