"""flow-small truly sees motion: the figures of its model card, recomputed, on photographs never trained on."""

from pathlib import Path

import numpy as np
import pytest

import perceiver_runtime as pr
from perceiver_deploy.demo.flow import stereo_pair
from perceiver_io import SHIPPED, load_checkpoint

TRAINING = Path(__file__).parent.parent / "models/training/flow"


@pytest.fixture(autouse=True)
def training_on_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(TRAINING))


def test_synthetic_pairs_of_unseen_photographs() -> None:
    from evaluate import held_out_pairs, zero_flow_ratio

    model = load_checkpoint("flow-small")
    pairs = held_out_pairs(count=32, size=model.config.train_size, max_motion=8.0)
    assert zero_flow_ratio(model, pairs) < 0.30
    assert zero_flow_ratio(model, pairs._replace(frames=pairs.frames.flip(1))) > 1.0  # backwards


def test_held_out_photographs_are_held_out() -> None:
    from data import HELD_OUT, TRAINING

    assert not set(HELD_OUT) & set(TRAINING)
    assert not any("motorcycle" in name for name in TRAINING)


def test_the_real_stereo_pair(small_bundle: Path) -> None:
    """Measured motion, real cameras, through the bundle: as `make demo` prints it."""
    pair = stereo_pair()
    with pr.load(small_bundle, device="cpu") as flow:
        field = flow(pair.frame1, pair.frame2)
    truth, known = pair.flow, pair.known
    zero = np.linalg.norm(truth, axis=-1)[known].mean()
    assert np.linalg.norm(field - truth, axis=-1)[known].mean() < 0.5 * zero
    assert np.linalg.norm(-field - truth, axis=-1)[known].mean() > zero
    before = np.abs(pair.frame1 - pair.frame2.astype(np.float32))[known].mean()
    after = np.abs(pair.frame1 - pr.warp(pair.frame2, field))[known].mean()
    assert after < 0.8 * before


def test_it_is_small() -> None:
    assert sum(path.stat().st_size for path in SHIPPED["flow-small"].iterdir()) < 4e6


def test_pairs_move_as_their_flow_says() -> None:
    """The training data itself: the second frame moved back along the true flow is the first, where nothing hides it."""
    from evaluate import held_out_pairs

    frames, flow = held_out_pairs(count=16, size=(96, 128), max_motion=8.0)
    forward, backward = [], []
    for pair, motion in zip(frames.permute(0, 1, 3, 4, 2).numpy(), flow.numpy()):
        forward.append(np.median(np.abs(pair[0] - pr.warp(pair[1], motion))))
        backward.append(np.median(np.abs(pair[0] - pr.warp(pair[1], -motion))))
    assert np.less(forward, backward).all()
    assert np.mean(forward) < 0.6 * np.mean(backward)
    assert 3 < float(flow.norm(dim=-1).mean()) < 8
