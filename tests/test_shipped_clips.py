"""clips-small truly keeps a clip: the figures of its card, on clips never trained on, through the bundle, in each precision."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import perceiver_runtime as pr
from perceiver_io import SHIPPED

COUNT = 30


@pytest.fixture
def clips(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Held-out clips: of odd seeds."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent.parent / "models/training"))
    from clips import make_clip

    generator = np.random.default_rng(12345)
    return [make_clip(generator) for _ in range(COUNT)]


def psnr(expected: Any, found: Any) -> float:
    return float(-10 * np.log10(np.square(expected - found).mean()))


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_video_and_class(precision: Any, clips: Any, shipped: Callable[..., Path]) -> None:
    from clips import RATE, SHAPES

    with pr.load(shipped("multimodal", precision=precision), device="cpu") as autoencode:
        found = [autoencode(clip.video, clip.audio, sampling_rate=RATE, top_k=1) for clip in clips]
    quality = np.mean([psnr(clip.video, each.video) for clip, each in zip(clips, found)])
    flat = np.mean([psnr(clip.video, clip.video.mean(axis=(0, 1, 2))) for clip in clips])
    swapped = np.mean([psnr(clip.video, each.video) for clip, each in zip(clips, found[1:])])
    assert quality >= 24
    assert swapped < flat < quality - 2.5
    right = np.mean([SHAPES[clip.label] == each.labels[0].label for clip, each in zip(clips, found)])
    assert right >= 0.9


def test_it_is_small() -> None:
    assert sum(path.stat().st_size for path in SHIPPED["clips-small"].rglob("*") if path.is_file()) < 12e6
    assert sum(path.stat().st_size for folder in SHIPPED.values() for path in folder.rglob("*") if path.is_file()) < 40e6
