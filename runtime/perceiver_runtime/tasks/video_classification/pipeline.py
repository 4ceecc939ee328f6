"""Video classification on a device: frames in, labels with probabilities out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from perceiver_runtime.bundle.reader import Bundle
from perceiver_runtime.common.arrays import Array
from perceiver_runtime.common.errors import InputError
from perceiver_runtime.processing.heads.clips import ClipProcessor
from perceiver_runtime.tasks.labels import Labels
from perceiver_runtime.tasks.one_pass import OnePassPipeline
from perceiver_runtime.tasks.pipeline import Floats, RuntimeOptions


class VideoClassificationPipeline(OnePassPipeline):
    """Labels of clips.

    >>> classify = perceiver_runtime.load("actions")
    >>> classify(perceiver_runtime.read_video("clip.gif"), top_k=1)
    [LabelScore(label='waving', probability=0.9)]
    """

    def __init__(self, bundle: Bundle, runtime_options: RuntimeOptions) -> None:
        self.processor = ClipProcessor.from_json(bundle.manifest.processor)
        self.labels = Labels.of(bundle)
        super().__init__(bundle, runtime_options)

    def __call__(self, clips: Array | list[Array], *, top_k: int = 5) -> Any:
        """The `top_k` best labels (`LabelScore`) of a clip, or of each of a list, best first.

        A clip is frames (T, H, W, 3), or (T, H, W) for grey, uint8 or float in [0, 1], of any size. Of more frames than the
        model takes, evenly spaced ones from the first to the last are taken; fewer raise `InputError`.
        """
        if not isinstance(clips, list):
            return self.labels.scores(self._logits([clips])[0], top_k)
        return [self.labels.scores(row, top_k) for row in self._logits(clips)]

    def known_answer(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Inputs `video`; output `logits` (labels,)."""
        return {"logits": self._logits([inputs["video"]])[0]}

    def _logits(self, clips: Sequence[Array]) -> Floats:
        if not clips:
            raise InputError("the list of clips is empty: give at least one")
        names = ["the clip"] if len(clips) == 1 else [f"clip {number}" for number in range(len(clips))]
        return np.concatenate([self._batch(part) for part in self.batches(list(zip(clips, names)))])

    def _batch(self, clips: Sequence[tuple[Array, str]]) -> Floats:
        with self.timing.stage("preprocess"):
            pixel_values = np.stack([self.processor(clip, name) for clip, name in clips])
        return self.answer({"pixel_values": pixel_values}, logits=(len(clips), len(self.labels.names)))["logits"]
