"""docs/wire.md is enough to write a client from: its blocks, run as they stand, give what the runtime gives."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from http_server import Server, serving
from PIL import Image

import perceiver_runtime as pr

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "wire.md").read_text()
TYPES = {"float32": "FP32", "int64": "INT64"}


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def bundles(shipped: Callable[..., Path]) -> dict[str, Path]:
    tasks = {"senses": "text-classification", "mlm": "fill-mask", "digits": "image-classification", "flow": "flow"}
    return {name: shipped(task) for name, task in tasks.items()}


@pytest.fixture(scope="module")
def server(bundles: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("serve"), *(f"{name}={path}" for name, path in bundles.items())) as running:
        yield running


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found, random = tmp_path_factory.mktemp("files"), np.random.default_rng(0)
    smooth = random.integers(0, 255, (9, 11, 3)).astype(np.uint8)
    frame = Image.fromarray(smooth).resize((90, 70), Image.Resampling.BICUBIC)
    frame.save(found / "a.png")
    Image.fromarray(np.roll(np.asarray(frame), 3, axis=1)).save(found / "b.png")
    Image.fromarray(random.integers(0, 255, (33, 21, 3)).astype(np.uint8)).save(found / "digit.png")
    return found


def in_json(server: Server, model: str, inputs: dict[str, Any]) -> dict[str, Any]:
    """With nothing but HTTP and JSON."""
    given = []
    for name, array in inputs.items():
        entry = {"name": name, "shape": list(array.shape), "datatype": TYPES[str(array.dtype)]}
        given.append({**entry, "data": array.reshape(-1).tolist()})
    reply = server.ask("POST", f"/v2/models/{model}/infer", {"inputs": given})
    assert reply.status == 200, reply.body
    return {each["name"]: np.float32(each["data"]).reshape(each["shape"]) for each in reply.json()["outputs"]}


def by_tritonclient(server: Server, model: str, inputs: dict[str, Any]) -> dict[str, Any]:
    http = pytest.importorskip("tritonclient.http", reason="tritonclient[http] is not here")
    given = []
    for name, array in inputs.items():
        given.append(http.InferInput(name, list(array.shape), TYPES[str(array.dtype)]))
        given[-1].set_data_from_numpy(np.ascontiguousarray(array))
    client = http.InferenceServerClient(server.address)
    answer = client.infer(model, given)
    client.close()
    return {each["name"]: answer.as_numpy(each["name"]) for each in answer.get_response()["outputs"]}


def probabilities(logits: Any) -> Any:
    powers = np.exp(np.float64(logits) - np.max(logits))
    return powers / powers.sum()


@pytest.fixture(scope="module", params=[in_json, by_tritonclient])
def client(request: Any, server: Server, bundles: dict[str, Path], folder: Path) -> dict[str, Any]:
    """The page's blocks of Python, run one after the other; what they leave in each variable."""
    found: list[Any] = []
    names = {
        "np": np,
        "Image": Image,
        "infer": lambda model, inputs: request.param(server, model, inputs),
        "manifest": lambda name: json.loads((bundles[name] / "manifest.json").read_text()),
    }
    before = Path.cwd()
    os.chdir(folder)
    try:
        for block in blocks("python"):
            exec(block, names)
            found.append(dict(names))
    finally:
        os.chdir(before)
    texts, masks, picture, flow = found
    return {"logits": texts["logits"], "best": masks["best"], "digit": picture["logits"]} | {
        name: flow[name] for name in ("frames", "points", "motion")
    }


def test_texts(client: dict[str, Any], bundles: dict[str, Path]) -> None:
    with pr.load(bundles["senses"], device="cpu", threads=1) as classify:
        for row, text in enumerate(["a bird that swims", "to walk"]):
            best = classify(text, top_k=1)[0]
            own = probabilities(client["logits"][row])
            assert classify.labels.names[own.argmax()] == best.label
            assert own.max() == pytest.approx(best.probability, abs=1e-5)


def test_masks(client: dict[str, Any], bundles: dict[str, Path]) -> None:
    with pr.load(bundles["mlm"], device="cpu", threads=1) as mlm:
        assert mlm.fill("a [MASK*2]rd") == f"a {client['best'].decode()}rd"


def test_pictures(client: dict[str, Any], bundles: dict[str, Path], folder: Path) -> None:
    with pr.load(bundles["digits"], device="cpu", threads=1) as classify:
        expected = {each.label: each.probability for each in classify(folder / "digit.png", top_k=10)}
    own = probabilities(client["digit"][0])
    np.testing.assert_allclose(own, [expected[str(digit)] for digit in range(10)], atol=1e-5)
    assert own.max() - own.min() > 1e-2


def test_flow(client: dict[str, Any], bundles: dict[str, Path]) -> None:
    """In pixels, at the pixels asked for; the tolerance sees a twentieth of a pixel of position or motion."""
    frames = [np.rint((frame.transpose(1, 2, 0) + 1) * 127.5).astype(np.uint8) for frame in client["frames"][0]]
    with pr.load(bundles["flow"], device="cpu", threads=1) as flow:
        expected = flow.at(*frames, np.array(client["points"]))
    np.testing.assert_allclose(client["motion"], expected, atol=1e-3)
    assert np.abs(expected - expected[::-1]).max() > 0.05
    assert np.abs(expected - expected[:, ::-1]).max() > 0.05  # (dx, dy), not (dy, dx)


def test_shell(server: Server, bundles: dict[str, Path], folder: Path) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not here")
    (block,) = blocks("sh")
    environment = {**os.environ, "SERVER": f"http://{server.address}"}
    done = subprocess.run(["bash", "-euc", block], cwd=folder, env=environment, capture_output=True, check=True)
    answer, end = json.JSONDecoder().raw_decode(done.stdout.decode("latin-1"))
    binary = done.stdout[end:]
    start = json.JSONDecoder().raw_decode(binary.decode("latin-1"))[1]
    found = [json.loads(answer["outputs"][0]["data"][0]), json.loads(binary[start + 4 :])]
    with pr.load(bundles["senses"], device="cpu", threads=1) as classify:
        assert found[0] == classify("a bird that swims", top_k=2, plain=True).to_dict()
    with pr.load(bundles["digits"], device="cpu", threads=1) as classify:
        assert found[1] == classify(folder / "digit.png").to_dict()


def test_raw_bytes_are_refused(server: Server) -> None:
    """The mistake that the page warns of."""
    raw = np.frombuffer(b"a bird that swims", np.uint8).astype(np.int64)[None]
    with pytest.raises(AssertionError, match=r"a text is \[CLS\]=4, each byte of its UTF-8 \+ 6"):
        in_json(server, "senses", {"input_ids": raw, "attention_mask": np.ones_like(raw)})
