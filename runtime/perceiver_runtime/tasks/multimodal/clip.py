"""A clip, encoded once, and what can be decoded of it."""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from perceiver_runtime.common.arrays import Tensor
from perceiver_runtime.common.errors import InputError
from perceiver_runtime.tasks.labels import LabelScore, LabelScores
from perceiver_runtime.tasks.pipeline import Floats, Progress, silent

if TYPE_CHECKING:
    from perceiver_runtime.tasks.multimodal.pipeline import MultimodalPipeline


class EncodedClip:
    """A clip's latents, of `autoencode.encode(video, audio)`. Everything asked for is decoded from them, and nothing else.

    `query_chunk` queries are decoded at once, or as many as fit into `query_memory`, bytes or a text such as "200MB".
    """

    def __init__(self, pipeline: MultimodalPipeline, latents: Tensor) -> None:
        self._pipeline, self._latents = pipeline, latents

    def frames(
        self, numbers: Iterable[int], *, query_chunk: int | None = None, query_memory: int | str | None = None
    ) -> Floats:
        """Some frames, reconstructed: float32 (numbers, height, width, 3), about [0, 1]. Raises `InputError`."""
        clip = self._pipeline.processor
        wanted = checked_numbers(numbers, clip.frames)
        height, width = clip.frame_size
        pixels = (np.array(wanted)[:, None] * (height * width) + np.arange(height * width)).reshape(-1)
        chunk = clip.chunk(query_chunk, query_memory)
        return self._pipeline.decode(self._latents, "decode_video", pixels, chunk).reshape(len(wanted), height, width, 3)

    def video(
        self, *, query_chunk: int | None = None, query_memory: int | str | None = None, progress: Progress | None = None
    ) -> Floats:
        """All frames, reconstructed: float32 (T, height, width, 3). `progress(done, total)` counts pixels."""
        clip, report = self._pipeline.processor, progress or silent
        pixels = np.arange(clip.frames * clip.frame_size[0] * clip.frame_size[1])
        found = self._pipeline.decode(
            self._latents,
            "decode_video",
            pixels,
            clip.chunk(query_chunk, query_memory),
            lambda done: report(done, len(pixels)),
        )
        return found.reshape(clip.frames, *clip.frame_size, 3)

    def audio(
        self, *, query_chunk: int | None = None, query_memory: int | str | None = None, progress: Progress | None = None
    ) -> Floats:
        """The sound, reconstructed: float32 (samples,) at the bundle's rate. `progress(done, total)` counts runs of samples."""
        clip, report = self._pipeline.processor, progress or silent
        found = self._pipeline.decode(
            self._latents,
            "decode_audio",
            np.arange(clip.patches),
            clip.chunk(query_chunk, query_memory),
            lambda done: report(done, clip.patches),
        )
        return found.reshape(-1)

    def labels(self, *, top_k: int = 5) -> LabelScores:
        """The `top_k` labels, the most probable first."""
        return self._pipeline.label_names.scores(self._pipeline.logits(self._latents), top_k)


def mean_labels(found: Sequence[tuple[LabelScores, int]], top_k: int) -> LabelScores:
    """The labels of all windows of a clip: their mean, each window counting as much as it has frames."""
    if len(found) == 1:
        return LabelScores(found[0][0][:top_k])
    total, sums = sum(count for _, count in found), Counter[str]()
    for labels, count in found:
        for each in labels:
            sums[each.label] += each.probability * count / total  # type: ignore[assignment]  # a Counter of floats
    return LabelScores(LabelScore(label, float(value)) for label, value in sums.most_common(top_k))


def checked_numbers(numbers: Iterable[int], total: int) -> list[int]:
    """Numbers of frames of `total`. Raises `InputError`."""
    wanted = [operator.index(number) for number in numbers]
    if not wanted or not all(0 <= number < total for number in wanted):
        raise InputError(f"frames {wanted} are asked for: give some of 0 to {total - 1}")
    return wanted
