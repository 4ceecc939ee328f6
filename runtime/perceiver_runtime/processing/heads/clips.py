"""Frames of any number and size to a model's clip: of arrays, or of a file gone through frame by frame."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perceiver_runtime.common.errors import InputError
from perceiver_runtime.common.records import PROCESSOR, check_fields
from perceiver_runtime.files.clips import read_clip
from perceiver_runtime.files.frames import Video
from perceiver_runtime.processing.image import ImageProcessor

Floats = NDArray[np.float32]
MAX_FRAMES = 1024


@dataclass(frozen=True)
class ClipProcessor:
    """The constants of a video bundle's manifest: `frames` of a clip, each through the image processor."""

    frames: int
    image: ImageProcessor

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> ClipProcessor:
        """Raises `IntegrityError` where the manifest's values make no sense."""
        frames = data.get("frames")
        check_fields(PROCESSOR, frames=type(frames) is int and 1 <= frames <= MAX_FRAMES)
        assert isinstance(frames, int)
        return cls(frames, ImageProcessor.from_json({name: value for name, value in data.items() if name != "frames"}))

    def to_json(self) -> dict[str, Any]:
        """What `from_json` reads."""
        return {"frames": self.frames, **self.image.to_json()}

    def __call__(self, clip: Any, name: str = "the clip") -> Floats:
        """Frames (T, H, W, 3), or (T, H, W) for grey, uint8 or float in [0, 1] → float32 (frames, channels, height, width).

        Taken is what `read_clip` takes; of a file only the chosen frames are kept. Of more frames than the model takes, evenly
        spaced ones from the first to the last are chosen, as transformers' video classification does. Fewer raise `InputError`.
        """
        found = read_clip(clip)
        if isinstance(found, Video):
            chosen = self._of_video(found, name)
        elif isinstance(found, np.ndarray) and (found.ndim not in (3, 4) or (found.ndim == 3 and found.shape[2] in (1, 3, 4))):
            raise InputError(f"{name} is {found.shape}, expected frames (T, H, W, 3), or (T, H, W) for grey")
        else:
            chosen = [(place, found[place]) for place in self._places(len(found), name)]
        return np.stack([self.image(frame, f"frame {place} of {name}") for place, frame in chosen])

    def _places(self, total: int, name: str) -> list[int]:
        """Which of `total` frames. Raises `InputError`."""
        if total < self.frames:
            raise InputError(f"{name} has {total} frames, the model takes {self.frames}: give as many or more")
        return [int(place) for place in np.linspace(0, total - 1, self.frames).astype(np.int64)]

    def _of_video(self, video: Video, name: str) -> list[tuple[int, NDArray[Any]]]:
        """The same of a file, read twice where its header does not say how many frames it has, or wrongly."""
        expected = video.count or 0
        for _ in range(2):
            places = self._places(expected, name) if expected >= self.frames else []
            kept, seen = {}, 0
            for frame in video:
                if seen in places:
                    kept[seen] = frame
                seen += 1
            if seen == expected:
                return [(place, kept[place]) for place in places or self._places(seen, name)]
            expected = seen
        raise InputError(f"{video.path} has another number of frames each time it is read: copy it first")
