"""A server that answers wrongly: each answer ends in a `PerceiverError` that prints as one line."""

import contextlib
import hashlib
import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import perceiver_runtime as pr
from perceiver_runtime.bundle.manifest import TensorSpec
from perceiver_runtime.bundle.reader import open_bundle
from perceiver_runtime.common.terminal import one_line
from perceiver_runtime.serving.remote import calls
from perceiver_runtime.serving.remote.graph import float32_output

grpc = pytest.importorskip("tritonclient.grpc", reason="tritonclient is not here")
rpc = pytest.importorskip("grpc", reason="grpc comes with tritonclient")
SPEC = TensorSpec("y", "float32", ("B", 3))


def answer(name: str = "y", datatype: str = "FP32", shape: tuple[int, ...] = (2, 3), raw: bytes | None = bytes(24)) -> Any:
    response = grpc.service_pb2.ModelInferResponse()
    response.outputs.add(name=name, datatype=datatype, shape=shape)
    if raw is not None:
        response.raw_output_contents.append(raw)
    return response


def test_a_right_answer() -> None:
    values = np.arange(6, dtype="<f4")
    found = float32_output(answer(raw=values.tobytes()), SPEC)
    assert found is not None
    np.testing.assert_array_equal(found, values.reshape(2, 3))


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": "z"},
        {"datatype": "BYTES", "raw": b"\xff\xff\xff\xff1"},
        {"datatype": "BF16"},
        {"datatype": "\x1b[2J"},
        {"shape": (6,)},
        {"shape": (2, 4)},
        {"shape": (-1, 3)},
        {"shape": (-2, -3)},
        {"shape": (1 << 62, 3)},
        {"raw": bytes(23)},
        {"raw": bytes(28)},
        {"raw": b""},
        {"raw": None},
    ],
)
def test_wrong_answers(wrong: dict[str, Any]) -> None:
    assert float32_output(answer(**wrong), SPEC) is None


METHODS = "/inference.GRPCInferenceService/"
BUNDLE = Path(__file__).parent / "data" / "golden-1.0" / "flow"
FRAME = np.zeros((40, 56, 3), np.uint8)


class Hostile(rpc.GenericRpcHandler):  # type: ignore[misc]
    """A server that answers each method with these bytes, or with an error's code; what is not there it does not know."""

    def __init__(self, answers: dict[str, bytes | rpc.StatusCode]) -> None:
        self.answers = answers

    def service(self, details: Any) -> Any:
        answer = self.answers.get(details.method.removeprefix(METHODS))
        decoded = answered("decode")
        if answer is None:
            return None

        def respond(request: bytes, context: Any) -> bytes:
            infer = details.method.endswith("/ModelInfer") and grpc.service_pb2.ModelInferRequest.FromString(request)
            if infer and infer.model_name.endswith("_decode"):
                return decoded
            if isinstance(answer, bytes):
                return answer
            context.abort(answer, "\x1b[2Jforged\u202e")
            raise AssertionError

        return rpc.unary_unary_rpc_method_handler(respond)


@contextlib.contextmanager
def serving(**answers: bytes | rpc.StatusCode) -> Iterator[str]:
    server = rpc.server(ThreadPoolExecutor(2), handlers=[Hostile({**GOOD, **answers})])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(0).wait()


def configuration(batch: int = 1, **parameters: str) -> bytes:
    response = grpc.service_pb2.ModelConfigResponse()
    response.config.max_batch_size = batch
    for key, value in parameters.items():
        response.config.parameters[key].string_value = value
    result: bytes = response.SerializeToString()
    return result


OWN = hashlib.sha256((BUNDLE / "manifest.json").read_bytes()).hexdigest()
GOOD = {
    "ModelConfig": configuration(perceiver_bundle_1=OWN),
    "ModelReady": grpc.service_pb2.ModelReadyResponse(ready=True).SerializeToString(),
}


def answered(graph: str, output: str = "", **changes: Any) -> bytes:
    """A right answer of a graph, but for what changes in one of its outputs."""
    response = grpc.service_pb2.ModelInferResponse()
    for spec in open_bundle(BUNDLE).manifest.graphs[graph].outputs:
        shape = [{"B": 1, "H*W": 40 * 56, "O": 40 * 56}.get(size, size) for size in spec.shape]
        right = {"name": spec.name, "datatype": "FP32", "shape": shape, "raw": bytes(4 * math.prod(shape))}
        given = right | changes if spec.name == output else right
        raw = given.pop("raw")
        response.outputs.add(**given)
        response.raw_output_contents.append(raw)
    result: bytes = response.SerializeToString()
    return result


NOT_A_NUMBER = np.full(40 * 56 * 64, np.nan, "<f4").tobytes()
ENCODE = answered("encode")
ANSWERS: dict[str, bytes | rpc.StatusCode] = {
    "nothing": b"",
    "no protobuf": b"\xff" * 40,
    "half a message": ENCODE[:-1000],
    "another message": GOOD["ModelConfig"],
    "a length of exabytes": b"\x32\xff\xff\xff\xff\xff\xff\xff\xff\x7f" + bytes(9),
    "nested without end": b"\x2a\x80\x01" * 3000,
    "no values": grpc.service_pb2.ModelInferResponse(outputs=[{"name": "latents", "datatype": "FP32"}]).SerializeToString(),
    "another name": answered("encode", "latents", name="latent"),
    "a name that a terminal obeys": answered("encode", "latents", name="\x1b[2J"),
    "texts": answered("encode", "latents", datatype="BYTES", raw=b"\xff\xff\xff\xff1"),
    "short texts": answered("encode", "latents", datatype="BYTES", raw=b"\x01"),
    "unknown type": answered("encode", "latents", datatype="FP31"),
    "half precision": answered("encode", "latents", datatype="BF16"),
    "too few values": answered("encode", "latents", raw=bytes(4)),
    "a cut value": answered("encode", "latents", raw=bytes(4 * 32 * 48 - 1)),
    "negative sizes": answered("encode", "latents", shape=[-1, -32, 48]),
    "huge sizes": answered("encode", "latents", shape=[1 << 62, 32, 48]),
    "another batch": answered("encode", "latents", shape=[2, 32, 48], raw=bytes(8 * 32 * 48)),
    "no batch": answered("encode", "latents", shape=[0, 32, 48], raw=b""),
    "another grid": answered("encode", "query_features", shape=[1, 3, 64], raw=bytes(4 * 3 * 64)),
    "no numbers": answered("encode", "query_features", raw=NOT_A_NUMBER),
    "an answer of decode": answered("decode"),
    **{code.name: code for code in rpc.StatusCode if code is not rpc.StatusCode.OK},
}


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "_FIRST_PAUSE", 0.01)


def test_a_right_server() -> None:
    """The negative control."""
    with serving(ModelInfer=ENCODE) as address, pr.connect(address, bundle=BUNDLE) as flow:
        assert flow(FRAME, FRAME).shape == (40, 56, 2)


@pytest.mark.parametrize("what", ANSWERS)
def test_answers(what: str) -> None:
    with (
        serving(ModelInfer=ANSWERS[what]) as address,
        pr.connect(address, bundle=BUNDLE, timeout=20, retry_for=0.1) as flow,
        pytest.raises(pr.PerceiverError) as refused,
    ):
        flow(FRAME, FRAME)
    assert one_line(f"perceiver: {refused.value}").isprintable()
    assert len(str(refused.value)) < 1000


UNNAMED: dict[str, bytes | rpc.StatusCode | None] = {
    "no such service": None,
    "not implemented": rpc.StatusCode.UNIMPLEMENTED,
    "nothing": b"",
    "no parameters": configuration(),
    "other parameters": configuration(perceiver="1", perceiver_bundle_="2", perceiver_bundle_x=OWN),
    "a huge version": configuration(**{f"perceiver_bundle_{10**40}": OWN}),
    "digits of another script": configuration(perceiver_bundle_١=OWN),
}
OTHERS: dict[str, bytes | rpc.StatusCode] = {
    "no protobuf": b"\xff" * 40,
    "another bundle": configuration(perceiver_bundle_1="0" * 64),
    "a sum that a terminal obeys": configuration(perceiver_bundle_1="\x1b]52;c;aGk=\x07"),
    "unavailable": rpc.StatusCode.UNAVAILABLE,
}


@pytest.mark.parametrize("what", [*UNNAMED, *OTHERS])
def test_a_server_that_names_no_bundle_or_another(what: str) -> None:
    answer = {**UNNAMED, **OTHERS}[what]
    message = "does not say which bundle" if what in UNNAMED else None
    with (
        serving(ModelConfig=answer) as address,  # type: ignore[arg-type]
        pytest.raises(pr.BackendError, match=message) as refused,
    ):
        pr.connect(address, bundle=BUNDLE, timeout=20)
    assert one_line(f"perceiver: {refused.value}").isprintable()


@pytest.mark.parametrize("batch", [-(1 << 31), 0, (1 << 31) - 1])
def test_any_largest_batch(batch: int) -> None:
    with (
        serving(ModelConfig=configuration(batch, perceiver_bundle_1=OWN), ModelInfer=ENCODE) as address,
        pr.connect(address, bundle=BUNDLE) as flow,
    ):
        assert flow(FRAME, FRAME).shape == (40, 56, 2)


@pytest.mark.parametrize("ready", [b"\xff" * 40, rpc.StatusCode.INTERNAL])
def test_a_model_that_may_be_ready(ready: bytes | rpc.StatusCode) -> None:
    with serving(ModelReady=ready, ModelInfer=ENCODE) as address, pr.connect(address, bundle=BUNDLE) as flow:
        assert flow(FRAME, FRAME).shape == (40, 56, 2)
