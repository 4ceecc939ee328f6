"""The graphs themselves: one trace for every size, names, shared weights, and passes that are exact."""

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
import torch
from published import model_frames, random_flow, real_frames
from safetensors.numpy import load_file

from perceiver_export import export_graphs
from perceiver_export.graph_spec import GraphSpec
from perceiver_export.grid_positions import linear_positions
from perceiver_export.passes.attention.lower_attention_ort import lower_attention_ort
from perceiver_export.patch_convolution import PatchConvolutionStem
from perceiver_export.shared_weights import FILE, save_graphs
from perceiver_export.tasks.flow import flow_graphs
from perceiver_export.trace import trace
from perceiver_io import FlowConfig, OpticalFlow
from perceiver_io.config import DecoderConfig, EncoderConfig, FlowStemConfig
from perceiver_io.parts.attention import scaled_dot_product
from perceiver_io.parts.flow_stem import PatchStem
from perceiver_io.parts.positions import grid_positions

PATCHES = FlowConfig(
    encoder=EncoderConfig(num_latents=24, latent_channels=48, layers_per_block=2, self_attention_heads=4), train_size=(64, 64)
)
CONV = FlowConfig(
    encoder=EncoderConfig(num_latents=24, latent_channels=48, layers_per_block=2, self_attention_heads=4),
    decoder=DecoderConfig(heads=2, qk_channels=32, v_channels=24, query_residual=True),
    stem=FlowStemConfig(kind="conv", channels=40, query_channels=20, residual_blocks=1, window_radius=2),
    train_size=(64, 64),
)


class Exported:
    def __init__(self, config: FlowConfig, folder: Path) -> None:
        self.folder = folder
        self.model = random_flow(config)
        self.said: list[str] = []
        export_graphs("flow", self.model, folder, progress=self.said.append)

    def run(self, frames: torch.Tensor) -> np.ndarray:
        encode, decode = (onnxruntime.InferenceSession(self.folder / f"{name}.onnx") for name in ("encode", "decode"))
        latents, query_features = encode.run(None, {"frames": frames.numpy()})
        positions = grid_positions(frames.shape[-2:]).expand(len(frames), -1, -1).contiguous().numpy()
        inputs = {"latents": latents, "query_features": query_features, "query_positions": positions}
        flow: np.ndarray = decode.run(None, inputs)[0]
        return flow


@pytest.fixture(scope="module", params=[PATCHES, CONV], ids=["patches", "conv"])
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    torch.manual_seed(0)
    return Exported(request.param, tmp_path_factory.mktemp("graphs"))


@pytest.mark.parametrize(("height", "width", "batch"), [(64, 64, 1), (200, 333, 1), (368, 496, 1), (16, 17, 3)])
def test_one_export_runs_every_size(exported: Exported, height: int, width: int, batch: int) -> None:
    frames = torch.cat([model_frames(*real_frames(height, width, top=20 + i)) for i in range(batch)])
    with torch.no_grad():
        expected = exported.model(frames).flatten(1, 2).numpy()
        swapped = exported.model(frames.flip(1)).flatten(1, 2).numpy()
    tolerance = 1e-3 * expected.std(axis=1).min()
    assert np.abs(exported.run(frames) - expected).max() <= tolerance
    assert np.abs(swapped - expected).max() > 10 * tolerance


def test_a_changed_weight_shows(exported: Exported, tmp_path: Path) -> None:
    frames = model_frames(*real_frames(40, 44))
    with torch.no_grad():
        expected = exported.model(frames).flatten(1, 2).numpy()
        name, weight = next((n, p) for n, p in exported.model.named_parameters() if "value.weight" in n)
        weight.mul_(1.02)
        changed = exported.model(frames).flatten(1, 2).numpy()
        weight.div_(1.02)
    assert np.abs(changed - expected).max() > 1e-3 * expected.std(axis=1).min(), name


def test_contract(exported: Exported) -> None:
    config = exported.model.config
    encode, decode = (onnx.load(exported.folder / f"{name}.onnx", load_external_data=False) for name in ("encode", "decode"))

    def shapes(values: object) -> dict[str, list[object]]:
        return {v.name: [d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim] for v in values}  # type: ignore[attr-defined]

    assert shapes(encode.graph.input) == {"frames": ["B", 2, 3, "H", "W"]}
    latents, features = ["B", 24, 48], ["B", "H*W", config.stem.query_channels]
    assert shapes(encode.graph.output) == {"latents": latents, "query_features": features}
    assert shapes(decode.graph.input) == {
        "latents": latents,
        "query_features": ["B", "O", config.stem.query_channels],
        "query_positions": ["B", "O", 2],
    }
    assert shapes(decode.graph.output) == {"flow": ["B", "O", 2]}
    for graph in (encode, decode):
        assert {(entry.domain, entry.version) for entry in graph.opset_import} == {("", 18), ("com.microsoft", 1)}
        assert {node.domain for node in graph.graph.node} <= {"", "com.microsoft"}


def test_nodes_and_weights_are_named_after_modules(exported: Exported) -> None:
    encode = onnx.load(exported.folder / "encode.onnx", load_external_data=False)
    names = [node.name for node in encode.graph.node]
    assert len(set(names)) == len(names)
    assert "encoder.self_attention.1.attention/MultiHeadAttention" in names
    assert "encoder.cross_attention.attention.output/MatMul" in names
    stored = {tensor.name for tensor in encode.graph.initializer}
    assert "encoder.cross_attention.attention.output.weight.T" in stored
    assert any(name.startswith("encoder.latents.folded") for name in stored)
    assert not any(name.startswith("val_") for name in stored)


def test_large_tensors_are_stored_once_outside(exported: Exported) -> None:
    parameters = dict(exported.model.named_parameters())
    size = (exported.folder / FILE).stat().st_size
    total = sum(p.numel() * 4 for p in parameters.values())
    assert 0.3 * total < size < 1.05 * total  # passes leave some out
    for name in ("encode", "decode"):
        path = exported.folder / f"{name}.onnx"
        assert path.stat().st_size < 250_000
        for tensor in onnx.load(path, load_external_data=False).graph.initializer:
            inside = tensor.data_location != onnx.TensorProto.EXTERNAL
            assert inside == (np.prod(tensor.dims) * 4 <= 1024 or len(tensor.raw_data) > 0)
            assert inside or {entry.key: entry.value for entry in tensor.external_data}["location"] == FILE


def test_the_model_is_left_as_it_was(exported: Exported) -> None:
    assert exported.model.encoder.cross_attention.attention.attend is scaled_dot_product
    assert not isinstance(exported.model.stem, PatchConvolutionStem)
    assert exported.said == ["tracing encode", "tracing decode", "writing graphs and weights"]


def test_patch_convolution_is_exact() -> None:
    stem = PatchStem(FlowStemConfig(channels=12, query_channels=12))
    convolution = PatchConvolutionStem(stem)
    frames = torch.rand(2, 2, 3, 9, 14)
    expected = stem(frames).tokens
    torch.testing.assert_close(convolution(frames).tokens, expected, rtol=0, atol=1e-6)
    with torch.no_grad():  # the kernel's rows and columns exchanged
        convolution.convolution.weight.copy_(convolution.convolution.weight.transpose(2, 3).clone())
    assert (convolution(frames).tokens - expected).abs().max() > 0.05


@pytest.mark.parametrize("steps", [2, 3, 4, 5, 16, 56, 61, 64, 333, 368, 496, 1024, 1920, 4096])
def test_linear_positions_round_as_torch(steps: int) -> None:
    assert torch.equal(linear_positions(steps), torch.linspace(-1, 1, steps))


@pytest.mark.parametrize(("heads", "qk", "v"), [(1, 7, 5), (3, 9, 6), (4, 8, 20)])
def test_attention_lowering_equals_attention(heads: int, qk: int, v: int, tmp_path: Path) -> None:
    def dynamic(name: str, length: str, channels: int) -> ir.Value:
        return ir.Value(name=name, shape=ir.Shape(["B", length, channels]), type=ir.TensorType(ir.DataType.FLOAT))

    inputs = [dynamic("q", "Q", qk), dynamic("k", "M", qk), dynamic("v", "M", v)]
    node = ir.node("Attention", inputs, {"num_heads": heads}, domain="perceiver", name="a")
    output = node.outputs[0]
    output.name, output.shape, output.type = "out", ir.Shape(["B", "Q", v]), ir.TensorType(ir.DataType.FLOAT)
    graph = ir.Graph(inputs, [output], nodes=[node], opset_imports={"": 18, "perceiver": 1}, name="g")
    model = ir.Model(graph, ir_version=10)
    assert lower_attention_ort(model) == 1
    ir.save(model, tmp_path / "a.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "a.onnx")
    values = {"q": torch.randn(2, 11, qk), "k": torch.randn(2, 13, qk), "v": torch.randn(2, 13, v)}
    found = torch.from_numpy(session.run(None, {name: value.numpy() for name, value in values.items()})[0])
    torch.testing.assert_close(found, scaled_dot_product(**values, heads=heads, mask=None, dropout=0.0), rtol=0, atol=1e-5)
    unscaled = scaled_dot_product(
        values["q"] * (qk // heads) ** 0.5, values["k"], values["v"], heads=heads, mask=None, dropout=0.0
    )
    assert (found - unscaled).abs().max() > 1e-2
    assert lower_attention_ort(model) == 0


def test_tensors_of_one_name_that_differ_are_both_stored(tmp_path: Path) -> None:
    specs = flow_graphs(OpticalFlow(PATCHES).eval())
    models = {"one": trace(specs[1]), "two": trace(specs[1])}
    weight = next(value for value in models["two"].graph.initializers.values() if value.const_value.nbytes > 1024)
    weight.const_value = ir.Tensor(weight.const_value.numpy() + 1, name=weight.name)
    name, changed = weight.name, weight.const_value.numpy().copy()
    save_graphs(models, tmp_path)
    stored = load_file(tmp_path / FILE)
    assert np.array_equal(stored[f"{name}_2"], changed)
    assert np.array_equal(stored[name], changed - 1)
    assert len(stored) == 1 + len(load_file_of(specs[1], tmp_path / "alone"))


def load_file_of(spec: GraphSpec, folder: Path) -> dict[str, np.ndarray]:
    folder.mkdir()
    save_graphs({"one": trace(spec)}, folder)
    return load_file(folder / FILE)


def test_weights_file_is_plain_safetensors(exported: Exported) -> None:
    latents = load_file(exported.folder / FILE)["encoder.latents"]
    assert np.array_equal(latents, exported.model.encoder.latents.detach().numpy())
