"""Building engines: with TensorRT-RTX for real, and every name of TensorRT's that our code uses looked up in three versions."""

import ast
import json
import signal
import threading
from pathlib import Path
from typing import Any

import fake_gpu
import pytest
from rtx import tensorrt_rtx

import perceiver_runtime as pr
from perceiver_deploy import export_bundle
from perceiver_runtime.backends.tensorrt import library
from perceiver_runtime.backends.tensorrt.builder import BuildOptions, ProfileRange, build, spans
from perceiver_runtime.bundle.manifest import Range
from perceiver_runtime.bundle.reader import own_graph
from perceiver_runtime.commands.main import main

SOURCES = sorted((Path(pr.__file__).parent / "backends" / "tensorrt").glob("*.py"))
API = {path.stem: json.loads(path.read_text()) for path in sorted((Path(__file__).parent / "data/tensorrt_api").glob("*.json"))}
CLASSES = {
    "builder": "Builder",
    "network": "INetworkDefinition",
    "parser": "OnnxParser",
    "config": "IBuilderConfig",
    "profile": "IOptimizationProfile",
    "error": "ParserError",
    "flags": "NetworkDefinitionCreationFlag",
    "runtime": "Runtime",
    "engine": "ICudaEngine",
    "context": "IExecutionContext",
    "timings": "ITimingCache",
}
FOR_RTX = {"ComputeCapability", "num_compute_capabilities", "set_compute_capability", "create_runtime_config"}
OF_PYTHON = {"__version__", "__name__", "__init__", "__members__"}


def names_used(source: str) -> set[tuple[str, ...]]:
    """(name,) of the module, and (class, member) of its classes, that a source file uses."""
    found: set[tuple[str, ...]] = set()
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Attribute) or node.attr in OF_PYTHON | FOR_RTX:
            continue
        owner = node.value
        if isinstance(owner, ast.Name) and owner.id == "trt":
            found.add((node.attr,))
        elif isinstance(owner, ast.Name) and owner.id in CLASSES:
            found.add((CLASSES[owner.id], node.attr))
        elif isinstance(owner, ast.Attribute) and owner.attr.lstrip("_") in CLASSES and owner.attr.startswith("_"):
            found.add((CLASSES[owner.attr.lstrip("_")], node.attr))  # self._engine.…
        elif isinstance(owner, ast.Attribute) and isinstance(owner.value, ast.Name) and owner.value.id == "trt":
            found.add((owner.attr, node.attr))
    return found


def missing(used: set[tuple[str, ...]], api: dict[str, Any]) -> set[tuple[str, ...]]:
    """Which of them a version lacks."""
    members = {name: set(each) for name, each in api["classes"].items()} | {
        name: set(each) for name, each in api["enums"].items()
    }
    members |= {name: set() for name in api["functions"]}
    return {each for each in used if each[0] not in members or (len(each) > 1 and each[1] not in members[each[0]])}


@pytest.mark.parametrize("version", API)
def test_every_name_exists(version: str) -> None:
    used = set().union(*(names_used(path.read_text(encoding="utf-8")) for path in SOURCES))
    assert {("Builder",), ("OnnxParser", "parse"), ("IBuilderConfig", "add_optimization_profile")} <= used
    assert {
        ("Runtime", "deserialize_cuda_engine"),
        ("IExecutionContext", "execute_async_v3"),
        ("ITimingCache", "serialize"),
    } <= used
    assert not missing(used, API[version])


@pytest.mark.parametrize("version", API)
def test_the_stand_in_has_real_names_only(version: str) -> None:
    classes = {
        "Builder": fake_gpu.Builder,
        "IBuilderConfig": fake_gpu.IBuilderConfig,
        "IOptimizationProfile": fake_gpu.IOptimizationProfile,
        "Runtime": fake_gpu.Runtime,
        "ICudaEngine": fake_gpu.ICudaEngine,
        "IExecutionContext": fake_gpu.IExecutionContext,
    }
    used = {(name, member) for name, kind in classes.items() for member in vars(kind) if not member.startswith("_")}
    assert len(used) > 20
    assert not missing(used, API[version])


def test_a_wrong_name_is_found() -> None:
    used = names_used("trt.Bilder(log); config.set_memory_pool_limit(1); parser.parse_file('x'); trt.BuilderFlag.FP61")
    assert missing(used, API["tensorrt-10.3.0"]) == {("Bilder",), ("OnnxParser", "parse_file"), ("BuilderFlag", "FP61")}


def test_tensorrt_is_imported_in_one_place() -> None:
    runtime = Path(pr.__file__).parent
    sources = [path for path in runtime.rglob("*.py") if "import_module(name)" in path.read_text(encoding="utf-8")]
    importing = {path.relative_to(runtime).as_posix() for path in sources}
    assert importing == {"backends/tensorrt/library.py", "ray/library.py"}  # the second is Ray's, and names no TensorRT
    assert "tensorrt" not in (runtime / "ray/library.py").read_text(encoding="utf-8").lower()
    for path in runtime.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            assert not any(name.startswith("tensorrt") for name in names), path


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("tensorrt") / "digits"
    export_bundle(task="image-classification", output=output, target="tensorrt", precision="fp16")
    return output


def test_the_command(digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """With two optimization profiles in each engine, which the real builder takes."""
    tensorrt_rtx()
    arguments = ["build", str(digits), "-o", str(tmp_path / "engines"), "--gpu", "SM86", "--json"]
    assert main([*arguments, "--profile", "B=1:1:1", "--profile", "B=2:2:4"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert sorted(path.name for path in (tmp_path / "engines").iterdir()) == ["decode.engine", "encode.engine", "engines.json"]
    assert [Path(each["path"]).stat().st_size for each in found["engines"]] == [each["bytes"] for each in found["engines"]]
    assert [[span["B"]["max"] for span in each["profiles"]] for each in found["engines"]] == [[1, 4], [1, 4]]


def test_inspect_says_what_to_expect(digits: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = json.loads((digits / "manifest.json").read_text(encoding="utf-8"))
    plans = [plan for graph in manifest["choices"]["attention"].values() for plan in graph]
    scores = max(plan["score_bytes"] for plan in plans if not plan["fuses"])
    files = sum(entry["size"] for entry in manifest["files"])
    assert main(["inspect", str(digits)]) == 0
    text = capsys.readouterr().out
    assert f"{sum(plan['fuses'] for plan in plans)} of {len(plans)} should be one kernel; " in text
    assert f"matrix {scores / 1e6:.0f} MB, budget 537" in text
    assert f"memory on a GPU about {(files + 2 * scores) / 1e6:.0f} MB" in text


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--gpu", "SM1"], 2, "unknown GPU model 'SM1'; this TensorRT has"),
        (["--profile", "Q=1:1:1"], 2, "the bundle has no size 'Q': it has B, H, W"),
        (["--profile", "B=1:9:9"], 2, "B=1:9:9 should rise within 1 to 8"),
        (["--profile", "B=2:1:3"], 2, "B=2:1:3 should rise within 1 to 8"),
    ],
)
def test_refusals(
    options: list[str], code: int, message: str, digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tensorrt_rtx()
    assert main(["build", str(digits), "-o", str(tmp_path / "engines"), *options]) == code
    assert message in capsys.readouterr().err
    assert not list(tmp_path.rglob("*.engine*"))


def test_a_bundle_for_onnx_runtime_is_refused(small_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["build", str(small_bundle), "-o", str(tmp_path)]) == 2
    assert "export it again with --target tensorrt" in capsys.readouterr().err


def test_without_tensorrt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "NAMES", ("a_module_that_is_not_here",))
    with pytest.raises(pr.BackendError, match=r"TensorRT is not here: on a Jetson use JetPack's own.*pip install tensorrt"):
        library.tensorrt()


def test_ctrl_c_stops_a_build(digits: Path) -> None:
    trt = tensorrt_rtx()
    manifest = pr.load(digits, device="cpu").manifest
    entry = manifest.graphs["encode"]
    phases: list[str] = []

    def interrupt(phase: str) -> None:
        phases.append(phase)
        if len(phases) == 1:
            signal.raise_signal(signal.SIGINT)

    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        build(
            trt,
            *own_graph(digits / entry.file),
            entry,
            spans(manifest.ranges, {}),
            BuildOptions(compute_capabilities=("SM86",)),
            interrupt,
        )
    assert phases
    assert signal.getsignal(signal.SIGINT) is handler


def test_errors_name_the_node(digits: Path, tmp_path: Path) -> None:
    import onnx

    trt = tensorrt_rtx()
    manifest = pr.load(digits, device="cpu").manifest
    model = onnx.load(digits / "decode.onnx")
    next(node for node in model.graph.node if node.op_type == "Softmax").op_type = "Sofftmax"
    onnx.save(model, tmp_path / "wrong.onnx")
    with pytest.raises(pr.BackendError, match=r"cannot read wrong\.onnx: .*Sofftmax"):
        build(
            trt,
            *own_graph(tmp_path / "wrong.onnx"),
            manifest.graphs["decode"],
            spans(manifest.ranges, {}),
            BuildOptions(),
            print,
        )


def test_builds_in_a_thread(digits: Path) -> None:
    trt = tensorrt_rtx()
    manifest = pr.load(digits, device="cpu").manifest
    entry, plans = manifest.graphs["decode"], []
    sizes = spans(manifest.ranges, {"B": ProfileRange(1, 1, 1)})

    def work() -> None:
        plans.append(
            build(
                trt,
                *own_graph(digits / entry.file),
                entry,
                sizes,
                BuildOptions(compute_capabilities=("SM89",)),
                lambda phase: None,
            )
        )

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert plans


def test_spans() -> None:
    ranges = {"H": Range(16, 368), "B": Range(1, 8)}
    usual, narrow = {"H": ProfileRange(16, 368, 368), "B": ProfileRange(1, 8, 8)}, {"H": ProfileRange(16, 100, 200)}
    assert spans(ranges) == spans(ranges, {}) == (usual,)
    assert spans(ranges, narrow, {}) == (usual | narrow, usual)
