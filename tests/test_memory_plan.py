"""What a bundle needs, as planned and as measured; limits are kept, and too small ones say what is needed."""

import dataclasses
import json
import platform
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from published import TINY, save_random_checkpoint
from skimage import data

import perceiver_runtime
from perceiver_deploy import export_bundle
from perceiver_runtime import InputError, IntegrityError, UsageError
from perceiver_runtime.bundle.memory_plan import KEPT, ArenaPolicy, MemoryPlan
from perceiver_runtime.bundle.reader import open_bundle
from perceiver_runtime.commands.main import main
from perceiver_runtime.common.children import python_code

MEASURE = """
import sys, numpy as np, perceiver_runtime
def kilobytes(name):
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(name))
flow = perceiver_runtime.load(sys.argv[1], device="cpu")
frame = np.random.default_rng(0).integers(0, 256, (*flow.processor.tile, 3), np.uint8)
before = kilobytes("VmRSS")
flow(frame, frame[::-1])
print(1024 * (kilobytes("VmHWM") - before))
"""


@pytest.fixture(scope="module")
def flow_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of published flow's frames, patches and channels, with few latents: quick, and hundreds of megabytes."""
    folder = tmp_path_factory.mktemp("plan")
    save_random_checkpoint(folder / "checkpoint", **TINY | {"train_size": [368, 496]})
    export_bundle(task="flow", checkpoint=folder / "checkpoint", output=folder / "flow")
    return folder / "flow"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_planned_is_measured(flow_bundle: Path) -> None:
    """Within 20 % of what a process needs beyond what it has after loading."""
    plan = MemoryPlan.of(open_bundle(flow_bundle).manifest)
    command = [*python_code(MEASURE), str(flow_bundle)]
    measured = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    planned = plan.peak(8192) - plan.weights
    assert 0.8 * measured < planned < 1.2 * measured
    assert not 0.8 * measured < plan.kept < 1.2 * measured  # of something else it would show


def test_limit_makes_chunks_smaller(flow_bundle: Path) -> None:
    plan = MemoryPlan.of(open_bundle(flow_bundle).manifest)
    limit = plan.weights + plan.encode
    with perceiver_runtime.load(flow_bundle, max_memory=limit) as small, perceiver_runtime.load(flow_bundle) as usual:
        assert small.processor.query_chunk <= usual.processor.query_chunk
        assert plan.peak(small.processor.query_chunk) <= limit
    tight = MemoryPlan(100, 50, 10, {"decode": (5, 7)})
    assert tight.peak(3) == 100 + max(50, 10 + 5 + 21)
    assert tight.queries(160, 1000) == 6
    assert tight.peak(6) <= 160 < tight.peak(7)
    assert tight.batch(260, 8) == 3
    assert tight.batch(10_000, 8) == 8


def test_too_little_memory(flow_bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InputError, match=r"needs \d+ MB, \d+ of them weights, and may have 10: allow more, or export it with"):
        perceiver_runtime.load(flow_bundle, max_memory=10_000_000)
    assert main(["bench", str(flow_bundle), "--runs", "1", "--max-memory", "10"]) == 1
    assert "may have 10: allow more" in capsys.readouterr().err


@pytest.mark.parametrize("device", ["openvino", "openvino-bf16", "ort-tensorrt", "tensorrt"])
def test_a_limit_where_nothing_is_planned(device: str, flow_bundle: Path) -> None:
    with pytest.raises(UsageError, match=rf"planned for ONNX Runtime on a CPU or CUDA, not for {device}: leave out the limit"):
        perceiver_runtime.load(flow_bundle, device=device, max_memory=10**9)


def test_what_takes_little_keeps_its_memory(flow_bundle: Path, shipped: Callable[..., Path]) -> None:
    flow, digits = open_bundle(flow_bundle).manifest, open_bundle(shipped("image-classification")).manifest
    assert MemoryPlan.of(flow).encode > KEPT
    assert ArenaPolicy.of(flow, "encode") is None
    decode, encode = ArenaPolicy.of(flow, "decode"), ArenaPolicy.of(digits, "encode")
    assert decode is not None
    assert encode is not None
    fixed, each = MemoryPlan.of(flow).decoders["decode"]
    for number, keeps in ((8192, True), (1 + (KEPT - fixed) // each, False)):
        queries = {"query_features": np.zeros((1, number, 1)), "query_positions": np.zeros((1, number, 2))}
        assert decode({"latents": np.zeros((1, 2, 3)), **queries}) is keeps
    pixels = np.zeros(
        (1, *[digits.choices["cost"]["sizes"].get(size, size) for size in digits.graphs["encode"].inputs[0].shape[1:]])
    )
    most = KEPT // MemoryPlan.of(digits).encode
    for number, keeps in ((1, True), (most, True), (most + 1, False)):
        assert encode({"pixel_values": np.broadcast_to(pixels, (number, *pixels.shape[1:]))}) is keeps


@pytest.mark.parametrize("choices", [{}, {"memory": []}, {"cost": {"sizes": []}}, {"cost": {"sizes": {"B": 1}}}])
def test_nothing_is_kept_by_a_plan_that_is_none(choices: dict[str, object], shipped: Callable[..., Path]) -> None:
    manifest = open_bundle(shipped("image-classification")).manifest
    assert ArenaPolicy.of(manifest, "encode") is not None
    choices = {"memory": manifest.choices["memory"]} | choices
    assert ArenaPolicy.of(dataclasses.replace(manifest, choices=choices), "encode") is None


def test_memory_kept_or_not_changes_no_answer(shipped: Callable[..., Path]) -> None:
    """Batches that give it back between runs that keep it."""
    image = data.camera()[:64, :64]
    with (
        perceiver_runtime.load(shipped("image-classification"), device="cpu") as keeping,
        perceiver_runtime.load(shipped("image-classification"), device="cpu", max_memory=10**9) as giving,
    ):
        assert keeping.graphs["encode"]._arena_policy is not None
        assert giving.graphs["encode"]._arena_policy is None
        keeping.graphs["encode"]._arena_policy = lambda inputs: len(inputs["pixel_values"]) == 1
        for images in (image, [image] * 3, image):
            assert keeping(images) == giving(images)


@pytest.mark.parametrize("damage", [{}, {"weights": -1, "encode": 1, "kept": 1, "decoders": {}}, [], {"weights": "many"}])
def test_plans_that_are_none(damage: object) -> None:
    with pytest.raises(IntegrityError, match=r"memory (should be|has unknown|plan has)|memory\.\w+ is"):
        MemoryPlan.read(damage)


def test_long_lists_are_run_in_parts(shipped: Callable[..., Path]) -> None:
    """A list longer than the largest batch gives what its items give; memory for one input at a time is kept to."""
    bundle = shipped("image-classification")
    manifest = open_bundle(bundle).manifest
    plan = MemoryPlan.of(manifest)
    images = [np.roll(data.camera()[:64, :64], shift, axis=1) for shift in range(manifest.ranges["B"].max + 3)]
    sizes: list[int] = []
    with perceiver_runtime.load(bundle, max_memory=plan.peak(1)) as classify:
        usual = classify.graphs["encode"].run_on_device
        classify.graphs["encode"].run_on_device = lambda inputs: sizes.append(len(inputs["pixel_values"])) or usual(inputs)
        one_by_one = classify(images)
        assert set(sizes) == {1}
    with perceiver_runtime.load(bundle) as classify:
        together = classify(images)
    assert len(together) == len(images)
    for one, other in zip(one_by_one, together):
        assert one[0].label == other[0].label
        assert abs(one[0].probability - other[0].probability) < 1e-4


def test_inspect_says_what_was_saved(flow_bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(flow_bundle)]) == 0
    text = capsys.readouterr().out
    plan = MemoryPlan.of(open_bundle(flow_bundle).manifest)
    assert f"memory on a CPU {plan.peak(1) / 1e6:.0f} MB for one input" in text
    cost = json.loads((flow_bundle / "manifest.json").read_text(encoding="utf-8"))["choices"]["cost"]["graphs"]["decode"]
    assert cost["after"]["flops"] < 0.8 * cost["before"]["flops"]
    assert f"{cost['before']['flops'] / 1e9:.4g} -> {cost['after']['flops'] / 1e9:.4g} GFLOP" in text


HEAP = """
from perceiver_runtime.common.heap import release_heap
def resident():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmRSS"))
blocks = [b"x" * 100_000 for _ in range(3000)]  # of a size that glibc keeps for the next time
del blocks[:-1]  # what stays is at the end, so that the heap does not shrink on its own
before = resident()
assert release_heap()
print(before - resident())
"""


@pytest.mark.skipif("glibc" not in platform.libc_ver(), reason="other C libraries give back on their own")
def test_freed_memory_goes_back() -> None:
    found = subprocess.run([*python_code(HEAP)], capture_output=True, text=True, check=True).stdout
    assert int(found) > 200_000  # of 293,000 kilobytes freed
