"""Video classification on a device: frames in, labels with probabilities out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from perceiver_runtime.bundle.reader import Bundle
from perceiver_runtime.common.arrays import Array
from perceiver_runtime.common.errors import InputError
from perceiver_runtime.processing.heads.clips import ClipProcessor
from perceiver_runtime.tasks.kinds.video import VIDEO
from perceiver_runtime.tasks.labels import Labels
from perceiver_runtime.tasks.one_pass import OnePassPipeline
from perceiver_runtime.tasks.pipeline import Floats, RuntimeOptions


class VideoClassificationPipeline(OnePassPipeline):
    """Labels of clips.

    >>> classify = perceiver_runtime.load("actions")
    >>> classify("clip.mp4", top_k=1)               # or frames (T, H, W, 3)
    [LabelScore(label='waving', probability=0.9)]
    """

    def __init__(self, bundle: Bundle, runtime_options: RuntimeOptions) -> None:
        self.processor = ClipProcessor.from_json(bundle.manifest.processor)
        self.labels = Labels.of(bundle)
        super().__init__(bundle, runtime_options)

    def __call__(self, clips: Any, *, top_k: int = 5) -> Any:
        """The `top_k` best labels of a clip, best first; those of each for a list, a generator, or an array (N, T, H, W, 3).

        A clip is a path (a video file, a folder of pictures, an animated GIF, a `.npy` array), a `Video` of `open_video`, or
        frames (T, H, W, 3), or (T, H, W) for grey, uint8 or float in [0, 1], of any size; in a list of clips also a list of
        pictures. Of more frames than the model takes, evenly spaced ones from the first to the last are taken; of a file no
        others are kept in memory. Fewer raise `InputError`.
        """
        items, many = VIDEO.items(clips)
        labels = [self.labels.scores(row, top_k) for row in self._logits(items)]
        return labels if many else labels[0]

    def known_answer(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Inputs `video`; output `logits` (labels,)."""
        return {"logits": self._logits([inputs["video"]])[0]}

    def _logits(self, clips: Sequence[Any]) -> Floats:
        if not clips:
            raise InputError("the list of clips is empty: give at least one")
        names = ["the clip"] if len(clips) == 1 else [f"clip {number}" for number in range(len(clips))]
        return np.concatenate([self._batch(part) for part in self.batches(list(zip(clips, names)))])

    def _batch(self, clips: Sequence[tuple[Any, str]]) -> Floats:
        with self.timing.stage("preprocess"):
            pixel_values = np.stack([self.processor(clip, name) for clip, name in clips])
        return self.answer({"pixel_values": pixel_values}, logits=(len(clips), len(self.labels.names)))["logits"]
