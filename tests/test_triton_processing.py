"""`perceiver triton --with-processing` on a real Triton: texts and files to answers, equal to local ones, for any client."""

import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from http_server import Reply, ask, raw_answer
from PIL import Image
from triton_server import Triton, serve

import perceiver_runtime as pr
from perceiver_runtime.commands.main import main

pytest.importorskip("tritonclient.grpc", reason="tritonclient is not here")
GOLDEN = Path(__file__).parent / "data" / "golden-1.0" / "flow"
FRAMES = [np.random.default_rng(seed).integers(0, 255, (48, 64, 3)).astype(np.uint8) for seed in range(2)]


def png(array: Any) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture(scope="module")
def bundles(shipped: Callable[..., Path]) -> dict[str, Path]:
    tasks = ("text-classification", "fill-mask", "image-classification")
    return {"flow": GOLDEN, **{task: shipped(task) for task in tasks}}


@pytest.fixture(scope="module")
def server(bundles: dict[str, Path], triton_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Triton]:
    folder = tmp_path_factory.mktemp("triton") / "models"
    for name, bundle in bundles.items():
        options = ["--with-processing", "--backend", "python", "--threads", "1"]
        assert main(["triton", str(bundle), "-o", str(folder), "--name", name, *options]) == 0
    with serve(triton_python, folder, tmp_path_factory.mktemp("server")) as running:
        yield running


def infer(server: Triton, model: str, body: dict[str, Any]) -> Any:
    """What a client without any package gets: the status, and JSON."""
    reply = asked(server, model, json.dumps(body).encode(), {})
    return reply.status, reply.json()


def asked(server: Triton, model: str, body: bytes, headers: dict[str, str]) -> Reply:
    port = int(server.http_address.rpartition(":")[2])
    return ask(port, "POST", f"/v2/models/{model}/infer", body, headers)


def text(value: str, **parameters: Any) -> dict[str, Any]:
    tensor = {"name": "text", "shape": [1, 1], "datatype": "BYTES", "data": [value]}
    return {"inputs": [tensor], "parameters": parameters} if parameters else {"inputs": [tensor]}


def answer_of(reply: Any) -> Any:
    status, body = reply
    assert status == 200, body
    return json.loads(body["outputs"][0]["data"][0])


def test_texts(server: Triton, bundles: dict[str, Path]) -> None:
    with pr.load(bundles["text-classification"], device="cpu", threads=1) as classify:
        expected = classify("a bird that swims", top_k=2, plain=True).to_dict()
    assert answer_of(infer(server, "text-classification_answer", text("a bird that swims", top_k=2))) == expected
    with pr.load(bundles["fill-mask"], device="cpu", threads=1) as mlm:
        filled = mlm("some words are[MASK*3]", top_k=1).to_dict()
    found = answer_of(infer(server, "fill-mask_answer", text("some words are[MASK*3]", top_k=1)))
    assert found["filled"] == filled["filled"]
    # Triton's worker has numpy 1, which multiplies probabilities in another order
    best, expected = (each["spans"][0]["candidates"][0]["probability"] for each in (found, filled))
    assert best == pytest.approx(expected, rel=1e-12)


def test_a_picture_as_the_body(server: Triton, bundles: dict[str, Path]) -> None:
    digit = png(np.random.default_rng(3).integers(0, 255, (28, 28, 3)).astype(np.uint8))
    with pr.load(bundles["image-classification"], device="cpu", threads=1) as classify:
        expected = classify(digit).to_dict()
    raw = {"Inference-Header-Content-Length": "0", "Content-Type": "application/octet-stream"}
    reply = asked(server, "image-classification_answer", digit, raw)
    assert raw_answer(reply.headers, reply.body) == expected


def test_flow(server: Triton) -> None:
    import tritonclient.grpc as triton

    with pr.load(GOLDEN, device="cpu", threads=1) as flow:
        expected = flow(*FRAMES)
    given = []
    for name, frame in zip(("frame1", "frame2"), FRAMES):
        given.append(triton.InferInput(name, [1, 1], "BYTES"))
        given[-1].set_data_from_numpy(np.array([[png(frame)]], object))
    client = triton.InferenceServerClient(server.address)
    found = client.infer("flow_answer", given)
    np.testing.assert_array_equal(found.as_numpy("flow")[0], np.asarray(expected))
    assert json.loads(found.as_numpy("answer")[0, 0]) == expected.to_dict()
    client.close()


@pytest.mark.parametrize(
    ("model", "body", "message"),
    [
        ("text-classification_answer", text("a", beams=3), "a parameter cannot be used"),
        ("fill-mask_answer", text("nothing is missing"), "the text has no mask"),
        (
            "text-classification_encode",
            {
                "inputs": [
                    {"name": "input_ids", "shape": [1, 3], "datatype": "INT64", "data": [66, 105, 114]},
                    {"name": "attention_mask", "shape": [1, 3], "datatype": "INT64", "data": [1, 1, 1]},
                ]
            },
            "a text is [CLS]=4, each byte of its UTF-8 + 6",
        ),
    ],
)
def test_refused(model: str, body: dict[str, Any], message: str, server: Triton) -> None:
    status, found = infer(server, model, body)
    assert status != 200
    assert message in found["error"]
