"""What benchmarks run is what bundles answer."""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import perceiver_runtime as pr
from perceiver_io import SHIPPED, load_checkpoint
from perceiver_runtime.bundle.reader import open_bundle
from perceiver_runtime.processing.flow import tile_input

sys.path.append(str(Path(__file__).parent.parent / "benchmarks"))

from bundle_run import BundleRun, measure
from cases import SHIPPED as CASES
from cases import make_inputs, torch_answer


def test_a_run_is_the_answer(tiny_bundle: Path) -> None:
    rng = np.random.default_rng(0)
    first, second = (rng.integers(0, 255, (40, 56, 3)).astype(np.uint8) for _ in range(2))
    run = BundleRun(open_bundle(tiny_bundle), device="cpu")
    scale = run.pipeline.processor.flow_scale
    with pr.load(tiny_bundle, task="flow", device="cpu") as flow:
        expected = flow(first, second).reshape(-1, 2)
    found = run({"frames": tile_input(first, second, (40, 56))[None]}) * scale
    spread = float(np.ptp(expected, axis=0).max())
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-3 * spread)
    assert np.abs(found[::-1] - expected).max() > 0.1 * spread


def test_every_shipped_checkpoint_has_a_case() -> None:
    assert set(CASES.values()) | {"glosses-small"} == set(SHIPPED)  # which differs from fill-mask-small in its labels alone


@pytest.mark.parametrize(("case", "task"), [("audio", "audio-classification"), ("fields", "token-classification")])
def test_a_case_beside_torch(case: str, task: str, shipped: Callable[..., Path]) -> None:
    model = load_checkpoint(CASES[case]).eval()
    inputs = make_inputs(task, model.config)
    with torch.no_grad():
        expected = torch_answer(task, model, {name: torch.from_numpy(array) for name, array in inputs.items()}).numpy()
    found = BundleRun(open_bundle(shipped(task)), device="cpu")(inputs)
    limit = 1e-3 * expected.std()
    np.testing.assert_allclose(found, expected, rtol=0, atol=limit)
    assert np.abs(np.roll(found, 1, axis=-1) - expected).max() > 100 * limit


def test_seconds() -> None:
    calls: list[int] = []
    found = measure(lambda: calls.append(1), runs=5, warm_up=2)
    assert len(calls) == 7
    assert 0 <= found["median"] <= found["p99"]
