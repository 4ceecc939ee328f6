"""`perceiver serve`: answers equal to local ones, over plain HTTP, curl and tritonclient; what is refused; how it stops."""

import io
import json
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from http_server import Server, form, raw_answer, serving
from PIL import Image

import perceiver_runtime as pr
from perceiver_runtime.bundle.reader import open_bundle

GOLDEN = Path(__file__).parent / "data" / "golden-1.0" / "flow"
RANDOM = np.random.default_rng(0)
FRAMES = [RANDOM.integers(0, 255, (48, 64, 3)).astype(np.uint8) for _ in range(2)]
DIGIT = RANDOM.integers(0, 255, (28, 28, 3)).astype(np.uint8)
TEXT = "a bird that [MASK] swims"


def encoded(array: Any, kind: str = "PNG") -> bytes:
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, kind)
    return stream.getvalue()


@pytest.fixture(scope="module")
def bundles(shipped: Callable[..., Path]) -> dict[str, Path]:
    return {"flow": GOLDEN, "digits": shipped("image-classification"), "senses": shipped("text-classification")}


@pytest.fixture(scope="module")
def server(bundles: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    named = [f"{name}={path}" for name, path in bundles.items()]
    with serving(tmp_path_factory.mktemp("serve"), *named, "--max-body", "1MB", "--timeout", "50") as running:
        yield running


@pytest.fixture(scope="module")
def field() -> Any:
    with pr.load(GOLDEN, device="cpu", threads=1) as flow:
        return flow(*FRAMES)


def test_health_and_metadata(server: Server, bundles: dict[str, Path]) -> None:
    assert server.ask("GET", "/v2/health/live").status == server.ask("GET", "/v2/health/ready").status == 200
    assert "binary_tensor_data" in server.ask("GET", "/v2").json()["extensions"]
    names = [each["name"] for each in server.ask("GET", "/v2/models").json()["models"]]
    assert [name for name in names if name.startswith("flow")] == ["flow_encode", "flow_decode", "flow_answer"]
    assert {"digits", "digits_encode", "digits_answer", "senses"} <= set(names)
    model = server.ask("GET", "/v2/models/flow_answer/versions/1").json()
    assert model["inputs"][0] == {"name": "frame1", "datatype": "BYTES", "shape": [-1, 1]}
    assert model["outputs"][1] == {"name": "flow", "datatype": "FP32", "shape": [-1, -1, -1, 2]}
    assert server.ask("GET", "/v2/models/flow_encode/ready").status == 200
    assert server.ask("GET", "/v2/models/flow_encode/versions/2/ready").status == 404
    config = server.ask("GET", "/v2/models/flow_encode/config").json()
    assert config["parameters"]["perceiver_bundle_1"]["string_value"] == open_bundle(GOLDEN).manifest_sha256


def test_a_text_is_plain_unless_asked(server: Server, bundles: dict[str, Path]) -> None:
    with pr.load(bundles["senses"], device="cpu", threads=1) as classify:
        expected = [classify(TEXT, top_k=2, plain=plain).to_dict() for plain in (True, False)]
    assert expected[0] != expected[1]
    header = {"Content-Type": "text/plain"}
    assert server.ask("POST", "/v2/models/senses/answer?top_k=2", TEXT.encode(), header).json() == expected[0]
    body = {"text": TEXT, "top_k": 2, "plain": False}
    assert server.ask("POST", "/v2/models/senses/answer", body).json() == expected[1]
    request = {"inputs": [{"name": "text", "shape": [2], "datatype": "BYTES", "data": [TEXT, TEXT]}]}
    request["parameters"] = {"top_k": 2, "plain": False}  # type: ignore[assignment]
    answer = server.ask("POST", "/v2/models/senses_answer/infer", request).json()
    assert answer["outputs"][0]["shape"] == [2, 1]
    assert [json.loads(each) for each in answer["outputs"][0]["data"]] == [expected[1]] * 2


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_picture_as_the_body(kind: str, server: Server, bundles: dict[str, Path]) -> None:
    content = encoded(DIGIT, kind)
    with pr.load(bundles["digits"], device="cpu", threads=1) as classify:
        expected = classify(content, top_k=3).to_dict()
    header = {"Content-Type": f"image/{kind.lower()}"}
    assert server.ask("POST", "/v2/models/digits/answer?top_k=3", content, header).json() == expected
    raw = {"Inference-Header-Content-Length": "0"}  # Triton's raw binary request
    reply = server.ask("POST", "/v2/models/digits_answer/infer", content, raw)
    assert raw_answer(reply.headers, reply.body)["labels"][:3] == expected["labels"]


def test_flow_as_files(server: Server, field: Any, tmp_path: Path) -> None:
    body, header = form(frame1=encoded(FRAMES[0]), frame2=encoded(FRAMES[1]))
    summary = server.ask("POST", "/v2/models/flow/answer", body, header).json()
    assert summary == field.to_dict()
    found = {}
    for media_type in ("application/x-flo", "image/png; profile=kitti", "image/png", "application/x-npy", "image/*;q=0.5, */*"):
        reply = server.ask("POST", "/v2/models/flow/answer", body, {**header, "Accept": media_type})
        assert reply.status == 200
        found[media_type] = reply.body
        assert reply.headers["content-type"] == ("application/json" if media_type.endswith("*/*") else media_type)
    for name, media_type in (("f.flo", "application/x-flo"), ("k.png", "image/png; profile=kitti")):
        (tmp_path / name).write_bytes(found[media_type])
    np.testing.assert_array_equal(pr.read_flo(tmp_path / "f.flo"), np.asarray(field))
    np.testing.assert_allclose(pr.read_kitti_flow(tmp_path / "k.png"), np.asarray(field), atol=1 / 128 + 1e-6)
    assert np.abs(np.asarray(field)).max() > 1 / 16  # zeros would be near to anything
    np.testing.assert_array_equal(np.load(io.BytesIO(found["application/x-npy"])), np.asarray(field))
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(found["image/png"]))), pr.flow_to_image(np.asarray(field)))
    refused = server.ask("POST", "/v2/models/flow/answer", body, {**header, "Accept": "image/jpeg"})
    assert (refused.status, "application/x-flo" in refused.json()["error"]) == (406, True)


def test_tritonclient_over_http(server: Server, bundles: dict[str, Path], field: Any) -> None:
    http = pytest.importorskip("tritonclient.http", reason="tritonclient[http] is not here")
    client = http.InferenceServerClient(server.address)
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("digits")
    assert client.get_model_config("digits")["parameters"]["perceiver_bundle_1"]
    with pr.load(bundles["digits"], device="cpu", threads=1) as classify:
        pixels = classify.processor(DIGIT)[None]
        expected = classify.known_answer({"image": DIGIT})["logits"]
    for binary in (True, False):
        tensor = http.InferInput("pixel_values", list(pixels.shape), "FP32")
        tensor.set_data_from_numpy(pixels, binary_data=binary)
        outputs = [http.InferRequestedOutput("logits", binary_data=binary)]
        answer = client.infer("digits", [tensor], outputs=outputs, request_id="seven")
        np.testing.assert_array_equal(answer.as_numpy("logits")[0], expected)
        assert answer.get_response()["id"] == "seven"
    given = []
    for name, frame in zip(("frame1", "frame2"), FRAMES):
        given.append(http.InferInput(name, [1, 1], "BYTES"))
        given[-1].set_data_from_numpy(np.array([[encoded(frame)]], object))
    answer = client.infer("flow_answer", given)
    np.testing.assert_array_equal(answer.as_numpy("flow")[0], np.asarray(field))
    assert json.loads(answer.as_numpy("answer")[0, 0]) == field.to_dict()
    given[1].set_data_from_numpy(np.array([[b"no picture"]], object))
    with pytest.raises(Exception, match=r"frame2 is not an image"):
        client.infer("flow_answer", given)
    client.close()


def test_curl(server: Server, bundles: dict[str, Path], tmp_path: Path) -> None:
    curl = shutil.which("curl")
    if curl is None:
        pytest.skip("curl is not here")
    picture = tmp_path / "digit.png"
    picture.write_bytes(encoded(DIGIT))
    address = f"http://{server.address}/v2/models/digits/answer"
    with pr.load(bundles["digits"], device="cpu", threads=1) as classify:
        expected = classify(DIGIT, top_k=1).to_dict()
    for arguments in (["--data-binary", f"@{picture}"], ["-F", f"image=@{picture}"]):
        done = subprocess.run([curl, "-sS", *arguments, f"{address}?top_k=1"], capture_output=True, check=True)
        assert json.loads(done.stdout) == expected


IDS = {"name": "input_ids", "shape": [1, 3], "datatype": "INT64", "data": [4, 78, 5]}
MASK = {"name": "attention_mask", "shape": [1, 3], "datatype": "INT64", "data": [1, 1, 1]}
INFER = "/v2/models/senses_encode/infer"
BAD: list[tuple[str, str, Any, int, str]] = [
    ("POST", INFER, {"inputs": [{**IDS, "data": [66, 105, 114]}, MASK]}, 400, "a text is [CLS]=4, each byte of its UTF-8 + 6"),
    ("POST", INFER, {"inputs": [{**IDS, "data": [4, 78, 999]}, MASK]}, 400, "input_ids begin with [4, 78, 999]"),
    ("POST", INFER, {"inputs": [{**IDS, "data": [4, 78.5, 5]}, MASK]}, 400, "should be numbers, INT64"),
    ("POST", INFER, {"inputs": [{**IDS, "data": ["4", "78", "5"]}, MASK]}, 400, "should be numbers, INT64"),
    ("POST", INFER, {"inputs": [{**IDS, "data": [[4], [78, 5]]}, MASK]}, 400, "lists of one length"),
    ("POST", INFER, {"inputs": [{**IDS, "data": [4, 78]}, MASK]}, 400, "input_ids has 2 elements, its shape asks for 3"),
    ("POST", INFER, {"inputs": [{**IDS, "shape": [1, -3]}, MASK]}, 400, "should be a list of whole numbers"),
    ("POST", INFER, {"inputs": [{**IDS, "shape": [3]}, MASK]}, 400, "takes input_ids with 2 axes"),
    ("POST", INFER, {"inputs": [IDS]}, 400, "attention_mask is missing"),
    ("POST", INFER, {"inputs": [IDS, MASK, MASK]}, 400, "each once; found 'attention_mask'"),
    ("POST", INFER, {"inputs": [{**IDS, "datatype": "INT32"}, MASK]}, 400, "should be INT64, found 'INT32'"),
    ("POST", INFER, {"inputs": [IDS, MASK], "parameters": {"top_k": 3}}, 400, "this model has no parameter top_k"),
    ("POST", INFER, {"inputs": [IDS, MASK], "outputs": [{"name": "logits"}]}, 400, "gives latents; found 'logits'"),
    ("POST", INFER, {"inputs": 3}, 400, "inputs should be a list of objects"),
    ("POST", INFER, b"{" * 100_000, 400, "the body is no JSON"),
    ("POST", INFER, b'{"inputs": [NaN]}', 400, "NaN is no number of JSON"),
    ("POST", "/v2/models/digits_encode/infer", "raw pixels", 400, "pixel_values are 0 to 255, those of pictures"),
    ("POST", "/v2/models/flow_encode/infer", "raw frames", 400, "give value / 127.5 - 1"),
    ("POST", "/v2/models/senses/answer", {"text": "a", "beams": 3}, 400, "a parameter cannot be used"),
    ("POST", "/v2/models/senses/answer", {"text": "a", "top_k": 0}, 400, "a parameter cannot be used: top-k: give at least 1"),
    ("POST", "/v2/models/senses/answer", {"text": ["a"]}, 400, "text should be a text"),
    ("POST", "/v2/models/senses/answer", {"text": "\ud800"}, 400, "half a character"),
    ("POST", "/v2/models/senses/answer", {"top_k": 1}, 400, "give text; found nothing"),
    ("POST", "/v2/models/senses/answer", {}, 400, "give text; found nothing"),
    ("POST", "/v2/models/digits/answer", {"image": "/etc/hostname"}, 400, "image is no base64"),
    ("POST", "/v2/models/digits/answer", {"image": "L2V0Yy9ob3N0bmFtZQ=="}, 400, "image is not an image that can be read"),
    ("POST", "/v2/models/digits/answer", b"no picture", 400, "the image is not an image that can be read"),
    ("POST", "/v2/models/digits/answer?size=4096", b"x", 400, "size cannot be asked of a server"),
    ("POST", "/v2/models/digits/answer?help=true", b"x", 400, "a parameter cannot be used"),
    ("POST", "/v2/models/flow/answer", b"one file", 400, "frame1, frame2: send a form"),
    ("POST", "/v2/models/digits/answer", b"x" * 1_000_001, 413, "more than the 1000000 bytes allowed"),
    ("POST", "/v2/models/nothing/infer", {}, 404, "there is no model nothing"),
    ("POST", "/v2/models/flow/infer", {}, 404, "its models are flow_encode, flow_decode, flow_answer"),
    ("GET", "/v2/models/flow_answer/infer", None, 405, "use POST"),
    ("DELETE", "/v2/models", None, 405, "use GET"),
    ("GET", "/../../etc/passwd", None, 404, "there is nothing at this address"),
    ("GET", "/v2/models/flow_encode/versions/9", None, 404, "has version 1 alone"),
]


@pytest.mark.parametrize("place", range(len(BAD)))
def test_refused(place: int, server: Server, tmp_path_factory: pytest.TempPathFactory) -> None:
    """One sentence that names what is wrong, and nothing of the server's files or code."""
    method, path, body, status, message = BAD[place]
    if isinstance(body, str):
        name, shape = ("pixel_values", [1, 3, 28, 28]) if "pixels" in body else ("frames", [1, 2, 3, 40, 56])
        values = np.linspace(0, 255, int(np.prod(shape))).tolist()
        body = {"inputs": [{"name": name, "shape": shape, "datatype": "FP32", "data": values}]}
    reply = server.ask(method, path, body, {} if not isinstance(body, bytes) else {"Content-Type": "application/octet-stream"})
    text = reply.json()["error"]
    assert (reply.status, message in text) == (status, True), text
    for leak in ("Traceback", ".py", str(tmp_path_factory.getbasetemp()), "0x", "golden"):
        assert leak not in text


def test_metrics(server: Server) -> None:
    server.ask("POST", "/v2/models/digits/answer", encoded(DIGIT), {"Content-Type": "image/png"})
    server.ask("POST", "/v2/models/made-up-by-a-stranger/infer", {})
    reply = server.ask("GET", "/metrics")
    assert reply.headers["content-type"].startswith("text/plain; version=0.0.4")
    lines = [line for line in reply.body.decode().splitlines() if not line.startswith("#")]
    values = {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}
    assert values['perceiver_requests_total{model="digits",code="200"}'] >= 1
    counts = [value for name, value in values.items() if name.startswith('perceiver_request_seconds_bucket{model="digits"')]
    assert counts == sorted(counts)
    assert counts[-1] == values['perceiver_request_seconds_count{model="digits"}']
    assert values["perceiver_requests_running"] == 0
    assert "stranger" not in reply.body.decode()


def test_a_stop_lets_answers_end(tmp_path: Path, field: Any) -> None:
    """SIGTERM while a request runs: it is answered, nothing new is taken, and the exit code is 0."""
    large = [np.kron(frame, np.ones((8, 8, 1), np.uint8)) for frame in FRAMES]
    body, header = form(frame1=encoded(large[0]), frame2=encoded(large[1]))
    replies: list[Any] = []
    with serving(tmp_path, f"flow={GOLDEN}", "--json", "--max-body", "50MB") as server:
        asking = threading.Thread(target=lambda: replies.append(server.ask("POST", "/v2/models/flow/answer", body, header)))
        asking.start()
        while b"perceiver_requests_running 1" not in server.ask("GET", "/metrics").body:
            time.sleep(0.02)
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        assert asking.is_alive()  # else this test says nothing
        with pytest.raises(OSError, match="refused"):
            server.ask("GET", "/v2")
        asking.join(100)
        output, _ = server.process.communicate(timeout=100)
        assert server.process.returncode == 0, server.log.read_text()
    assert replies[0].status == 200
    assert replies[0].json()["width"] == 64 * 8
    assert json.loads(output)["answered"] == 1
