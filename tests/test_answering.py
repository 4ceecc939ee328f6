"""Answers to texts and contents of files, of every task: those of the pipeline for the same input."""

import io
import wave
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from shipped_tasks import TASKS

import perceiver_runtime as pr
from perceiver_runtime.commands.main import main
from perceiver_runtime.common.errors import InputError
from perceiver_runtime.common.plain import plain
from perceiver_runtime.processing.text import from_bytes
from perceiver_runtime.serving.answering import Answering, answer_specs, json_bytes
from perceiver_runtime.tasks.known_answer import FILE, Sample
from perceiver_runtime.tasks.loading import load
from perceiver_runtime.tasks.registry import BUILT_IN

GOLDEN = Path(__file__).parent / "data" / "golden-1.0" / "flow"


def file_of(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


@pytest.mark.parametrize("task", TASKS)
def test_every_task_s_sample(task: str, shipped: Callable[..., Path]) -> None:
    bundle = shipped(task)
    with load(bundle, device="cpu", threads=1) as pipeline:
        answering = Answering(pipeline)
        inputs = Sample.read(bundle / FILE).inputs
        row = {
            spec.name: from_bytes(inputs[spec.name]) if answering.is_text(spec.name) else file_of(inputs[spec.name])
            for spec in answering.inputs
            if not answering.is_text(spec.name) or spec.name in inputs
        }
        if "audio" in row:  # a WAV file has its rate
            samples = np.rint(np.clip(inputs["audio"], -1, 1) * 32767) / 32767
            row["audio"] = wav(samples, pipeline.manifest.processor["sampling_rate"])
        (found,) = answering.answers([row], {})
        kind = BUILT_IN[task].kind(pipeline.manifest)
        options = answering.options({})
        (expected,) = BUILT_IN[task].answer(pipeline, [kind.from_sample(inputs)], options)
        assert json_bytes(found).startswith(b"{")
        if "audio" not in row:
            assert plain(found) == plain(expected)
        else:  # 16 bits of sound
            assert [each.label for each in found] == [each.label for each in expected]
        for name, array in answering.arrays(found).items():
            np.testing.assert_array_equal(array, np.asarray(expected))
            rank = next(len(spec.shape) for spec in answering.outputs if spec.name == name)
            assert array.ndim == rank - 1


def wav(samples: np.ndarray, rate: int) -> bytes:
    stream = io.BytesIO()
    with wave.open(stream, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((samples.reshape(-1) * 32767).astype("<i2").tobytes())
    return stream.getvalue()


def test_a_name_of_a_file_is_never_opened(tmp_path: Path) -> None:
    secret = tmp_path / "secret.npy"
    np.save(secret, np.zeros((40, 56, 3), np.uint8))
    with pr.load(GOLDEN, device="cpu", threads=1) as flow:
        answering = Answering(flow)
        with pytest.raises(InputError, match="frame1 should be the content of a file, found a text"):
            answering.answers([{"frame1": str(secret), "frame2": str(secret)}], {})
        with pytest.raises(InputError, match="frame1 is not an image"):
            answering.answers([{"frame1": str(secret).encode(), "frame2": secret.read_bytes()}], {})
        (found,) = answering.answers([{"frame1": secret.read_bytes(), "frame2": secret.read_bytes()}], {})
        assert found.shape == (40, 56, 2)
        small = Answering(flow, max_item_bytes=10_000)
        with pytest.raises(InputError, match="an input has 13440 bytes once it is decoded, 10000 are allowed"):
            small.answers([{"frame1": secret.read_bytes(), "frame2": secret.read_bytes()}], {})


def test_what_is_wrong_with_one_of_several_is_said_of_it() -> None:
    frame = file_of(np.zeros((40, 56, 3), np.uint8))
    with pr.load(GOLDEN, device="cpu", threads=1) as flow, pytest.raises(InputError, match=r"item 2 of 2: frame2 is not"):
        Answering(flow).answers([{"frame1": frame, "frame2": frame}, {"frame1": frame, "frame2": b"?"}], {})


def test_specs_need_no_pipeline() -> None:
    with pr.load(GOLDEN, device="cpu", threads=1) as flow:
        answering = Answering(flow)
        assert answer_specs(flow.manifest) == (answering.inputs, answering.outputs)


def test_a_model_for_triton(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Beside graphs for Triton's ONNX Runtime backend; by Triton's own schema."""
    text_format = pytest.importorskip("google.protobuf.text_format", reason="protobuf comes with tritonclient")
    schema = pytest.importorskip("tritonclient.grpc.model_config_pb2", reason="tritonclient is not here")
    command = ["triton", str(GOLDEN), "-o", str(tmp_path), "--name", "flow", "--with-processing"]
    assert main([*command, "--copy", "--threads", "2"]) == 0
    config = text_format.Parse((tmp_path / "flow_answer" / "config.pbtxt").read_text(), schema.ModelConfig())
    assert (config.backend, config.max_batch_size) == ("python", 8)
    assert [(each.name, each.data_type, list(each.dims)) for each in config.input] == [
        ("frame1", schema.TYPE_STRING, [1]),
        ("frame2", schema.TYPE_STRING, [1]),
    ]
    assert [(each.name, list(each.dims)) for each in config.output] == [("answer", [1]), ("flow", [-1, -1, 2])]
    assert config.parameters["perceiver_threads"].string_value == "2"
    assert (tmp_path / "flow_answer" / "1" / "bundle" / "manifest.json").is_file()
    graph = text_format.Parse((tmp_path / "flow_encode" / "config.pbtxt").read_text(), schema.ModelConfig())
    assert graph.backend == "onnxruntime"
    assert main([*command, "--device", "tensorrt"]) == 2
    assert "--with-processing runs pipelines with ONNX Runtime: use --device cuda" in capsys.readouterr().err
