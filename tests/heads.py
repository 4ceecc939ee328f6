"""transformers' seven heads with random weights whose outputs vary, each at the published size and at a small one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from published import PUBLISHED as PUBLISHED_FLOW
from published import TINY as TINY_FLOW
from published import model_frames, patches, real_frames
from skimage import data, transform
from transformers import PerceiverConfig, PerceiverTokenizer

Inputs = dict[str, torch.Tensor]

SENTENCES = [
    "This is an incomplete sentence where some words are missing.",
    "A robot that sees where things go needs no map of where they were.",
    "Zwölf Boxkämpfer jagen Viktor quer über den großen Sylter Deich. 東京",
]


def texts(config: PerceiverConfig) -> Inputs:
    """Three sentences of different lengths, padded."""
    encoded = PerceiverTokenizer()(SENTENCES, padding="max_length", max_length=80, return_tensors="pt")
    return {"inputs": encoded["input_ids"], "attention_mask": encoded["attention_mask"]}


def photographs(size: int, count: int = 2) -> torch.Tensor:
    """Real pictures, normalised: (count, 3, size, size)."""
    pictures = [data.astronaut(), data.chelsea(), data.coffee()][:count]
    resized = [transform.resize(picture, (size, size), anti_aliasing=True) for picture in pictures]
    return torch.from_numpy(np.stack(resized)).permute(0, 3, 1, 2).float().sub(0.45).div(0.225)


def images(config: PerceiverConfig) -> Inputs:
    return {"inputs": photographs(224 if config.image_size in (56, 224) else config.image_size)}


def clip(frames: int, size: int, samples: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A photograph sliding past, and a rising tone: video (1, T, 3, size, size) in [0, 1], audio (1, samples, 1)."""
    picture = transform.resize(data.astronaut(), (2 * size, 2 * size), anti_aliasing=True)
    video = np.stack([picture[t : t + size, 2 * t : 2 * t + size] for t in range(frames)])
    seconds = np.arange(samples) / 48000
    audio = 0.5 * np.sin(2 * np.pi * (300 + 500 * seconds) * seconds)
    return torch.from_numpy(video).permute(0, 3, 1, 2)[None].float(), torch.from_numpy(audio).float()[None, :, None]


def clips(config: PerceiverConfig) -> Inputs:
    frames, size = config.num_frames, config.output_shape[2]
    video, audio = clip(frames, size, frames * config.audio_samples_per_frame)
    return {"image": video, "audio": audio, "label": torch.zeros(1, config.num_labels)}


def frame_patches(config: PerceiverConfig) -> Inputs:
    return {"inputs": patches(model_frames(*real_frames(*config.train_size)))}


@dataclass(frozen=True)
class Head:
    """A head: the class of transformers, how large, what it is fed with."""

    name: str
    task: str
    published: dict[str, Any]
    tiny: dict[str, Any]
    inputs: Callable[[PerceiverConfig], Inputs]


def _labels(count: int) -> dict[str, Any]:
    return {"id2label": {number: f"kind {number}" for number in range(count)}}


_LANGUAGE = {"qk_channels": 256, "v_channels": 1280}
_VISION = {
    "num_latents": 512,
    "d_latents": 1024,
    "num_blocks": 8,
    "num_self_attends_per_block": 6,
    "num_self_attention_heads": 8,
    "num_cross_attention_heads": 1,
    **_labels(1000),
}
_MULTIMODAL = {
    "num_latents": 784,
    "d_latents": 512,
    "num_blocks": 1,
    "num_self_attends_per_block": 8,
    "num_self_attention_heads": 8,
    "num_cross_attention_heads": 1,
    **_labels(700),
}
_TINY = {"num_latents": 16, "d_latents": 32, "num_blocks": 1, "num_self_attends_per_block": 2, "num_self_attention_heads": 4}
_TINY_TEXT = {**_TINY, "num_cross_attention_heads": 4, "qk_channels": 16, "v_channels": 32, "d_model": 48} | {
    "max_position_embeddings": 128
}
_TINY_VISION = {**_TINY, "num_cross_attention_heads": 1, "num_blocks": 3, "image_size": 32, **_labels(5)}
_TINY_MULTIMODAL = {
    **_TINY,
    "num_cross_attention_heads": 1,
    "num_frames": 4,
    "image_size": 8,
    "output_shape": [1, 4, 32, 32],
    "audio_samples_per_frame": 64,
    "output_num_channels": 24,
    **_labels(6),
}

HEADS = [
    Head("PerceiverForMaskedLM", "fill-mask", _LANGUAGE, _TINY_TEXT, texts),
    Head("PerceiverForSequenceClassification", "text-classification", _LANGUAGE | _labels(3), _TINY_TEXT | _labels(3), texts),
    Head(
        "PerceiverForImageClassificationLearned",
        "image-classification",
        _VISION | {"image_size": 224},
        _TINY_VISION,
        images,
    ),
    Head("PerceiverForImageClassificationFourier", "image-classification", _VISION, _TINY_VISION, images),
    Head("PerceiverForImageClassificationConvProcessing", "image-classification", _VISION, _TINY_VISION, images),
    Head("PerceiverForOpticalFlow", "flow", PUBLISHED_FLOW, TINY_FLOW, frame_patches),
    Head("PerceiverForMultimodalAutoencoding", "multimodal", _MULTIMODAL, _TINY_MULTIMODAL, clips),
]


def random_head(name: str, config: dict[str, Any], *, seed: int = 0) -> Any:
    """The head in evaluation mode, scaled until its answers differ between inputs and queries.

    As initialised, attention is flat and every input has nearly the same answer, so any tolerance would pass. Biases and
    LayerNorms are made random too: as initialised they are zeros and ones, and a mix-up would not show. Not more than that:
    an error of rounding should come out of the layers as about 50 times itself.
    """
    torch.manual_seed(seed)
    model = getattr(transformers, name)(PerceiverConfig(**config)).eval()
    signal = 10 if model.config.num_latents < 100 else 2  # of the values, against the residual stream
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            if parameter.ndim == 1:
                parameter.add_(0.05 * torch.randn_like(parameter))
            elif ".query.weight" in key or ".key.weight" in key:
                parameter.mul_(2 if "self_attends" in key else 6)
            elif ".value.weight" in key or "output.dense.weight" in key:
                parameter.mul_(signal)
            elif "embeddings" in key or "latents" in key:
                parameter.mul_(20 if "input_preprocessor" in key or "latents" in key else 1)
            elif "final_layer" in key or "classifier" in key:
                parameter.mul_(20)
        for key, buffer in model.named_buffers():
            if "running_mean" in key:
                buffer.normal_(std=0.1)
            elif "running_var" in key:
                buffer.uniform_(0.5, 1.5)
    return model


def save_random_head(folder: Path, name: str, config: dict[str, Any]) -> Any:
    """Write the head with `save_pretrained` and return it."""
    model = random_head(name, config)
    model.save_pretrained(folder)
    return model


# of a small clip, as a manifest has them
CLIP_CONSTANTS: dict[str, Any] = {
    "frames": 4,
    "frame_size": [32, 48],
    "audio_samples": 640,
    "samples_per_patch": 16,
    "sampling_rate": 48000,
    "query_chunk": 100,
    "query_bytes": 1000,
}
