"""A repository whose versions stay what their hashes say, and a configuration that is kept."""

import json
import re
import shutil
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from forgery import edit_manifest, reseal
from test_pbtxt import protobuf

import perceiver_runtime as pr
from perceiver_runtime.bundle.reader import open_bundle
from perceiver_runtime.commands.main import main
from perceiver_runtime.serving.python_model import TritonPythonModel

pytest.importorskip("tritonclient.grpc", reason="tritonclient is not here")
GOLDEN = Path(__file__).parent / "data" / "golden-1.0" / "flow"


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return Path(shutil.copytree(GOLDEN, tmp_path / "flow"))


def triton(*arguments: object) -> int:
    return main(["triton", *map(str, arguments)])


def config(repository: Path, model: str) -> Any:
    return protobuf((repository / model / "config.pbtxt").read_text())


def replace_bundle(bundle: Path) -> str:
    """Another bundle of the same models in its place; the old one's sha256."""
    old = open_bundle(bundle).manifest_sha256
    reseal(bundle, "README.md", b"another export")
    return old


@pytest.mark.parametrize("backend", ["python", "onnxruntime"])
def test_a_version_stays_what_it_is(backend: str, bundle: Path, tmp_path: Path) -> None:
    """Though the bundle it was made of is replaced, and its weights are written into."""
    models = tmp_path / "models"
    assert triton(bundle, "-o", models, "--backend", backend) == 0
    folder = models / "flow_encode" / "1"
    before = {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    old = replace_bundle(bundle)
    with (bundle / "weights.safetensors").open("r+b") as file:
        file.seek(-4, 2)
        file.write(b"\xff\xff\xff\x7f")
    assert {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    if backend == "python":
        assert open_bundle(folder / "bundle").manifest_sha256 == old
    weights = {path.stat().st_ino for path in models.rglob("weights.safetensors")}
    assert len(weights) == 1  # one copy for all models
    assert not any(path.is_symlink() for path in models.rglob("*"))


def opened(repository: Path, model: str, version: int) -> TritonPythonModel:
    """As Triton's worker does."""
    parameters = {key: {"string_value": value.string_value} for key, value in config(repository, model).parameters.items()}
    served = TritonPythonModel()
    arguments = {"model_repository": str(repository / model), "model_version": str(version)}
    served.initialize({**arguments, "model_config": json.dumps({"parameters": parameters})})
    return served


def test_the_python_backend_loads_the_bundle_that_is_named(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "triton_python_backend_utils", types.ModuleType("stand-in"))
    models = tmp_path / "models"
    assert triton(bundle, "-o", models, "--backend", "python", "--threads", "1") == 0
    opened(models, "flow_encode", 1).finalize()
    replace_bundle(bundle)
    shutil.rmtree(models / "flow_encode" / "1" / "bundle")
    shutil.copytree(bundle, models / "flow_encode" / "1" / "bundle")
    with pytest.raises(
        pr.IntegrityError, match=r"version 1 has the bundle .*…, and config.pbtxt names .*…: remove the version"
    ):
        opened(models, "flow_encode", 1)
    text = (models / "flow_encode" / "config.pbtxt").read_text()
    (models / "flow_encode" / "config.pbtxt").write_text(text.replace("perceiver_bundle_1", "other"))
    with pytest.raises(pr.IntegrityError, match=r"config.pbtxt names none"):
        opened(models, "flow_encode", 1)


def test_running_a_version_does_not_change_it(bundle: Path, tmp_path: Path) -> None:
    """Python keeps what it compiled beside a module; here it cannot."""
    import importlib.util

    models = tmp_path / "models"
    assert triton(bundle, "-o", models, "--backend", "python") == 0
    file = models / "flow_encode" / "1" / "model.py"
    other = Path(shutil.copy(file, tmp_path / "model.py"))
    before = sorted((path.name, path.stat().st_mtime_ns) for path in [file.parent, *file.parent.rglob("*")])
    for path in (file, other):
        spec = importlib.util.spec_from_file_location("model", path)
        assert spec is not None
        assert spec.loader is not None
        module, search = importlib.util.module_from_spec(spec), list(sys.path)
        spec.loader.exec_module(module)
        sys.path[:] = search
        assert module.TritonPythonModel is TritonPythonModel
    assert sorted((path.name, path.stat().st_mtime_ns) for path in [file.parent, *file.parent.rglob("*")]) == before
    assert (other.parent / "__pycache__").is_dir() != sys.dont_write_bytecode  # without that file it does


FIRST = ["--threads", "2", "--instances", "3", "--max-batch", "1", "--queue-size", "7", "--queue-timeout", "2.5"]


@pytest.mark.parametrize("backend", ["python", "onnxruntime"])
def test_what_was_set_is_kept(backend: str, bundle: Path, tmp_path: Path) -> None:
    models = tmp_path / "models"
    assert triton(bundle, "-o", models, "--backend", backend, *FIRST) == 0
    path = models / "flow_decode" / "config.pbtxt"
    path.write_text(
        "# ours\n" + path.read_text().replace("max_queue_delay_microseconds: 500", "max_queue_delay_microseconds: 9")
    )
    before = path.read_text()
    first, second = replace_bundle(bundle), open_bundle(bundle).manifest_sha256
    assert triton(bundle, "-o", models) == 0
    line = f'parameters {{ key: "perceiver_bundle_2" value {{ string_value: "{second}" }} }}\n'
    assert path.read_text() == before + line
    found = config(models, "flow_decode")
    policy = found.dynamic_batching.default_queue_policy
    assert (policy.max_queue_size, policy.default_timeout_microseconds) == (7, 2_500_000)
    assert (policy.timeout_action, policy.allow_timeout_override) == (policy.REJECT, True)
    assert (found.instance_group[0].count, found.max_batch_size, found.backend) == (3, 1, backend)
    assert found.parameters["perceiver_bundle_1"].string_value == first
    assert triton(bundle, "-o", models, "--instances", "2", "--queue-size", "0", "--threads", "1") == 0
    changed = config(models, "flow_decode")
    assert (changed.instance_group[0].count, changed.dynamic_batching.max_queue_delay_microseconds) == (2, 9)
    assert changed.dynamic_batching.default_queue_policy.max_queue_size == 0
    assert changed.dynamic_batching.default_queue_policy.default_timeout_microseconds == 2_500_000
    assert path.read_text().startswith("# ours\n")
    threads = {key: value.string_value for key, value in changed.parameters.items() if "thread" in key}
    assert threads == {"perceiver_threads" if backend == "python" else "intra_op_thread_count": "1"}


def test_limits_of_queues_that_are_usual(bundle: Path, tmp_path: Path) -> None:
    assert triton(bundle, "-o", tmp_path / "models") == 0
    policy = config(tmp_path / "models", "flow_encode").dynamic_batching.default_queue_policy
    assert (policy.max_queue_size, policy.default_timeout_microseconds) == (256, 60_000_000)


def test_another_device(bundle: Path, tmp_path: Path) -> None:
    models = tmp_path / "models"
    assert triton(bundle, "-o", models, "--instances", "4") == 0
    assert triton(bundle, "-o", models, "--device", "tensorrt:1") == 0
    found = config(models, "flow_encode")
    assert (found.instance_group[0].count, list(found.instance_group[0].gpus)) == (4, [1])
    assert found.optimization.execution_accelerators.gpu_execution_accelerator[0].name == "tensorrt"
    assert triton(bundle, "-o", models, "--device", "cuda") == 0
    found = config(models, "flow_encode")
    assert found.instance_group[0].kind == found.instance_group[0].KIND_GPU
    assert not found.HasField("optimization")
    before = (models / "flow_encode" / "config.pbtxt").read_text()
    assert triton(bundle, "-o", models) == 0
    assert (models / "flow_encode" / "config.pbtxt").read_text().startswith(before)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (
            ('"flow" data_type: TYPE_FP32 dims: [-1, 2]', '"flow" data_type: TYPE_FP32 dims: [-1, 12]'),
            r"has output flow TYPE_FP32 \[-1, 12\], and this bundle output flow TYPE_FP32 \[-1, 2\]",
        ),
        (('name: "latents"', 'name: "latent"'), "has input latent.*, and this bundle input latents"),
        (("TYPE_FP32", "TYPE_FP16"), r"TYPE_FP16 .*, and this bundle .* TYPE_FP32"),
        (("onnxruntime", "openvino"), "has the backend openvino, and this bundle the backend onnxruntime"),
        (
            ("max_batch_size: 1", "max_batch_size: 64"),
            r"takes 64 inputs at once and this bundle \d+: add --max-batch \d+, which holds",
        ),
        (("max_batch_size: 1", "max_batch_size 1"), r"config.pbtxt: line 4 is not in protobuf's text format"),
    ],
)
def test_bundles_that_cannot_share_a_name(
    edit: tuple[str, str], message: str, bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    models = tmp_path / "models"
    assert triton(bundle, "-o", models, "--max-batch", "1") == 0
    path = models / "flow_decode" / "config.pbtxt"
    text = path.read_text().replace(*edit)
    assert text != path.read_text()
    path.write_text(text)
    before = sorted(models.rglob("*"))
    capsys.readouterr()
    assert triton(bundle, "-o", models) == 1
    error = capsys.readouterr().err
    assert re.search(message, error), error
    assert error.count("\n") == 1
    assert sorted(models.rglob("*")) == before
    assert path.read_text() == text


def test_another_backend_under_the_name(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert triton(bundle, "-o", tmp_path / "models") == 0
    assert triton(bundle, "-o", tmp_path / "models", "--backend", "python") == 1
    assert "has the backend onnxruntime, and this bundle the backend python" in capsys.readouterr().err
    assert triton(bundle, "-o", tmp_path / "models", "--backend", "python", "--name", "flow_python") == 0


def test_digits_under_the_name_of_flow(
    bundle: Path, shipped: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    digits, models = shipped("image-classification"), tmp_path / "models"
    assert triton(bundle, "-o", models, "--name", "one") == 0
    assert triton(digits, "-o", models, "--name", "one") == 1
    assert "so give this bundle another name (--name)" in capsys.readouterr().err
    assert [path.name for path in sorted(models.iterdir())] == ["one_decode", "one_encode"]


def test_an_ensemble_keeps_to_its_version(shipped: Callable[..., Path], tmp_path: Path) -> None:
    digits, models = Path(shutil.copytree(shipped("image-classification"), tmp_path / "digits")), tmp_path / "models"
    assert triton(digits, "-o", models) == 0
    first = (models / "digits_v1" / "config.pbtxt").read_text()
    replace_bundle(digits)
    assert triton(digits, "-o", models) == 0
    assert (models / "digits_v1" / "config.pbtxt").read_text() == first
    for model, version in (("digits", 2), ("digits_v1", 1), ("digits_v2", 2)):
        found = config(models, model)
        assert [step.model_version for step in found.ensemble_scheduling.step] == [version, version]
        assert list(found.version_policy.specific.versions) == [version]
        assert (models / model / str(version)).is_dir()
    assert triton("-o", models, "--remove", "2", "--name", "digits") == 0
    found = config(models, "digits")
    assert [step.model_version for step in found.ensemble_scheduling.step] == [1, 1]
    assert list(found.version_policy.specific.versions) == [1]
    assert not (models / "digits_v2").exists()


def test_other_names_of_answers(shipped: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Triton has one file of them for all versions."""
    digits = Path(shutil.copytree(shipped("image-classification"), tmp_path / "digits"))
    assert triton(digits, "-o", tmp_path / "models") == 0
    reseal(digits, "labels.json", json.dumps([f"digit {number}" for number in range(10)]).encode())
    assert triton(digits, "-o", tmp_path / "models") == 1
    assert "has other names of answers, and this bundle its own" in capsys.readouterr().err


def test_list_and_remove(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    models = tmp_path / "models"
    assert triton(bundle, "-o", models) == 0
    assert triton(bundle, "-o", models, "--name", "flow_small") == 0
    first, second = replace_bundle(bundle), open_bundle(bundle).manifest_sha256
    assert triton(bundle, "-o", models) == 0
    capsys.readouterr()
    assert triton("-o", models, "--list") == 0
    assert capsys.readouterr().out.splitlines() == [
        f"flow 1  {first}  flow_decode, flow_encode",
        f"flow 2  {second}  flow_decode, flow_encode",
        f"flow_small 1  {first}  flow_small_decode, flow_small_encode",
    ]
    assert triton("-o", models, "--remove", "1", "--name", "flow") == 0
    out = capsys.readouterr().out
    assert out.startswith("removed version 1 of flow_decode, flow_encode\n")
    assert "models/flow_encode/load" in out
    assert sorted(path.name for path in (models / "flow_encode").iterdir()) == ["2", "config.pbtxt", "warmup"]
    assert list(config(models, "flow_encode").parameters) == ["perceiver_bundle_2"]
    assert (models / "flow_small_encode" / "1").is_dir()
    assert triton("-o", models, "--remove", "2", "--name", "flow") == 0
    assert "models/flow_encode/unload" in capsys.readouterr().out
    assert sorted(path.name for path in models.iterdir()) == ["flow_small_decode", "flow_small_encode"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--list"], "there is no repository at "),
        (["--remove", "1"], "--remove is of the models of one name: add --name"),
        (["--remove", "1", "--name", "flow"], "there is no repository at "),
        (["BUNDLE", "--list"], "leave out the bundle"),
        ([], "give a bundle, a folder made by perceiver-export; or --list, or --remove"),
    ],
)
def test_usage(arguments: list[str], message: str, bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = [str(bundle) if each == "BUNDLE" else each for each in arguments]
    assert triton("-o", tmp_path / "models", *given) in (1, 2)
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--queue-size", "-1"], "give a number of requests, or 0 for no limit"),
        (["--queue-size", str(1 << 32)], "give a number of requests, or 0 for no limit"),
        (["--queue-timeout", "nan"], "give seconds, or 0 for no limit"),
    ],
)
def test_limits_that_are_none(
    arguments: list[str], message: str, bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as refused:
        triton(bundle, "-o", tmp_path / "models", *arguments)
    assert refused.value.code == 2
    assert message in capsys.readouterr().err


def test_a_version_that_is_not_there(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert triton(bundle, "-o", tmp_path / "models") == 0
    edit_manifest(bundle)
    assert triton("-o", tmp_path / "models", "--remove", "3", "--name", "flow") == 1
    assert "has no version 3 of flow, its versions: 1" in capsys.readouterr().err
