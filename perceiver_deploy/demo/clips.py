"""A clip of a moving, sounding shape, and what is left of it after it went through a few latents."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import perceiver_runtime as pr
from perceiver_runtime.bundle.reader import open_bundle
from perceiver_runtime.files.images import write_image
from perceiver_runtime.files.wav import write_wav
from perceiver_runtime.tasks.known_answer import FILE, Sample

ENLARGED, FRAMES = 4, slice(None, None, 2)


def show(bundle: Path, folder: Path) -> list[str]:
    """Write clip.png, every second frame above its reconstruction, and sound.wav, the sound reconstructed."""
    inputs = Sample.read(open_bundle(bundle).read(FILE)).inputs
    with pr.load(bundle, task="multimodal", device="cpu") as autoencode:
        rate = autoencode.processor.sampling_rate
        found = autoencode(inputs["video"], inputs["audio"], top_k=1)
        seconds = sum(autoencode.timing.seconds().values())
        latents = autoencode.manifest.config["encoder"]
    video = np.rint(np.clip(found.video, 0, 1) * 255).astype(np.uint8)
    rows = [np.concatenate(list(clip[FRAMES]), axis=1) for clip in (inputs["video"], video)]
    write_image(folder / "clip.png", np.concatenate(rows).repeat(ENLARGED, axis=0).repeat(ENLARGED, axis=1))
    write_wav(folder / "sound.wav", found.audio, rate)
    psnr = -10 * np.log10(np.square(found.video - inputs["video"] / 255).mean())
    label = found.labels[0]
    values = inputs["video"].size + inputs["audio"].size
    return [
        f"{values:,} values through {latents['num_latents']}x{latents['latent_channels']} latents in {seconds:.1f} s: "
        f"video PSNR {psnr:.1f} dB",
        f"it shows a {label.label} ({label.probability:.2f})",
        f"{folder / 'clip.png'}: frames above, reconstruction below; {folder / 'sound.wav'}: the sound reconstructed",
    ]
