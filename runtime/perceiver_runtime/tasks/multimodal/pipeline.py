"""Multimodal autoencoding on a device: a clip in, its reconstruction and its label out.

A clip is encoded once. Pixels and runs of samples are then decoded in chunks: each is a query of its own, so chunks change
nothing but memory.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perceiver_runtime.backends.input_check import places
from perceiver_runtime.bundle.reader import Bundle
from perceiver_runtime.common.amounts import old_megabytes
from perceiver_runtime.common.arrays import Array, Tensor
from perceiver_runtime.common.errors import InputError
from perceiver_runtime.processing.chunks import equal_chunks
from perceiver_runtime.processing.multimodal import Audio, MultimodalProcessor, output_positions
from perceiver_runtime.tasks.labels import Labels, LabelScore
from perceiver_runtime.tasks.multimodal.clip import EncodedClip, checked_numbers
from perceiver_runtime.tasks.pipeline import Floats, Pipeline, Progress, RuntimeOptions, silent

Frames = NDArray[Any] | Sequence[NDArray[Any]]


@dataclass(frozen=True)
class Reconstruction:
    """video float32 (T, height, width, 3), about [0, 1]; audio float32 (samples,); labels, the most probable first."""

    video: Floats
    audio: Floats
    labels: list[LabelScore]


class MultimodalPipeline(Pipeline):
    """A clip to itself and to its label.

    >>> autoencode = perceiver_runtime.load("multimodal")
    >>> result = autoencode(video, audio)              # frames (T, H, W, 3), samples (S,) or read_wav(…)
    >>> clip = autoencode.encode(video, audio)         # encoded once
    >>> two, labels = clip.frames([3, 7]), clip.labels()     # decoding only those
    """

    graph_names = ("encode", "decode_video", "decode_audio", "decode_label")

    def __init__(self, bundle: Bundle, runtime_options: RuntimeOptions) -> None:
        self.processor = MultimodalProcessor.from_json(bundle.manifest.processor)
        self.label_names = Labels.of(bundle)
        self._last = threading.local()
        super().__init__(bundle, runtime_options)
        self.processor = replace(self.processor, query_chunk=self.query_limit(self.processor.query_chunk))

    def __call__(
        self,
        video: Frames,
        audio: Audio | None = None,
        *,
        sampling_rate: float | None = None,
        top_k: int = 5,
        query_chunk: int | None = None,
        query_memory: int | str | None = None,
        memory_mb: float | None = None,
        progress: Progress | None = None,
    ) -> Reconstruction:
        """The whole clip, reconstructed, and its `top_k` labels.

        `video` is as many frames (H, W, 3) as the model takes, uint8 or float in [0, 1]; `audio` (S,) or (S, channels) at
        `sampling_rate` Hz (default: the bundle's, `processor.sampling_rate`), or a `Sound` of `read_wav`, which has its own
        rate; no longer than the frames; None is silence. `query_chunk` queries are decoded at once, or as many as fit into
        `query_memory`, bytes or a text such as "200MB" (`memory_mb` is its old name, in megabytes). `progress(done, total)`
        counts queries. Raises `InputError`, `UsageError`, `BackendError`.
        """
        memory = old_megabytes("query_memory", query_memory, "memory_mb", memory_mb)
        chunk, report = self.processor.chunk(query_chunk, memory), progress or silent
        pixels = self.processor.frames * self.processor.frame_size[0] * self.processor.frame_size[1]
        total = pixels + self.processor.patches
        report(0, total)
        clip = self._remembered(video, audio, sampling_rate)
        rgb = clip.video(query_chunk=chunk, progress=lambda done, _: report(done, total))
        samples = clip.audio(query_chunk=chunk, progress=lambda done, _: report(pixels + done, total))
        return Reconstruction(rgb, samples, clip.labels(top_k=top_k))

    def encode(self, video: Frames, audio: Audio | None = None, *, sampling_rate: float | None = None) -> EncodedClip:
        """The clip, encoded once: `frames([3])`, `video()`, `audio()` and `labels()` of it decode what you ask for.

        Takes the clip as a call does. Raises `InputError`, `BackendError`.
        """
        return EncodedClip(self, self._latents(video, audio, sampling_rate))

    def frames(
        self,
        numbers: Iterable[int],
        video: Frames | None = None,
        audio: Audio | None = None,
        *,
        sampling_rate: float | None = None,
        query_chunk: int | None = None,
        query_memory: int | str | None = None,
        memory_mb: float | None = None,
    ) -> Floats:
        """Some frames, reconstructed: float32 (numbers, height, width, 3). Only these are decoded. Raises `InputError`.

        Without `video`, of the clip that this thread gave last, which is deprecated: keep what `encode` gives.
        """
        wanted = checked_numbers(numbers, self.processor.frames)
        memory = old_megabytes("query_memory", query_memory, "memory_mb", memory_mb)
        chunk = self.processor.chunk(query_chunk, memory)
        return self._clip(video, audio, sampling_rate).frames(wanted, query_chunk=chunk)

    def labels(
        self, video: Frames | None = None, audio: Audio | None = None, *, sampling_rate: float | None = None, top_k: int = 5
    ) -> list[LabelScore]:
        """The `top_k` labels of a clip, the most probable first.

        Without `video`, of the clip that this thread gave last, which is deprecated: keep what `encode` gives.
        """
        return self._clip(video, audio, sampling_rate).labels(top_k=top_k)

    def known_answer(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Inputs `video`, `audio`, `pixels`, `patches`; outputs `rgb`, `samples`, `logits`."""
        latents = self._latents(inputs["video"], inputs["audio"], self.processor.sampling_rate)
        chunk, clip = self.processor.query_chunk, self.processor
        pixels = places(inputs, "pixels", clip.frames * clip.frame_size[0] * clip.frame_size[1])
        return {
            "rgb": self.decode(latents, "decode_video", pixels, chunk),
            "samples": self.decode(latents, "decode_audio", places(inputs, "patches", clip.patches), chunk),
            "logits": self.logits(latents),
        }

    def _clip(self, video: Frames | None, audio: Audio | None, rate: float | None) -> EncodedClip:
        if video is not None:
            return self._remembered(video, audio, rate)
        if not hasattr(self._last, "clip"):
            raise InputError("no clip was given in this thread yet: pass video (and audio)")
        warnings.warn(
            "frames() and labels() without a clip are deprecated, for in a thread pool the last clip may be another's: "
            "keep clip = autoencode.encode(video, audio), then clip.frames([3]), clip.labels()",
            DeprecationWarning,
            stacklevel=3,
        )
        clip: EncodedClip = self._last.clip
        return clip

    def _remembered(self, video: Frames, audio: Audio | None, rate: float | None) -> EncodedClip:
        self._last.clip = self.encode(video, audio, sampling_rate=rate)
        clip: EncodedClip = self._last.clip
        return clip

    def _latents(self, video: Frames, audio: Audio | None, rate: float | None) -> Tensor:
        with self.timing.stage("preprocess"):
            inputs = {"video": self.processor.video(video), "audio": self.processor.audio(audio, rate)}
        return self.encode_inputs(inputs, (1, None, None))[0]

    def decode(
        self, latents: Tensor, graph: str, places: NDArray[np.int64], chunk: int, report: Any = lambda done: None
    ) -> Floats:
        """Outputs (O, channels) at `places` of the flattened clip, chunk by chunk."""
        clip = self.processor
        size, channels = (
            ((clip.frames, *clip.frame_size), 3) if graph == "decode_video" else ((clip.patches,), clip.samples_per_patch)
        )
        outputs = np.empty((len(places), channels), np.float32)
        for start, stop, new in equal_chunks(len(places), chunk):
            inputs = {"latents": latents, "query_positions": output_positions(places[start:stop], size)[None]}
            outputs[new:stop] = self.run(graph, inputs, shape=(1, stop - start, channels))[0, new - start :]
            report(stop)
        return outputs

    def logits(self, latents: Tensor) -> Floats:
        """Of the labels: (labels,)."""
        logits: Floats = self.run("decode_label", {"latents": latents}, shape=(1, len(self.label_names.names)))[0]
        return logits
