"""Hostile graphs in bundles whose every sum is right: refused before ONNX Runtime sees them."""

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper
from published import edit_manifest

from perceiver_runtime import IntegrityError
from perceiver_runtime.bundle import file_sha256, open_bundle
from perceiver_runtime.graph_check import GraphCheck
from perceiver_runtime.manifest import FileEntry, Manifest


@pytest.fixture
def bundle(tiny_bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))


def forge(bundle: Path, change: Callable[[onnx.ModelProto], object]) -> None:
    """Change decode.onnx and make every sum in the manifest fit again."""
    path = bundle / "decode.onnx"
    model = onnx.load(path, load_external_data=False)
    change(model)
    path.write_bytes(model.SerializeToString())
    files = Manifest.from_json((bundle / "manifest.json").read_bytes()).files
    resealed = FileEntry(path.name, *file_sha256(path))
    edit_manifest(bundle, files=tuple(resealed if entry.path == path.name else entry for entry in files))


def external(location: str, offset: str = "0", length: str = "4", **more: str) -> TensorProto:
    tensor = TensorProto(name="evil", dims=[1], data_type=TensorProto.FLOAT, data_location=TensorProto.EXTERNAL)
    for key, value in {"location": location, "offset": offset, "length": length, **more}.items():
        tensor.external_data.add(key=key, value=value)
    return tensor


def constant(**attribute: object) -> onnx.NodeProto:
    return helper.make_node("Constant", [], ["evil"], **attribute)


def sized(*dims: int) -> TensorProto:
    tensor = external(WEIGHTS)
    tensor.dims[:] = dims
    return tensor


def typed(number: int) -> TensorProto:
    tensor = external(WEIGHTS)
    tensor.data_type = number
    return tensor


def subgraph(inner: onnx.NodeProto) -> onnx.NodeProto:
    return helper.make_node("If", ["c"], ["x"], then_branch=helper.make_graph([inner], "g", [], []))


def sparse(values: TensorProto) -> onnx.SparseTensorProto:
    indices = helper.make_tensor("i", TensorProto.INT64, [1], [0])
    return onnx.SparseTensorProto(values=values, indices=indices, dims=[4])


WEIGHTS = "weights.safetensors"
NOT_WEIGHTS = "which is not the bundle's weights file"
ATTACKS: dict[str, tuple[Callable[[onnx.ModelProto], object], str]] = {
    "absolute": (lambda m: m.graph.initializer.append(external("/etc/passwd")), NOT_WEIGHTS),
    "parent": (lambda m: m.graph.initializer.append(external("../secret")), NOT_WEIGHTS),
    "dot": (lambda m: m.graph.initializer.append(external(f"./{WEIGHTS}")), NOT_WEIGHTS),
    "empty": (lambda m: m.graph.initializer.append(external("")), NOT_WEIGHTS),
    "other file": (lambda m: m.graph.initializer.append(external("sample.npz")), NOT_WEIGHTS),
    "in an attribute": (lambda m: m.graph.node.append(constant(value=external("/etc/passwd"))), NOT_WEIGHTS),
    "in a list": (lambda m: m.graph.node.append(constant(values=[external("/etc/passwd")])), NOT_WEIGHTS),
    "sparse": (lambda m: m.graph.sparse_initializer.append(sparse(external("/x"))), NOT_WEIGHTS),
    "sparse attribute": (lambda m: m.graph.node.append(constant(sparse_value=sparse(external("/x")))), NOT_WEIGHTS),
    "beyond the end": (lambda m: m.graph.initializer.append(external(WEIGHTS, "0", str(10**12))), "beyond its end"),
    "offset beyond": (lambda m: m.graph.initializer.append(external(WEIGHTS, str(10**17))), "beyond its end"),
    "negative": (lambda m: m.graph.initializer.append(external(WEIGHTS, "-8")), "'-8', which is no position"),
    "not a number": (lambda m: m.graph.initializer.append(external(WEIGHTS, "0x8")), "'0x8', which is no position"),
    "huge number": (lambda m: m.graph.initializer.append(external(WEIGHTS, "9" * 40)), "which is no position"),
    "surplus key": (lambda m: m.graph.initializer.append(external(WEIGHTS, basepath="/etc")), "described by .*basepath"),
    "foreign domain": (lambda m: m.graph.node.append(helper.make_node("X", [], [], domain="evil")), "of the domain 'evil'"),
    "foreign opset": (lambda m: m.opset_import.append(helper.make_opsetid("evil", 1)), "of the domain 'evil'"),
    "engine": (
        lambda m: m.graph.node.append(helper.make_node("EPContext", [], [], domain="com.microsoft", ep_cache_context="/x")),
        "uses the operator com.microsoft::EPContext",
    ),
    "local function": (
        lambda m: m.functions.append(helper.make_function("evil", "f", [], [], [], [helper.make_opsetid("", 18)])),
        "has the field 25 in a model",
    ),
    "training": (lambda m: m.training_info.add(), "has the field 20 in a model"),
    "subgraph": (lambda m: m.graph.node.append(subgraph(constant(value_int=1))), "has the field 6 in a attribute"),
    "endless": (lambda m: m.graph.node.append(helper.make_node("Loop", [], [])), "uses the operator ai.onnx::Loop"),
    "terabytes": (lambda m: m.graph.node.append(helper.make_node("ConstantOfShape", ["x"], ["y"])), "::ConstantOfShape"),
    "chance": (lambda m: m.graph.node.append(helper.make_node("RandomNormal", [], ["y"])), "::RandomNormal"),
    "claims more": (lambda m: m.graph.initializer.append(external(WEIGHTS, length="8")), "takes 8 bytes for 1 values"),
    "huge shape": (lambda m: m.graph.initializer.append(sized(10**6, 10**6)), "takes 4 bytes for 1000000000000 values"),
    "no such type": (lambda m: m.graph.initializer.append(typed(8)), "element type 8"),
    "renamed output": (lambda m: setattr(m.graph.output[0], "name", "other"), "has other outputs than the manifest says"),
    "other type": (
        lambda m: setattr(m.graph.input[0].type.tensor_type, "elem_type", TensorProto.INT64),
        "has other inputs than the manifest says",
    ),
    "other rank": (lambda m: m.graph.input[0].type.tensor_type.shape.dim.add(), "has other inputs than the manifest says"),
    "surplus input": (
        lambda m: m.graph.input.append(helper.make_tensor_value_info("evil", TensorProto.FLOAT, [1])),
        "has other inputs than the manifest says",
    ),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_refused(attack: str, bundle: Path) -> None:
    change, message = ATTACKS[attack]
    forge(bundle, change)
    with pytest.raises(IntegrityError, match=f"decode.onnx .*{message}"):
        open_bundle(bundle)


def test_the_forgery_itself_would_pass(bundle: Path) -> None:
    """Without a change the resealed bundle opens: so each refusal above is for what it says."""
    forge(bundle, lambda model: None)
    open_bundle(bundle)


def test_a_surplus_of_bytes_is_refused(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("perceiver_runtime.bundle.MAX_GRAPH_BYTES", 1000)
    with pytest.raises(IntegrityError, match="more than the 1000 allowed for a graph"):
        open_bundle(bundle)


def test_damaged_encoding_gives_typed_errors_only(tiny_bundle: Path) -> None:
    """Two thousand mutations of a real graph: accepted or `IntegrityError`, never anything else, never endless."""
    bundle = open_bundle(tiny_bundle)
    raw = (tiny_bundle / "decode.onnx").read_bytes()
    check = GraphCheck("decode.onnx", {WEIGHTS: (tiny_bundle / WEIGHTS).stat().st_size})
    source, refused = random.Random(0), 0
    for _ in range(2000):
        mutated = bytearray(raw)
        for _ in range(source.randint(1, 8)):
            mutated[source.randrange(len(mutated))] = source.randrange(256)
        if source.random() < 0.3:
            del mutated[source.randrange(len(mutated)) :]
        try:
            check.model(bytes(mutated), bundle.manifest.graphs["decode"])
        except IntegrityError:
            refused += 1
    assert 500 < refused < 2000
