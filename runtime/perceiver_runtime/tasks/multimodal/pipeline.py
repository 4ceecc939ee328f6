"""Multimodal autoencoding on a device: a clip in, its reconstruction and its label out.

A clip is encoded once. Pixels and runs of samples are then decoded in chunks: each is a query of its own, so chunks change
nothing but memory.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perceiver_runtime.backends.input_check import places
from perceiver_runtime.bundle.reader import Bundle
from perceiver_runtime.common.amounts import old_megabytes
from perceiver_runtime.common.arrays import Array, Tensor
from perceiver_runtime.common.errors import InputError
from perceiver_runtime.files.clips import read_clip, sound_of
from perceiver_runtime.files.wav import Sound
from perceiver_runtime.processing.chunks import equal_chunks
from perceiver_runtime.processing.clip_windows import Window, one_window, windows_of
from perceiver_runtime.processing.multimodal import Audio, Clip, MultimodalProcessor, output_positions, sound_at
from perceiver_runtime.tasks.calls import whole_call
from perceiver_runtime.tasks.labels import Labels, LabelScores
from perceiver_runtime.tasks.multimodal.clip import EncodedClip, checked_numbers, mean_labels
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

        `video` is as many frames (H, W, 3) as the model takes, uint8 or float in [0, 1], or a list or generator of what
        `read_image` takes, or a path or `open_video` of one: of a video file, which is taken at the model's rate, no more than
        fits, and a shorter one is filled up with its last frame and silence. `audio` is (S,) or (S, channels) at
        `sampling_rate` Hz (default: the bundle's, `processor.sampling_rate`), or a `Sound` of `read_wav` or what `read_sound`
        takes, which has its own rate; no longer than the frames; None is a video file's own sound, else silence.

        `query_chunk` queries are decoded at once, or as many as fit into `query_memory`, bytes or a text such as "200MB"
        (`memory_mb` is its old name, in megabytes). `progress(done, total)` counts queries. Raises
        `InputError`, `UsageError`, `BackendError`.
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

    @whole_call
    def encode(self, video: Clip, audio: Audio | None = None, *, sampling_rate: float | None = None) -> EncodedClip:
        """The clip, encoded once: `frames([3])`, `video()`, `audio()` and `labels()` of it decode what you ask for.

        Takes the clip as a call does. Raises `InputError`, `BackendError`.
        """
        clip = read_clip(video)
        return self.encode_window(one_window(self._windows(clip, audio, sampling_rate), clip))

    def encode_window(self, window: Window) -> EncodedClip:
        """A window of a clip, encoded."""
        return EncodedClip(self, self._latents(window.frames, window.sound))

    @whole_call
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
        """Some frames, reconstructed: float32 (numbers, height, width, 3). Only these are decoded. Raises `InputError`.

        Without `video`, of the clip that this thread gave last, which is deprecated: keep what `encode` gives.
        """
        wanted = checked_numbers(numbers, self.processor.frames)
        memory = old_megabytes("query_memory", query_memory, "memory_mb", memory_mb)
        chunk = self.processor.chunk(query_chunk, memory)
        return self._clip(video, audio, sampling_rate).frames(wanted, query_chunk=chunk)

    @whole_call
    def labels(
        self, video: Clip | None = None, audio: Audio | None = None, *, sampling_rate: float | None = None, top_k: int = 5
    ) -> LabelScores:
        """The `top_k` labels of a clip, the most probable first; of one longer than the model takes the mean of its windows.

        Without `video`, of the clip that this thread gave last, which is deprecated: keep what `encode` gives.
        """
        if video is None:
            return self._clip(None, audio, sampling_rate).labels(top_k=top_k)
        found = []
        for window in self._windows(read_clip(video), audio, sampling_rate):
            self._last.clip = self.encode_window(window)
            found.append((self._last.clip.labels(top_k=len(self.label_names.names)), window.count))
        return mean_labels(found, top_k)

    def known_answer(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Inputs `video`, `audio`, `pixels`, `patches`; outputs `rgb`, `samples`, `logits`."""
        latents = self._latents(inputs["video"], Sound(inputs["audio"], self.processor.sampling_rate))
        chunk, clip = self.processor.query_chunk, self.processor
        pixels = places(inputs, "pixels", clip.frames * clip.frame_size[0] * clip.frame_size[1])
        return {
            "rgb": self.decode(latents, "decode_video", pixels, chunk),
            "samples": self.decode(latents, "decode_audio", places(inputs, "patches", clip.patches), chunk),
            "logits": self.logits(latents),
        }

    def _clip(self, video: Clip | None, audio: Audio | None, rate: float | None) -> EncodedClip:
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

    def _remembered(self, video: Clip, audio: Audio | None, rate: float | None) -> EncodedClip:
        self._last.clip = self.encode(video, audio, sampling_rate=rate)
        clip: EncodedClip = self._last.clip
        return clip

    def _windows(self, clip: Any, audio: Audio | None, rate: Any) -> Iterator[Window]:
        """Of what `read_clip` gives. Raises `InputError`, also for a `Sound` of another rate than the one given."""
        sound = sound_of(audio)
        if sound is not None and rate is not None:
            sound = Sound(*sound_at(sound, rate)) if isinstance(sound, tuple) else Sound(sound, rate)
        return windows_of(clip, self.processor, sound=sound)

    def _latents(self, frames: Any, sound: Audio | None) -> Tensor:
        with self.timing.stage("preprocess"):
            inputs = {"video": self.processor.video(frames), "audio": self.processor.audio(sound)}
        return self.encode_inputs(inputs, (1, None, None))[0]

    @whole_call
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
