"""transformers' optical flow with random weights that make a field worth comparing, and what it is fed with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from skimage import data
from torch.nn import functional as F
from transformers import PerceiverConfig, PerceiverForOpticalFlow

from perceiver_io import FlowConfig, OpticalFlow

PUBLISHED: dict[str, Any] = {
    "num_latents": 2048,
    "d_latents": 512,
    "num_blocks": 1,
    "num_self_attends_per_block": 24,
    "num_self_attention_heads": 16,
    "num_cross_attention_heads": 1,
}
TINY: dict[str, Any] = {
    "num_latents": 32,
    "d_latents": 48,
    "num_blocks": 2,
    "num_self_attends_per_block": 2,
    "num_self_attention_heads": 4,
    "num_cross_attention_heads": 1,
    "train_size": [40, 56],
}
PIXELS_PER_UNIT = 20


def save_random_checkpoint(folder: Path, *, seed: int = 0, **config: Any) -> PerceiverForOpticalFlow:
    """Build the model, scale it until its field varies, save it with `save_pretrained`, return it in evaluation mode.

    As initialised, attention is flat and the output nearly constant (spread 2e-4 px), so any tolerance would pass. Biases
    and LayerNorms are made random too: as initialised they are zeros and ones, and a mix-up would not show.
    """
    torch.manual_seed(seed)
    model = PerceiverForOpticalFlow(PerceiverConfig(**config)).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 1:
                parameter.add_(0.05 * torch.randn_like(parameter))
            if ".query.weight" in name or ".key.weight" in name:
                parameter.mul_(6)
            if "final_layer" in name:
                parameter.mul_(20)
    model.save_pretrained(folder)
    return model


def random_flow(config: FlowConfig) -> OpticalFlow:
    """Our model with random weights and a field that varies, in evaluation mode."""
    model = OpticalFlow(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 1:
                parameter.add_(0.05 * torch.randn_like(parameter))
            if name == "encoder.latents":
                parameter.mul_(50)
            if ".query.weight" in name or ".key.weight" in name:
                parameter.mul_(6)
            if name.startswith("decoder.output"):
                parameter.mul_(100)
    return model


def real_frames(height: int, width: int, *, top: int = 60, left: int = 100) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Two different photographs of one scene, cut to size: scikit-image's stereo motorcycle."""
    first, second, _ = data.stereo_motorcycle()
    if height > first.shape[0] - top or width > first.shape[1] - left:
        first, second = (np.tile(view, (2, 2, 1)) for view in (first, second))
    window = np.s_[top : top + height, left : left + width]
    return np.ascontiguousarray(first[window]), np.ascontiguousarray(second[window])


def model_frames(*frames: NDArray[np.uint8]) -> torch.Tensor:
    """uint8 (H, W, 3) each → (1, 2, 3, H, W) in [-1, 1]."""
    stacked = np.stack(frames).astype(np.float32) / 255 * 2 - 1
    return torch.from_numpy(stacked).permute(0, 3, 1, 2)[None]


def patches(frames: torch.Tensor) -> torch.Tensor:
    """(B, 2, 3, H, W) → (B, 2, 27, H, W), written from the model card's description alone, not from our code."""
    height, width = frames.shape[-2:]
    padded = F.pad(frames, (1, 1, 1, 1))
    shifted = [padded[..., row : row + height, column : column + width] for row in range(3) for column in range(3)]
    return torch.cat(shifted, dim=2)


@torch.no_grad()
def transformers_flow(model: PerceiverForOpticalFlow, frames: torch.Tensor) -> NDArray[np.float32]:
    """transformers' answer in its own units: (B, H, W, 2)."""
    flow: NDArray[np.float32] = model(inputs=patches(frames)).logits.numpy()
    return flow


def spread(flow: NDArray[Any]) -> float:
    """How much a field (H, W, 2) varies over space: the smaller of its two channels' standard deviations."""
    return float(flow.reshape(-1, 2).std(axis=0).min())
