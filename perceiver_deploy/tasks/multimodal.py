"""Exporting multimodal autoencoding."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from perceiver_deploy.tasks import samples
from perceiver_deploy.tasks.pictures import sample_clip
from perceiver_deploy.tasks.recipe import Answer, Case, Graphs, Inputs, Recipe, agreement, rows, shape_text, tensors
from perceiver_io import MultimodalAutoencoder, MultimodalConfig
from perceiver_runtime.backends.onnxruntime import OnnxGraph
from perceiver_runtime.bundle.manifest import Range
from perceiver_runtime.files.videos import read_video
from perceiver_runtime.files.wav import read_wav
from perceiver_runtime.processing.multimodal import MultimodalProcessor, output_positions
from perceiver_runtime.tasks.known_answer import Sample

SAMPLING_RATE = 48000  # Hz, unless the checkpoint's preprocessor_config.json has another
QUERY_CHUNK = 16384
PIXELS, RUNS = 256, 64  # decoded in a case


class MultimodalRecipe(Recipe):
    """A clip to itself and to its label."""

    tensorrt_batch = 1
    sample_files = "clips: NAME.gif, each with its NAME.wav"
    usage = "clip.gif --audio clip.wav -o out.gif"
    limits: ClassVar[Mapping[str, float]] = {"top1_agreeing": 0.6}
    config: MultimodalConfig

    def ranges(self) -> dict[str, Range]:
        """The sizes that the graphs are meant for, where they are not the clip's own."""
        config = self.config
        height, width = config.frame_size
        ranges = {"B": Range(1, 8), "O": Range(1, config.num_frames * height * width)}
        if self.target.profiles:  # whose profiles want every size
            ranges |= {name: Range(size, size) for name, size in self.clip_sizes().items()}
            ranges["P"] = Range(1, config.audio_samples // config.samples_per_patch)
        return ranges

    def clip_sizes(self) -> dict[str, int]:
        """The dynamic sizes of a clip, by their names in the graphs."""
        config = self.config
        height, width = config.frame_size
        sizes = {"T": config.num_frames, f"{config.video_patch}*h": height, f"{config.video_patch}*w": width}
        return sizes | {f"{config.samples_per_patch}*p": config.audio_samples}

    def planned_sizes(self) -> dict[str, int]:
        """With those of the clip."""
        patches = self.config.audio_samples // self.config.samples_per_patch
        return {"P": patches} | super().planned_sizes() | self.clip_sizes()

    def processor(self) -> dict[str, Any]:
        """The constants that perceiver_runtime.processing.multimodal.MultimodalProcessor reads."""
        config = self.config
        widest = max(config.label_query_channels, 1 + 2 * config.audio_bands, 3 * (1 + 2 * config.video_bands))
        return {
            "frames": config.num_frames,
            "frame_size": list(config.frame_size),
            "audio_samples": config.audio_samples,
            "samples_per_patch": config.samples_per_patch,
            "sampling_rate": self._sampling_rate,
            "query_chunk": self.query_limit(QUERY_CHUNK),
            "query_bytes": 4 * (6 * (widest + config.query_padding) + config.encoder.latent_channels + config.output_channels),
            "problem": "single_label",
        }

    @property
    def _sampling_rate(self) -> int:
        rate = self.preprocessor.get("sampling_rate", SAMPLING_RATE)
        if type(rate) is not int or rate < 1:
            raise self.unusable_preprocessor(f"its sampling_rate is {rate!r}")
        return rate

    def cases(self) -> Iterator[Case]:
        """The smallest clip, an odd one in a batch of two, and two of the model's size."""
        patch, run = self.config.video_patch, self.config.samples_per_patch
        small = [self._clip(2, (2 * patch, 2 * patch), 2 * run, reverse) for reverse in (False, True)]
        yield Case(f"{shape_text(small[0])}, twice", tuple(small))
        odd = [self._clip(3, (5 * patch, 7 * patch), 9 * run, reverse) for reverse in (False, True)]
        batch = {name: np.concatenate([each[name] for each in odd]) for name in odd[0]}
        yield Case(shape_text(batch), (batch,))
        whole = [
            self._clip(self.config.num_frames, self.config.frame_size, self.config.audio_samples, reverse)
            for reverse in (False, True)
        ]
        yield Case(f"{shape_text(whole[0])}, twice", tuple(whole))

    def read_samples(self, folder: Path) -> list[Inputs]:
        """Each NAME.gif that has a NAME.wav, as the runtime would process them."""
        processor = MultimodalProcessor.from_json(self.processor())
        clips = []
        for video in self.first(samples.files(folder, (".gif",)), folder):
            if (sound := video.with_suffix(".wav")).is_file():
                audio, rate = read_wav(sound)
                clips.append({"video": processor.video(read_video(video)), "audio": processor.audio(audio[:, 0], rate)})
        return clips

    def _clip(self, frames: int, size: tuple[int, int], samples: int, reverse: bool) -> Inputs:
        """A photograph sliding past, and a tone that rises or falls."""
        video = sample_clip(frames, *size, reverse=reverse).transpose(0, 3, 1, 2)[None] / np.float32(255)
        return {"video": np.ascontiguousarray(video), "audio": sample_sound(samples, falling=reverse)[None, :, None]}

    def _queries(self, batch: int) -> tuple[Inputs, tuple[Any, Any]]:
        """Positions to decode, (B, O, 3) and (B, P, 1), and the places they are of."""
        frames, (height, width) = self.config.num_frames, self.config.frame_size
        runs = self.config.audio_samples // self.config.samples_per_patch
        places = _spread(frames * height * width, PIXELS), _spread(runs, RUNS)
        video, audio = output_positions(places[0], (frames, height, width)), output_positions(places[1], (runs,))
        positions = {"video_positions": np.tile(video, (batch, 1, 1)), "audio_positions": np.tile(audio, (batch, 1, 1))}
        return positions, places

    @torch.no_grad()
    def reference(self, model: MultimodalAutoencoder, inputs: Inputs) -> Answer:
        """Latents, pixels (O, 3), runs of samples (P, samples), logits (B, labels)."""
        given = tensors(inputs)
        latents = model.encode(given["video"], given["audio"])
        positions = tensors(self._queries(len(latents))[0])
        return {
            "latents": rows(latents.numpy()),
            "rgb": rows(model.decode_video(latents, positions["video_positions"]).numpy()),
            "samples": rows(model.decode_audio(latents, positions["audio_positions"]).numpy()),
            "logits": model.decode_label(latents).numpy(),
        }

    def answer(self, graphs: Graphs, inputs: Inputs) -> Answer:
        """The same from the graphs."""
        latents = graphs["encode"].run(inputs)[0]
        positions = self._queries(len(latents))[0]
        rgb = graphs["decode_video"].run({"latents": latents, "query_positions": positions["video_positions"]})[0]
        samples = graphs["decode_audio"].run({"latents": latents, "query_positions": positions["audio_positions"]})[0]
        logits = graphs["decode_label"].run({"latents": latents})[0]
        return {"latents": rows(latents), "rgb": rows(rgb), "samples": rows(samples), "logits": logits}

    def fused_answer(self, graph: OnnxGraph, inputs: Inputs) -> Answer:
        """All outputs from the fused graph."""
        rgb, samples, logits = graph.run(inputs | self._queries(len(inputs["video"]))[0])
        return {"rgb": rows(rgb), "samples": rows(samples), "logits": logits}

    def metrics(self, reference: Answer, found: Answer) -> dict[str, float]:
        """How many clips have the same first label."""
        return {"top1_agreeing": agreement(reference["logits"], found["logits"])}

    def sample_clip(self) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """The checkpoint's own clip; else a photograph sliding past at half size, which the processor doubles, and a tone."""
        video, audio = self.sample_file("clip.gif"), self.sample_file("clip.wav")
        if video and audio:
            frames, own = read_video(video), MultimodalProcessor.from_json(self.processor())
            return frames, own.audio(read_wav(audio))[0, :, 0]
        height, width = self.config.frame_size
        frames = sample_clip(self.config.num_frames, max(2, height // 2), max(2, width // 2))
        return frames, sample_sound(self.config.audio_samples, falling=False)

    def sample(self, model: MultimodalAutoencoder) -> Sample:
        """A clip, and torch's answer at some pixels and runs."""
        video, audio = self.sample_clip()
        processor = MultimodalProcessor.from_json(self.processor())
        given = {"video": processor.video(video), "audio": processor.audio(audio)}
        answer = self.reference(model, given)
        _, (pixels, patches) = self._queries(1)
        outputs = {"rgb": answer["rgb"], "samples": answer["samples"], "logits": answer["logits"][0]}
        return Sample({"video": video, "audio": audio, "pixels": pixels, "patches": patches}, outputs)


def _spread(count: int, wanted: int) -> Any:
    return np.unique(np.linspace(0, count - 1, wanted).astype(np.int64))


def sample_sound(samples: int, *, falling: bool) -> NDArray[np.float32]:
    """A tone that rises from 300 Hz, or falls to it: (samples,)."""
    seconds = np.arange(samples) / SAMPLING_RATE
    tone = 0.5 * np.sin(2 * np.pi * (300 + 500 * seconds) * seconds)
    return (tone[::-1] if falling else tone).astype(np.float32)
