"""Train the small image classifiers that ship with perceiver_io: handwritten digits.

    python models/training/digits.py --variant fourier --out digits-fourier      # or learned, or conv
    python models/training/digits.py --variant fourier --evaluate digits-fourier

The data are scikit-learn's digits (UCI "Optical Recognition of Handwritten Digits", CC BY 4.0): 1,797 pictures of 8x8. Every
fifth is held out. They are enlarged as the runtime would do it, and moved, turned and scaled a little in training.
The checkpoints are in transformers' layout.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import loop
import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor
from torch.nn import functional as F

from perceiver_io import (
    DecoderConfig,
    EncoderConfig,
    ImageClassificationConfig,
    ImageClassifier,
    ImageInputConfig,
    classification_loss,
    load_checkpoint,
    save_checkpoint,
)
from perceiver_io.parts.positions import FourierPositions
from perceiver_runtime.processing.image import ImageProcessor
from samples import write_image_sample

SIDES = {"fourier": 16, "learned": 16, "conv": 32}  # pixels that a picture is enlarged to
INPUTS = {
    "fourier": ImageInputConfig("pixels", (224, 224)),  # 224: what transformers assumes; preprocessor_config.json says 16
    "learned": ImageInputConfig("conv1x1", (16, 16), positions="learned", channels=256),
    "conv": ImageInputConfig("conv", (224, 224), max_resolution=(56, 56)),
}
MEAN_AND_STD = [0.5] * 3
ENCODER = EncoderConfig(
    num_latents=32,
    latent_channels=128,
    num_blocks=2,
    layers_per_block=3,
    self_attention_heads=8,
    cross_attention_heads=1,
    attention_dropout=0.0,
)
LABELS = tuple(str(number) for number in range(10))


def pictures(side: int) -> tuple[Tensor, Tensor, Tensor]:
    """Pixels (1797, 3, side, side), normalised; labels (1797,); which are held out (1797,)."""
    digits = load_digits()
    images = np.rint(digits.images * 255 / 16).astype(np.uint8)  # 0 to 16 in the data; white on black
    processor = ImageProcessor.from_json({"size": [side, side], "crop": [0, 0], "mean": MEAN_AND_STD, "std": MEAN_AND_STD})
    pixels = torch.from_numpy(np.stack([processor(image) for image in images]))
    return pixels, torch.from_numpy(digits.target), torch.arange(len(images)) % 5 == 4


def moved(pixels: Tensor, generator: torch.Generator) -> Tensor:
    """Each picture turned by up to 12 degrees, scaled by up to 12 %, moved by up to a tenth of the side: the same shape."""
    count = len(pixels)
    angle, scale = (torch.rand(2, count, generator=generator) * 2 - 1) * torch.tensor([[math.pi / 15], [0.12]])
    shift = (torch.rand(count, 2, generator=generator) * 2 - 1) * 0.2
    cosine, sine = torch.cos(angle) * (1 + scale), torch.sin(angle) * (1 + scale)
    matrix = torch.stack([torch.stack([cosine, -sine, shift[:, 0]], -1), torch.stack([sine, cosine, shift[:, 1]], -1)], 1)
    grid = F.affine_grid(matrix, list(pixels.shape), align_corners=False)
    return F.grid_sample(pixels + 1, grid, align_corners=False) - 1  # outside is black


@torch.no_grad()
def accuracy(model: ImageClassifier, pixels: Tensor, labels: Tensor) -> float:
    """The share of pictures that get the right label."""
    device = next(model.parameters()).device
    found = torch.cat([model(part.to(device)).argmax(-1).cpu() for part in pixels.split(100)])
    return float((found == labels).double().mean())


@torch.no_grad()
def start_at_fourier(model: ImageClassifier) -> None:
    """Begin the learned positions as Fourier features: from noise, training takes several times as long."""
    positions: Any = model.preprocessor.positions
    table = positions.table
    table.copy_(FourierPositions(64, INPUTS["learned"].size)(INPUTS["learned"].size)[:, : table.shape[1]])


def main() -> None:
    """Train, or evaluate a checkpoint."""
    parser = loop.arguments(__doc__, out="digits-fourier", minutes=12, batch=64)
    parser.add_argument("--variant", default="fourier", choices=INPUTS)
    parser.add_argument("--evaluate", metavar="CHECKPOINT", help="print the accuracy of a checkpoint on the held-out fifth")
    options = parser.parse_args()
    pixels, labels, held_out = pictures(SIDES[options.variant])
    if options.evaluate:
        score = accuracy(load_checkpoint(options.evaluate), pixels[held_out], labels[held_out])
        print(f"top-1 {score:.4f} on {int(held_out.sum())} held-out digits")
        return
    torch.manual_seed(options.seed)
    config = ImageClassificationConfig(ENCODER, DecoderConfig(query_residual=True), INPUTS[options.variant], LABELS)
    model = ImageClassifier(config)
    if options.variant == "learned":
        start_at_fourier(model)
    model.to(options.device)
    training, targets = pixels[~held_out], labels[~held_out]

    def loss(generator: torch.Generator) -> Tensor:
        chosen = torch.randint(len(training), (options.batch,), generator=generator)
        batch = moved(training[chosen], generator).to(options.device)
        with torch.autocast(torch.device(options.device).type, torch.bfloat16):
            logits = model(batch)
        return classification_loss(logits.float(), targets[chosen].to(options.device), problem="single_label")

    def save() -> None:
        save_checkpoint(model, options.out, dtype=torch.float16, layout="huggingface")
        write_processor(options.out, SIDES[options.variant])
        write_image_sample(options.out, np.rint(load_digits().images[4] * 255 / 16).astype(np.uint8))  # held out

    def evaluate() -> str:
        return f"held-out top-1 {accuracy(model, pixels[held_out], labels[held_out]):.4f}"

    loop.train(model, options, loss=loss, evaluate=evaluate, save=save, evaluate_every=100)


def write_processor(folder: Path, side: int) -> None:
    """preprocessor_config.json, as transformers' PerceiverImageProcessor reads it."""
    data = {
        "image_processor_type": "PerceiverImageProcessor",
        "do_center_crop": False,
        "do_resize": True,
        "size": {"height": side, "width": side},
        "resample": 3,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": MEAN_AND_STD,
        "image_std": MEAN_AND_STD,
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
