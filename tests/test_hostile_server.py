"""A server that answers wrongly: each answer ends in a `BackendError` of one printable line."""

from typing import Any

import numpy as np
import pytest

from perceiver_runtime.bundle.manifest import TensorSpec
from perceiver_runtime.serving.client import _float32

grpc = pytest.importorskip("tritonclient.grpc", reason="tritonclient is not here")
SPEC = TensorSpec("y", "float32", ("B", 3))


def answer(name: str = "y", datatype: str = "FP32", shape: tuple[int, ...] = (2, 3), raw: bytes | None = bytes(24)) -> Any:
    response = grpc.service_pb2.ModelInferResponse()
    response.outputs.add(name=name, datatype=datatype, shape=shape)
    if raw is not None:
        response.raw_output_contents.append(raw)
    return response


def test_a_right_answer() -> None:
    values = np.arange(6, dtype="<f4")
    found = _float32(answer(raw=values.tobytes()), SPEC)
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
    assert _float32(answer(**wrong), SPEC) is None
