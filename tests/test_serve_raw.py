"""Tensors that a client made itself, for every graph: what no graph can be given is 400 and one sentence, never 500."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from http_server import Server, serving

import perceiver_runtime as pr
from perceiver_runtime.bundle.reader import open_bundle
from perceiver_runtime.common.errors import InputError, NotFiniteError
from perceiver_runtime.serving.http.models import served

GOLDEN = Path(__file__).parent / "data" / "golden-1.0" / "flow"
LATENTS = np.zeros((1, 64, 256), np.float32)  # of the fill-mask checkpoint
FLOW = {"frames": np.zeros((1, 2, 3, 40, 56), np.float32)}


@pytest.fixture(scope="module")
def server(shipped: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    bundles = {"flow": GOLDEN, "digits": shipped("image-classification"), "words": shipped("fill-mask")}
    named = [f"{name}={path}" for name, path in bundles.items()]
    with serving(tmp_path_factory.mktemp("serve"), *named) as running:
        yield running


def ask(server: Server, model: str, **inputs: np.ndarray) -> Any:
    """Each as binary data, which may hold NaN too."""
    entries, content = [], b""
    for name, array in inputs.items():
        datatype = "INT64" if array.dtype == np.int64 else "FP32"
        entry = {"name": name, "shape": list(array.shape), "datatype": datatype}
        entries.append({**entry, "parameters": {"binary_data_size": array.nbytes}})
        content += array.tobytes()
    header = json.dumps({"inputs": entries}).encode()
    headers = {"Inference-Header-Content-Length": str(len(header)), "Content-Type": "application/octet-stream"}
    return server.ask("POST", f"/v2/models/{model}/infer", header + content, headers)


def ids(*numbers: int) -> np.ndarray:
    return np.array([numbers], np.int64)


def nan_in(array: np.ndarray) -> np.ndarray:
    changed = array.copy()
    changed.reshape(-1)[-1] = np.nan
    return changed


BAD: list[tuple[str, dict[str, np.ndarray], str]] = [
    ("words_decode", {"latents": LATENTS, "query_positions": ids(3, 256)}, "3 to 256: give positions of a text, 0 to 255"),
    ("words_decode", {"latents": LATENTS, "query_positions": ids(-1)}, "-1 to -1: give positions of a text"),
    ("words_decode", {"latents": LATENTS, "query_positions": ids(2**62)}, "give positions of a text"),
    ("words_decode", {"latents": LATENTS, "query_positions": ids(1)[0]}, "takes query_positions with 2 axes"),
    ("words_decode", {"latents": LATENTS, "query_positions": ids()}, "takes query_positions of shape"),
    ("words_decode", {"latents": LATENTS[:, :-1], "query_positions": ids(1)}, "takes latents of shape"),
    ("words_decode", {"latents": np.repeat(LATENTS, 2, 0), "query_positions": ids(1)}, "takes one size"),
    ("words_decode", {"latents": nan_in(LATENTS), "query_positions": ids(1)}, "latents holds NaN or infinity"),
    ("words", {"input_ids": ids(4, 78, 5), "attention_mask": ids(1, 1, 1), "query_positions": ids(300)}, "0 to 255"),
    ("words_encode", {"input_ids": ids(4, 262, 5), "attention_mask": ids(1, 1, 1)}, "input_ids begin with [4, 262, 5]"),
    ("words_encode", {"input_ids": ids(4, 78, 5), "attention_mask": ids(1, 1)}, "takes one size"),
    ("words_encode", {"input_ids": ids(4, *[78] * 300, 5), "attention_mask": ids(*[1] * 302)}, "takes input_ids of shape"),
    ("digits_encode", {"pixel_values": np.zeros((1, 2, 28, 28), np.float32)}, "takes pixel_values of shape"),
    ("digits_encode", {"pixel_values": np.zeros((0, 3, 28, 28), np.float32)}, "takes pixel_values of shape"),
    ("digits_encode", {"pixel_values": nan_in(np.zeros((1, 3, 28, 28), np.float32))}, "holds NaN or infinity"),
    ("flow_encode", {"frames": FLOW["frames"][:, :, :1]}, "takes frames of shape"),
    ("flow_encode", {"frames": nan_in(FLOW["frames"])}, "holds NaN or infinity"),
]


@pytest.mark.parametrize("place", range(len(BAD)))
def test_refused(place: int, server: Server) -> None:
    model, inputs, message = BAD[place]
    reply = ask(server, model, **inputs)
    text = reply.json()["error"]
    assert (reply.status, message in text) == (400, True), text
    assert "Traceback" not in text


def test_the_last_position_is_answered(server: Server) -> None:
    assert ask(server, "words_decode", latents=LATENTS, query_positions=ids(0, 255)).status == 200


def test_an_index_that_only_the_engine_finds(shipped: Callable[..., Path]) -> None:
    """As of a model of one's own, whose manifest does not say how many there are."""
    with pr.load(shipped("fill-mask"), device="cpu", threads=1) as pipeline:
        pipeline.outputs("decode", {"latents": LATENTS, "query_positions": ids(255)})
        with pytest.raises(InputError, match=r"decode.* has no such index: .*idx=256"):
            pipeline.outputs("decode", {"latents": LATENTS, "query_positions": ids(256)})


def test_numbers_that_a_graph_cannot_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    """Finite ones, of which a graph in 16 bits makes infinity: the client's. (In float32 even 3e38 is answered.)"""
    queries = {"query_features": np.zeros((1, 1, 64), np.float32), "query_positions": np.zeros((1, 1, 2), np.float32)}
    inputs = {"latents": np.zeros((1, 32, 48), np.float32), **queries}

    def outputs(graph: str, inputs: object) -> None:
        raise NotFiniteError(f"{graph} gave NaN or infinity in its output flow")

    with pr.load(GOLDEN, device="cpu", threads=1) as flow:
        models = {model.name: model for model in served(open_bundle(GOLDEN), flow, "flow").models}
        assert set(models["flow_decode"].infer(inputs, ["flow"], {})) == {"flow"}
        monkeypatch.setattr(flow, "outputs", outputs)
        with pytest.raises(InputError, match="decode gave NaN or infinity in its output flow: give numbers as large as"):
            models["flow_decode"].infer(inputs, ["flow"], {})
