"""Model repositories against Triton's own schema and the graphs; the client where there is no server."""

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from forgery import edit_manifest

import perceiver_runtime as pr
from perceiver_runtime.bundle.reader import open_bundle
from perceiver_runtime.commands.main import main
from perceiver_runtime.serving.connecting import connect

pytest.importorskip("tritonclient.grpc", reason="tritonclient is not here")
TASKS = ["flow", "fill-mask", "image-classification", "multimodal", "features"]
TYPES = {onnx.TensorProto.FLOAT: "TYPE_FP32", onnx.TensorProto.INT64: "TYPE_INT64"}


def parsed(path: Path) -> Any:
    """A config.pbtxt by Triton's protobuf schema; a name that it does not have is an error there."""
    from google.protobuf import text_format
    from tritonclient.grpc import model_config_pb2

    return text_format.Parse(path.read_text(), model_config_pb2.ModelConfig())


@pytest.mark.parametrize("task", [*TASKS, "arrays"])
def test_configs_fit_schema_and_graphs(
    task: str, shipped: Callable[..., Path], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    from tritonclient.grpc import model_config_pb2

    bundle = request.getfixturevalue("occupancy") if task == "arrays" else shipped(task)
    command = ["triton", str(bundle), "-o", str(tmp_path / "models"), "--name", task]
    assert main([*command, "--instances", "2", "--max-batch", "4"]) == 0
    manifest = open_bundle(bundle).manifest
    for name, entry in manifest.graphs.items():
        folder = tmp_path / "models" / f"{task}_{name}"
        config = parsed(folder / "config.pbtxt")
        graph = onnx.load(folder / "1" / config.default_model_filename, load_external_data=False).graph
        assert (config.name, config.backend, config.max_batch_size) == (folder.name, "onnxruntime", 4)
        for values, tensors in ((graph.input, config.input), (graph.output, config.output)):
            assert [value.name for value in values] == [tensor.name for tensor in tensors]
            for value, tensor in zip(values, tensors):
                kind = value.type.tensor_type
                assert model_config_pb2.DataType.Name(tensor.data_type) == TYPES[kind.elem_type]
                sizes = [size.dim_value or -1 for size in kind.shape.dim]
                assert list(tensor.dims) == sizes[1:]
        assert config.instance_group[0].count == 2
        assert config.instance_group[0].kind == model_config_pb2.ModelInstanceGroup.KIND_CPU
        assert config.parameters["perceiver_bundle_1"].string_value == open_bundle(bundle).manifest_sha256
        (warm_up,) = config.model_warmup
        for spec in entry.inputs:
            given = warm_up.inputs[spec.name]
            dtype = np.dtype(spec.dtype)
            assert (folder / "warmup" / given.input_data_file).stat().st_size == np.prod(given.dims) * dtype.itemsize
        assert (folder / "1" / entry.file).read_bytes() == open_bundle(bundle).graphs[name].content
        weights = folder / "1" / "weights.safetensors"
        assert weights.read_bytes() == (bundle / "weights.safetensors").read_bytes()
        assert weights.samefile(tmp_path / "models" / f"{task}_encode" / "1" / "weights.safetensors")
        assert not weights.samefile(bundle / "weights.safetensors")  # that may be written into
        onnxruntime.InferenceSession(folder / "1" / entry.file)
    assert (tmp_path / "models" / task).exists() == (task in ("fill-mask", "image-classification", "arrays"))


def test_ensemble_and_labels(shipped: Callable[..., Path], tmp_path: Path) -> None:
    bundle = shipped("image-classification")
    assert main(["triton", str(bundle), "-o", str(tmp_path), "--name", "digits", "--copy"]) == 0
    config = parsed(tmp_path / "digits" / "config.pbtxt")
    weights = [tmp_path / f"digits_{graph}" / "1" / "weights.safetensors" for graph in ("encode", "decode")]
    assert not weights[0].samefile(weights[1])
    assert config.platform == "ensemble"
    assert [(step.model_name, step.model_version) for step in config.ensemble_scheduling.step] == [
        ("digits_encode", 1),
        ("digits_decode", 1),
    ]
    assert [tensor.name for tensor in config.input] == ["pixel_values"]
    assert config.output[0].label_filename == "labels.txt"
    assert (tmp_path / "digits" / "labels.txt").read_text().splitlines() == [str(digit) for digit in range(10)]
    assert (tmp_path / "digits" / "1").is_dir()
    files = sorted(path.name for path in (tmp_path / "digits_decode" / "1").iterdir())
    assert files == ["decode.onnx", "weights.safetensors"]
    assert not any(path.is_symlink() for path in tmp_path.rglob("*"))


def test_arrays_in_one_call(occupancy: Path, tmp_path: Path) -> None:
    """Inputs and queries, of any length, to outputs; on a GPU too."""
    command = ["triton", str(occupancy), "-o", str(tmp_path), "--name", "own", "--device", "cuda:1"]
    assert main(command) == 0
    config = parsed(tmp_path / "own" / "config.pbtxt")
    given = {tensor.name: list(tensor.dims) for tensor in config.input}
    assert given == {"points": [-1, 3], "mask": [-1], "positions": [-1, 3]}
    assert {tensor.name: list(tensor.dims) for tensor in config.output} == {"occupancy": [-1, 1]}
    decode = parsed(tmp_path / "own_decode" / "config.pbtxt")
    assert list(decode.instance_group[0].gpus) == [1]


@pytest.mark.parametrize(
    ("device", "gpu", "accelerator"), [("cuda", True, []), ("cuda:1", True, []), ("tensorrt:1", True, ["tensorrt"])]
)
def test_gpu_variants(device: str, gpu: bool, accelerator: list[str], shipped: Callable[..., Path], tmp_path: Path) -> None:
    from tritonclient.grpc import model_config_pb2

    assert main(["triton", str(shipped("flow")), "-o", str(tmp_path), "--name", "flow", "--device", device]) == 0
    config = parsed(tmp_path / "flow_decode" / "config.pbtxt")
    assert (config.instance_group[0].kind == model_config_pb2.ModelInstanceGroup.KIND_GPU) == gpu
    assert list(config.instance_group[0].gpus) == ([1] if ":1" in device else [])
    assert [each.name for each in config.optimization.execution_accelerators.gpu_execution_accelerator] == accelerator


def test_versions(shipped: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each call adds one; the config knows the bundles of those that are there, and keeps two running."""
    first, second = shipped("image-classification"), shipped("image-classification", precision="int8")
    command = ["-o", str(tmp_path), "--name", "digits"]
    assert main(["triton", str(first), *command]) == 0
    assert main(["triton", str(second), *command]) == 0
    config = parsed(tmp_path / "digits_encode" / "config.pbtxt")
    assert config.version_policy.latest.num_versions == 2
    assert {key: value.string_value for key, value in config.parameters.items()} == {
        "perceiver_bundle_1": open_bundle(first).manifest_sha256,
        "perceiver_bundle_2": open_bundle(second).manifest_sha256,
    }
    shutil.rmtree(tmp_path / "digits_encode" / "1")
    assert main(["triton", str(second), *command]) == 0
    kept = parsed(tmp_path / "digits_encode" / "config.pbtxt").parameters
    assert sorted(kept) == ["perceiver_bundle_2", "perceiver_bundle_3"]
    capsys.readouterr()
    assert main(["triton", str(second), *command, "--version", "2"]) == 1
    assert "has a version 2: give another --version, or remove it" in capsys.readouterr().err


def test_only_what_is_right_is_written(
    shipped: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = tmp_path / "bundle"
    shutil.copytree(shipped("image-classification"), bundle)
    weights = bytearray((bundle / "weights.safetensors").read_bytes())
    weights[-1] ^= 1
    (bundle / "weights.safetensors").write_bytes(weights)
    assert main(["triton", str(bundle), "-o", str(tmp_path / "models")]) == 4
    assert "weights.safetensors is damaged" in capsys.readouterr().err
    assert not (tmp_path / "models").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--name", "a/b"], "'a/b' is no name for a model"),
        (["--name", "../x"], "is no name for a model"),
        (["--device", "tensorrt", "--backend", "python"], "leave out --backend, or --device tensorrt"),
    ],
)
def test_usage(
    arguments: list[str], message: str, shipped: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["triton", str(shipped("flow")), "-o", str(tmp_path / "models"), *arguments]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "models").exists()


def test_no_server(small_bundle: Path) -> None:
    with pytest.raises(pr.BackendError, match=r"127.0.0.1:9 cannot be reached, nobody listens there: is the server up"):
        connect("127.0.0.1:9", bundle=small_bundle, timeout=2)
    with pytest.raises(pr.UsageError, match="timeout is 0: give seconds, more than 0"):
        connect("127.0.0.1:9", bundle=small_bundle, timeout=0)
    for odd in ("60", None, True):
        with pytest.raises(pr.InputError, match=f"timeout is {odd!r}: give seconds, a number"):
            connect("127.0.0.1:9", bundle=small_bundle, timeout=odd)  # type: ignore[arg-type]


def test_without_tritonclient(small_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tritonclient.grpc", None)
    with pytest.raises(pr.BackendError, match=r"pip install 'tritonclient\[grpc\]'"):
        connect("127.0.0.1:9", bundle=small_bundle)


def test_a_client_needs_no_weights(small_bundle: Path, tmp_path: Path) -> None:
    for name in ("manifest.json", "README.md"):
        shutil.copy(small_bundle / name, tmp_path / name)
    assert set(open_bundle(tmp_path, partial=True).present) == {"README.md"}
    with pytest.raises(pr.IntegrityError, match="is missing or cannot be read"):
        open_bundle(tmp_path)
    os.symlink("/etc/hostname", tmp_path / "encode.onnx")
    with pytest.raises(pr.IntegrityError, match=r"encode.onnx has \d+ bytes, the manifest says"):
        open_bundle(tmp_path, partial=True)


def test_a_copied_bundle_is_what_the_manifest_lists(tiny_bundle: Path, tmp_path: Path) -> None:
    bundle = Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))
    (bundle / "private.txt").write_text("not of the bundle")
    (bundle / "more").mkdir()
    (bundle / "link").symlink_to("/etc/hostname")
    assert main(["triton", str(bundle), "-o", str(tmp_path / "models"), "--backend", "python", "--copy"]) == 0
    copy = tmp_path / "models" / "bundle_encode" / "1" / "bundle"
    manifest = open_bundle(bundle).manifest
    assert {path.name for path in copy.iterdir()} == {"manifest.json", *(entry.path for entry in manifest.files)}
    assert open_bundle(copy).unlisted == ()
    assert not any(path.is_symlink() for path in copy.iterdir())


@pytest.mark.parametrize("names", [{"encode": "encode", "decode": "decode_all"}, {"encode": "encode"}])
@pytest.mark.parametrize("backend", ["onnxruntime", "python"])
def test_graphs_of_bfloat16_are_those_of_the_task(
    backend: str, names: dict[str, str], tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No CPU runs them, so no pipeline is opened, and yet what a pipeline checks is."""
    bundle = Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))
    graphs = open_bundle(bundle).manifest.graphs
    edit_manifest(bundle, precision="bf16", graphs={new: graphs[old] for old, new in names.items()})
    command = ["triton", str(bundle), "-o", str(tmp_path / "models"), "--device", "cuda", "--backend", backend]
    assert main(command) == 4
    assert "a flow bundle has the graphs encode, decode, this one encode" in capsys.readouterr().err
    assert not (tmp_path / "models").exists()
    edit_manifest(bundle, graphs=graphs)
    assert main(command) == 0
