"""Multimodal autoencoding on a device: a clip in, its reconstruction and its label out.

A clip is encoded once. Pixels and runs of samples are then decoded in chunks: each is a query of its own, so chunks change
nothing but memory.
"""

from __future__ import annotations

import operator
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perceiver_runtime.backends.input_check import places
from perceiver_runtime.bundle.reader import Bundle
from perceiver_runtime.common.amounts import old_megabytes
from perceiver_runtime.common.arrays import Array, Tensor
from perceiver_runtime.common.errors import InputError
from perceiver_runtime.processing.multimodal import Audio, Clip, MultimodalProcessor, output_positions
from perceiver_runtime.tasks.labels import Labels, LabelScores
from perceiver_runtime.tasks.pipeline import Floats, Pipeline, Progress, RuntimeOptions, silent


@dataclass(frozen=True, repr=False)
class Reconstruction:
    """video float32 (T, height, width, 3), about [0, 1]; audio float32 (samples,); labels, the most probable first."""

    video: Floats
    audio: Floats
    labels: LabelScores

    def to_dict(self) -> dict[str, Any]:
        """`labels`, and sizes. Video and audio are for files: `write_video`, `write_wav`."""
        return {**self.labels.to_dict(), "video_shape": list(self.video.shape), "audio_samples": len(self.audio)}

    def __repr__(self) -> str:
        sizes = "x".join(map(str, self.video.shape[:3]))
        return f"Reconstruction(video {sizes}, {len(self.audio)} samples, {self.labels[0].label!r})"

    def _repr_html_(self) -> str:
        return self.labels._repr_html_()


class MultimodalPipeline(Pipeline):
    """A clip to itself and to its label.

    >>> autoencode = perceiver_runtime.load("multimodal")
    >>> result = autoencode(video, audio)              # frames (T, H, W, 3), samples (S,) or read_wav(…)
    >>> two = autoencode.frames([3, 7])                # of the same clip, decoding only those
    >>> labels = autoencode.labels(video, audio)       # of another one, decoding nothing else
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
        video: Clip,
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

        `video` is as many frames (H, W, 3) as the model takes, uint8 or float in [0, 1], or a path (`read_video`), or a list or
        generator of what `read_image` takes; `audio` (S,) or (S, channels) at `sampling_rate` Hz (default: the bundle's,
        `processor.sampling_rate`), or a `Sound` of `read_wav` or what that takes, which has its own rate; no longer than the
        frames; None is silence. `query_chunk` queries are decoded at once, or as many as fit into
        `query_memory`, bytes or a text such as "200MB" (`memory_mb` is its old name, in megabytes). `progress(done, total)`
        counts queries. Raises `InputError`, `UsageError`, `BackendError`.
        """
        clip, report = self.processor, progress or silent
        chunk = clip.chunk(query_chunk, old_megabytes("query_memory", query_memory, "memory_mb", memory_mb))
        pixels, patches = np.arange(clip.frames * clip.frame_size[0] * clip.frame_size[1]), np.arange(clip.patches)
        total = len(pixels) + len(patches)
        report(0, total)
        latents = self._encode(video, audio, sampling_rate)
        rgb = self._decode(latents, "decode_video", pixels, chunk, lambda done: report(done, total))
        samples = self._decode(latents, "decode_audio", patches, chunk, lambda done: report(len(pixels) + done, total))
        return Reconstruction(rgb.reshape(clip.frames, *clip.frame_size, 3), samples.reshape(-1), self._labels(latents, top_k))

    def frames(
        self,
        numbers: Iterable[int],
        video: Clip | None = None,
        audio: Audio | None = None,
        *,
        sampling_rate: float | None = None,
        query_chunk: int | None = None,
        query_memory: int | str | None = None,
        memory_mb: float | None = None,
    ) -> Floats:
        """Some frames, reconstructed: float32 (numbers, height, width, 3). Only these are decoded.

        Without `video`, of the clip that this thread gave last; it is not encoded again. Raises `InputError`.
        """
        wanted = [operator.index(number) for number in numbers]
        outside = [number for number in wanted if not 0 <= number < self.processor.frames]
        if outside or not wanted:
            raise InputError(f"frames {wanted} are asked for: give some of 0 to {self.processor.frames - 1}")
        chunk = self.processor.chunk(query_chunk, old_megabytes("query_memory", query_memory, "memory_mb", memory_mb))
        height, width = self.processor.frame_size
        pixels = (np.array(wanted)[:, None] * (height * width) + np.arange(height * width)).reshape(-1)
        latents = self._latents(video, audio, sampling_rate)
        return self._decode(latents, "decode_video", pixels, chunk).reshape(len(wanted), height, width, 3)

    def labels(
        self, video: Clip | None = None, audio: Audio | None = None, *, sampling_rate: float | None = None, top_k: int = 5
    ) -> LabelScores:
        """The `top_k` labels, the most probable first, of a clip or of the one that this thread gave last."""
        return self._labels(self._latents(video, audio, sampling_rate), top_k)

    def known_answer(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Inputs `video`, `audio`, `pixels`, `patches`; outputs `rgb`, `samples`, `logits`."""
        latents = self._encode(inputs["video"], inputs["audio"], self.processor.sampling_rate)
        chunk, clip = self.processor.query_chunk, self.processor
        pixels = places(inputs, "pixels", clip.frames * clip.frame_size[0] * clip.frame_size[1])
        return {
            "rgb": self._decode(latents, "decode_video", pixels, chunk),
            "samples": self._decode(latents, "decode_audio", places(inputs, "patches", clip.patches), chunk),
            "logits": self._logits(latents),
        }

    def _latents(self, video: Clip | None, audio: Audio | None, rate: float | None) -> Tensor:
        if video is not None:
            return self._encode(video, audio, rate)
        if not hasattr(self._last, "latents"):
            raise InputError("no clip was given in this thread yet: pass video (and audio)")
        latents: Tensor = self._last.latents
        return latents

    def _encode(self, video: Clip, audio: Audio | None, rate: float | None) -> Tensor:
        with self.timing.stage("preprocess"):
            inputs = {"video": self.processor.video(video), "audio": self.processor.audio(audio, rate)}
        latents = self._last.latents = self.encode(inputs, (1, None, None))[0]
        return latents

    def _decode(
        self, latents: Tensor, graph: str, places: NDArray[np.int64], chunk: int, report: Any = lambda done: None
    ) -> Floats:
        """Outputs (O, channels) at `places` of the flattened clip, chunk by chunk."""
        clip = self.processor
        size, channels = (
            ((clip.frames, *clip.frame_size), 3) if graph == "decode_video" else ((clip.patches,), clip.samples_per_patch)
        )
        outputs = np.empty((len(places), channels), np.float32)
        for start in range(0, len(places), chunk):
            positions = output_positions(places[start : start + chunk], size)[None]
            shape = (1, positions.shape[1], channels)
            outputs[start : start + chunk] = self.run(graph, {"latents": latents, "query_positions": positions}, shape=shape)[0]
            report(min(start + chunk, len(places)))
        return outputs

    def _logits(self, latents: Tensor) -> Floats:
        logits: Floats = self.run("decode_label", {"latents": latents}, shape=(1, len(self.label_names.names)))[0]
        return logits

    def _labels(self, latents: Tensor, top_k: int) -> LabelScores:
        return self.label_names.scores(self._logits(latents), top_k)
