"""A real Triton server and `connect`: answers equal to local ones to the last bit, whatever happens meanwhile."""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from own_models import occupancy_item
from shipped_tasks import TASKS
from test_detection_and_questions import NAMES, SIZE, make_detector
from triton_server import Triton, serve

import perceiver_deploy as pd
import perceiver_runtime as pr
from perceiver_runtime.bundle.reader import open_bundle
from perceiver_runtime.common.children import python_code, python_module
from perceiver_runtime.serving.repository import RepositoryOptions, write_repository
from perceiver_runtime.tasks.known_answer import FILE, Sample

pytest.importorskip("tritonclient.grpc", reason="tritonclient is not here")
PYTHON = RepositoryOptions(backend="python", threads=1)


@pytest.fixture(scope="module")
def bundles(shipped: Callable[..., Path]) -> dict[str, Path]:
    return {task: shipped(task) for task in TASKS}


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of one's own, with two outputs."""
    output = tmp_path_factory.mktemp("own") / "detector"
    outputs: Any = {"logits": pd.BoxLabels(NAMES), "pred_boxes": pd.Boxes()}
    pd.export_model(make_detector(), output, inputs={"pixel_values": pd.Image(SIZE)}, outputs=outputs)
    return output


@pytest.fixture(scope="module")
def repository(
    bundles: dict[str, Path],
    detector: Path,
    occupancy: Path,
    toy_python: Path,
    toy_bundle: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    folder = tmp_path_factory.mktemp("triton") / "models"
    for task, bundle in bundles.items():
        options = PYTHON if task != "image-classification" else RepositoryOptions(backend="python", threads=1, copy=True)
        write_repository(open_bundle(bundle), folder, task, options)
    write_repository(open_bundle(detector), folder, "detector", PYTHON)
    write_repository(open_bundle(occupancy), folder, "occupancy", PYTHON)
    serve_toy = ["triton", str(toy_bundle), "-o", str(folder), "--name", "series", "--backend", "python", "--threads", "1"]
    subprocess.run([*python_module("perceiver_runtime", toy_python), *serve_toy], check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def server(repository: Path, triton_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Triton]:
    with serve(triton_python, repository, tmp_path_factory.mktemp("server")) as running:
        yield running


def known_answer(pipeline: Any, bundle: Path) -> dict[str, np.ndarray]:
    answer: dict[str, np.ndarray] = pipeline.known_answer(Sample.read(bundle / FILE).inputs)
    return answer


OUTSIDE = """
import sys, numpy as np, perceiver_runtime as pr
series = np.random.default_rng(1).standard_normal((9, 3)).astype(np.float32)
local = pr.load(sys.argv[2], device="cpu", threads=1)
with pr.connect(sys.argv[1], bundle=sys.argv[2], name="series") as remote:
    assert remote([series]) == local([series])
"""


def test_a_task_of_another_package(server: Triton, toy_python: Path, toy_bundle: Path) -> None:
    """Served without that package; the client has it."""
    command = [*python_code(OUTSIDE, toy_python), server.address, str(toy_bundle)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("task", TASKS)
def test_every_task(task: str, server: Triton, bundles: dict[str, Path]) -> None:
    with pr.load(bundles[task], device="cpu", threads=1) as local:
        expected = known_answer(local, bundles[task])
    with pr.connect(server.address, bundle=bundles[task], name=task) as remote:
        assert remote.provider == f"the server {server.address}"
        found = known_answer(remote, bundles[task])
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array)
        assert not np.array_equal(array, np.roll(array, 1))  # a constant would be equal whatever was computed


def test_boxes_of_a_model_of_one_s_own(server: Triton, detector: Path) -> None:
    pictures = [np.random.default_rng(side).integers(0, 255, (side, 70, 3)).astype(np.uint8) for side in range(40, 50)]
    with pr.load(detector, device="cpu", threads=1) as local:
        expected = [local([picture], threshold=0.0)[0] for picture in pictures]
    with pr.connect(server.address, bundle=detector, name="detector") as remote:
        assert [remote([picture], threshold=0.0)[0] for picture in pictures] == expected
        assert [len(found) for found in remote(pictures, threshold=0.0)] == [7] * 10
    assert expected[0] != expected[1]


def test_arrays_of_one_s_own(server: Triton, occupancy: Path) -> None:
    """Lengths that differ, queries in chunks, latents kept on this side and decoded again."""
    items = [occupancy_item(length) for length in (2, 40, 300)]
    with pr.load(occupancy, device="cpu", threads=1) as local:
        expected = [local(item, query_chunk=4)["occupancy"] for item in items]
        together = local(items)
    with pr.connect(server.address, bundle=occupancy, name="occupancy") as remote:
        for item, answer, batched, local_batched in zip(items, expected, remote(items), together):
            np.testing.assert_array_equal(remote(item, query_chunk=4)["occupancy"], answer)
            np.testing.assert_array_equal(batched["occupancy"], local_batched["occupancy"])
            latents = remote.latents({"points": item["points"]})
            again = remote.decode(latents, {"positions": item["positions"]}, query_chunk=4)
            np.testing.assert_array_equal(again["occupancy"], answer)
        with pytest.raises(pr.InputError, match=r"points should have the shape \(M, 3\)"):
            remote({**items[0], "points": np.zeros((4, 2), np.float32)})
    assert np.abs(expected[0] - expected[1]).max() > 1e-3


def test_calls_are_those_of_load(server: Triton, bundles: dict[str, Path]) -> None:
    texts = ["a bird that swims", "to walk with heavy steps", "the state of being calm"] * 5  # more than a batch there
    with pr.load(bundles["text-classification"], threads=1) as local:
        expected = [local([text], top_k=2)[0] for text in texts]
    with pr.connect(server.address, bundle=bundles["text-classification"], name="text-classification") as remote:
        assert [remote([text], top_k=2)[0] for text in texts] == expected
        assert len(remote(texts, top_k=2)) == 15
    with pytest.raises(pr.BackendError, match="this pipeline was closed: connect again"):
        remote(texts)


def test_an_ensemble_answers_in_one_call(server: Triton, bundles: dict[str, Path]) -> None:
    import tritonclient.grpc as triton

    with pr.load(bundles["image-classification"], threads=1) as local:
        image = Sample.read(bundles["image-classification"] / FILE).inputs["image"]
        expected = known_answer(local, bundles["image-classification"])["logits"]
        pixels = local.processor(image)[None]
    tensor = triton.InferInput("pixel_values", list(pixels.shape), "FP32")
    tensor.set_data_from_numpy(pixels)
    client = triton.InferenceServerClient(server.address)
    np.testing.assert_array_equal(client.infer("image-classification", [tensor]).as_numpy("logits")[0], expected)
    best = client.infer(
        "image-classification", [tensor], outputs=[triton.InferRequestedOutput("logits", class_count=1)]
    ).as_numpy("logits")
    assert best.reshape(-1)[0].decode().endswith(f":{expected.argmax()}")  # value:index:label, and digits are their labels
    client.close()


def test_fifty_clients_while_a_version_is_swapped_and_a_worker_is_killed(
    server: Triton, repository: Path, bundles: dict[str, Path]
) -> None:
    import tritonclient.grpc as triton

    bundle = bundles["text-classification"]
    texts = [f"a kind of thing, number {number}" for number in range(50)]
    with pr.load(bundle, device="cpu", threads=1) as local:
        expected = [local(text, top_k=3) for text in texts]
    wrong: list[object] = []
    counts = [0] * 50
    stop = threading.Event()

    def ask(number: int) -> None:
        try:
            with pr.connect(server.address, bundle=bundle, name="text-classification", timeout=150, retry_for=150) as remote:
                while not stop.is_set():
                    if remote(texts[number], top_k=3) != expected[number]:
                        wrong.append(number)
                    counts[number] += 1
        except pr.PerceiverError as error:
            wrong.append(error)

    threads = [threading.Thread(target=ask, args=(number,), daemon=True) for number in range(50)]
    for thread in threads:
        thread.start()
    try:
        wait_for(lambda: min(counts) > 0)
        write_repository(open_bundle(bundle), repository, "text-classification", PYTHON)
        server.load("text-classification_encode", "text-classification_decode")
        client = triton.InferenceServerClient(server.address)
        wait_for(lambda: all(client.is_model_ready(f"text-classification_{graph}", "2") for graph in ("encode", "decode")))
        client.close()
        before = sum(counts)
        wait_for(lambda: sum(counts) > before + 50)
        for worker in server.workers("text-classification_encode"):
            os.kill(worker, signal.SIGKILL)
        server.load("text-classification_encode", unload=True)  # this release starts no other worker by itself
        before = list(counts)
        # the server tells those who waited for the dead workers after 16 s, on a busy machine later
        wait_for(lambda: all(now > then for now, then in zip(counts, before)), seconds=150)
    finally:
        stop.set()
    for thread in threads:
        thread.join(160)
    assert wrong == []
    assert min(counts) > 1


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.2)


def test_another_bundle_is_refused(server: Triton, bundles: dict[str, Path]) -> None:
    with pytest.raises(pr.BackendError, match=r"serves other bundles as flow \(version 1 .*give the bundle that is served"):
        pr.connect(server.address, bundle=bundles["fill-mask"], name="flow")


def test_a_name_that_is_not_there(server: Triton, bundles: dict[str, Path]) -> None:
    with pytest.raises(pr.BackendError, match="failed on nothing_encode: "):
        pr.connect(server.address, bundle=bundles["flow"], name="nothing")


def test_a_deadline(server: Triton, bundles: dict[str, Path]) -> None:
    frame = np.zeros((40, 60, 3), np.uint8)
    late = r"did not answer for flow_encode within 0.02 s: give a longer timeout"
    with pr.connect(server.address, bundle=bundles["flow"], name="flow") as flow:
        flow.graphs["encode"]._server.timeout = 0.02  # looking for the version has none to spare
        with pytest.raises(pr.BackendError, match=late):
            flow(frame, frame)


def test_bad_input_never_leaves_this_machine(server: Triton, bundles: dict[str, Path]) -> None:
    with (
        pr.connect(server.address, bundle=bundles["fill-mask"], name="fill-mask") as mlm,
        pytest.raises(pr.InputError, match="the text has no mask"),
    ):
        mlm("nothing is missing")
