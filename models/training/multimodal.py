"""Train the small multimodal checkpoint that ships with perceiver_io: clips of moving, sounding shapes (clips.py).

    python models/training/multimodal.py --minutes 40 --out clips-small
    python models/training/multimodal.py --evaluate clips-small

The checkpoint is in this package's own layout: unlike transformers' model, its decoder's queries go on into the answer.
"""

from __future__ import annotations

import itertools
import json
import math
from typing import Any, NamedTuple

import loop
import numpy as np
import torch
from clips import FRAMES, RATE, SAMPLES, SHAPES, SIDE, make_clip
from local_start import Code, look_near, soften, write_places
from torch import Tensor
from torch.nn import functional as F

from perceiver_io import (
    DecoderConfig,
    EncoderConfig,
    MultimodalAutoencoder,
    MultimodalConfig,
    load_checkpoint,
    save_checkpoint,
)
from perceiver_io.parts.positions import fourier_frequencies
from samples import write_clip_sample

PATCH, RUN = 4, 16  # pixels of a video token's side, samples of an audio token
CONFIG = MultimodalConfig(
    encoder=EncoderConfig(
        num_latents=96,
        latent_channels=192,
        layers_per_block=6,
        self_attention_heads=6,
        cross_attention_heads=8,
        qk_channels=192,
        self_attention_widening=2,
        attention_dropout=0.0,
    ),
    decoder=DecoderConfig(heads=4, qk_channels=192, widening=2, query_residual=True),
    labels=SHAPES,
    num_frames=FRAMES,
    frame_size=(SIDE, SIDE),
    video_max_resolution=(FRAMES, SIDE, SIDE),
    audio_samples=SAMPLES,
    audio_bands=64,
    label_query_channels=64,
    output_channels=64,
)
PIXELS, RUNS = 1024, 64  # decoded of each clip in training


class Batch(NamedTuple):
    """video (B, T, 3, H, W), audio (B, S, 1), labels (B,)."""

    video: Tensor
    audio: Tensor
    labels: Tensor


def batch_of(count: int, seed: int) -> Batch:
    """Clips of a seed: even ones are for training, odd ones held out."""
    generator = np.random.default_rng(seed)
    clips = [make_clip(generator) for _ in range(count)]
    video = torch.from_numpy(np.stack([clip.video for clip in clips])).permute(0, 1, 4, 2, 3)
    audio = torch.from_numpy(np.stack([clip.audio for clip in clips]))[..., None]
    return Batch(video, audio, torch.tensor([clip.label for clip in clips]))


@torch.no_grad()
def evaluate(model: MultimodalAutoencoder, count: int) -> str:
    """PSNR of video and sound, share of right labels, on held-out clips."""
    device = next(model.parameters()).device
    square = {"video": 0.0, "audio": 0.0, "mean colour": 0.0}
    right = 0
    for start in range(0, count, 10):
        batch = Batch(*(part.to(device) for part in batch_of(10, 2 * start + 1)))
        every = torch.arange(FRAMES * SIDE * SIDE, device=device), torch.arange(SAMPLES // RUN, device=device)
        found = model(batch.video, batch.audio, pixels=every[0], patches=every[1])
        pixels = batch.video.permute(0, 1, 3, 4, 2).flatten(1, 3)
        square["video"] += float((found.rgb - pixels).square().mean(dim=(1, 2)).log10().sum())
        square["mean colour"] += float((pixels.mean(1, keepdim=True) - pixels).square().mean(dim=(1, 2)).log10().sum())
        runs = batch.audio.view(10, -1, RUN)
        square["audio"] += float(
            ((found.samples - runs).square().mean(dim=(1, 2)) / runs.square().mean(dim=(1, 2))).log10().sum()
        )
        right += int((found.logits.argmax(-1) == batch.labels).sum())
    video, audio, colour = (-10 * square[name] / count for name in ("video", "audio", "mean colour"))
    return (
        f"{count} held-out clips: video PSNR {video:.2f} dB (each clip's mean colour: {colour:.2f} dB), "
        f"sound SNR {audio:.2f} dB, class right {right / count:.3f}"
    )


# of the video's Fourier features: which bands the latents' places are written in, time, height and width
_BANDS = ((0, 5, 10, 15), (0, 2, 4, 6), (0, 2, 4, 6))
_GRID = (4, 4, 4)  # of latents


@torch.no_grad()
def start(model: MultimodalAutoencoder) -> None:
    """Begin grey, and with two thirds of the latents spread over the video, reading and answering for what is near."""
    image: Any = model.postprocessor.modalities["image"]
    image.projection.bias.fill_(0.5)
    image.projection.weight.mul_(0.3)
    bands = CONFIG.video_bands
    steps = math.pi * fourier_frequencies(bands, CONFIG.video_max_resolution)
    frequencies = [step[list(chosen)] for step, chosen in zip(steps, _BANDS)]
    sines = torch.cat([3 + axis * bands + torch.tensor(chosen) for axis, chosen in enumerate(_BANDS)])
    features = Code(sines + 3 * bands, sines)
    tokens = Code(*(channels + 3 * PATCH**2 for channels in features))
    count = len(sines)
    latents = Code(torch.arange(count), torch.arange(count, 2 * count))

    def angles(place: tuple[float, ...]) -> Tensor:
        return torch.cat([each * frequency for each, frequency in zip(place, frequencies)])

    places = itertools.product(*([-1 + (2 * cell + 1) / cells for cell in range(cells)] for cells in _GRID))
    write_places(model.encoder.latents, latents, torch.stack([angles(place) for place in places]), amplitude=1.0)
    near = itertools.product(*([-1 / (2 * cells), 1 / (2 * cells)] for cells in _GRID))
    look_near(
        model.encoder.cross_attention.attention, latents, tokens, [angles(place) for place in near], gain=torch.ones(count)
    )
    window = torch.exp(-((torch.cat(frequencies) / 4) ** 2) / 4)
    look_near(model.decoder.decoder.cross_attention.attention, features, latents, [torch.zeros(count)] * 4, gain=2.5 * window)
    soften(model.encoder)
    # most channels of a token and of a query say where it is, and would drown what was seen and heard
    values, seen = model.encoder.cross_attention.attention.value.weight, 3 * PATCH**2
    values[:, :seen] *= 6
    values[:, seen:] *= 0.15
    model.decoder.decoder.cross_attention.attention.output.weight.mul_(3)


def main() -> None:
    """Train, or evaluate a checkpoint."""
    parser = loop.arguments(__doc__, out="clips-small", minutes=40, batch=16)
    parser.add_argument("--evaluate", metavar="CHECKPOINT", help="print the figures of a checkpoint on held-out clips")
    options = parser.parse_args()
    if options.evaluate:
        print(evaluate(load_checkpoint(options.evaluate), 500))
        return
    torch.manual_seed(options.seed)
    model = MultimodalAutoencoder(CONFIG)
    start(model)
    model.to(options.device)

    def loss(generator: torch.Generator) -> Tensor:
        seed = 2 * int(torch.randint(1 << 30, (1,), generator=generator))
        batch = Batch(*(part.to(options.device) for part in batch_of(options.batch, seed)))
        pixels = torch.randint(FRAMES * SIDE * SIDE, (PIXELS,), generator=generator)
        patches = torch.randint(SAMPLES // RUN, (RUNS,), generator=generator)
        with torch.autocast(torch.device(options.device).type, torch.bfloat16):
            found = model(batch.video, batch.audio, pixels=pixels.to(options.device), patches=patches.to(options.device))
        rgb = batch.video.permute(0, 1, 3, 4, 2).flatten(1, 3)[:, pixels]
        samples = batch.audio.view(len(batch.audio), -1, RUN)[:, patches]
        # squares, not the paper's absolute values: those let a small shape be forgotten for the background
        video, audio = F.mse_loss(found.rgb.float(), rgb), F.mse_loss(found.samples.float(), samples)
        return 30 * video + audio + 0.3 * F.cross_entropy(found.logits.float(), batch.labels)

    def save() -> None:
        save_checkpoint(model, options.out, dtype=torch.float16)
        processor = json.dumps({"sampling_rate": RATE}, indent=2) + "\n"
        (options.out / "preprocessor_config.json").write_text(processor, encoding="utf-8")
        clip = make_clip(np.random.default_rng(1))  # of an odd seed: held out
        write_clip_sample(options.out, np.rint(clip.video * 255).astype(np.uint8), clip.audio, RATE)

    loop.train(model, options, loss=loss, evaluate=lambda: evaluate(model, 50), save=save, evaluate_every=250)


if __name__ == "__main__":
    main()
