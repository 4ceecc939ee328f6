"""DeepMind's pickles: files in their layout, made here from a model of ours by the rules of haiku, read back."""

import io
import pickle
import sys
import types
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from heads import HEADS
from torch import nn
from torch.nn import functional as F
from transformers import PerceiverConfig

from perceiver_io import CheckpointError, load_checkpoint, save_checkpoint
from perceiver_io.deepmind import as_deepmind_has_it, convert, main
from perceiver_io.loading.huggingface import model_config
from perceiver_io.parts.image_preprocessor import ConvDownsample
from perceiver_io.tasks.registry import TASKS

LAYER = {
    "query_norm": "layer_norm",
    "norm": "layer_norm",
    "input_norm": "layer_norm_1",
    "attention.query": "attention/linear",
    "attention.key": "attention/linear_1",
    "attention.value": "attention/linear_2",
    "attention.output": "attention/linear_3",
    "mlp.expand": "mlp/linear",
    "mlp.contract": "mlp/linear_1",
}


def haiku_layers(model: nn.Module, ours: str, theirs: str, tree: dict[str, Any]) -> None:
    """The linear layers and norms of one attention layer, under haiku's numbered names."""
    prefix = f"{ours}."
    for name, module in model.named_modules():
        if not name.startswith(prefix) or not isinstance(module, (nn.Linear, nn.LayerNorm)):
            continue
        own = name.removeprefix(prefix)
        cross = "cross_attention" in ours
        place = LAYER.get(own) or ("layer_norm_2" if cross else "layer_norm_1")
        tree[f"{theirs}/{place}"] = haiku_parameters(module)


def haiku_parameters(module: nn.Module) -> dict[str, np.ndarray]:
    weight = module.weight.detach().numpy()
    if isinstance(module, nn.LayerNorm):
        return {"scale": weight, "offset": module.bias.detach().numpy()}
    if isinstance(module, nn.Conv2d):
        bias = {} if module.bias is None else {"b": module.bias.detach().numpy()}
        return {"w": weight.transpose(2, 3, 1, 0), **bias}
    return {"w": weight.T, "b": module.bias.detach().numpy()}


def positions(parameter: torch.Tensor) -> dict[str, np.ndarray]:
    return {"pos_embs": parameter.detach().numpy()}


def haiku_tree(task: str, model: Any) -> dict[str, Any]:
    """A model as DeepMind's code would name it. Names are those of the published files."""
    encoder = "encoder" if task == "multimodal" else "perceiver_encoder"
    tree: dict[str, Any] = {f"{encoder}/~/trainable_position_encoding": positions(model.encoder.latents)}
    haiku_layers(model, "encoder.cross_attention", f"{encoder}/~/cross_attention", tree)
    for number in range(len(model.encoder.self_attention)):
        suffix = f"_{number}" if number else ""
        haiku_layers(model, f"encoder.self_attention.{number}", f"{encoder}/~/self_attention{suffix}", tree)
    if task == "fill-mask":
        tree["embed"] = {"embeddings": model.preprocessor.embedding.weight.detach().numpy()}
        tree["trainable_position_encoding"] = positions(model.preprocessor.positions.table)
        tree["basic_decoder/~/trainable_position_encoding"] = positions(model.queries.table)
        tree["embedding_decoder"] = {"bias": model.output_bias.detach().numpy()}
        haiku_layers(model, "decoder.cross_attention", "basic_decoder/cross_attention", tree)
    elif task == "image-classification":
        decoder = "classification_decoder/~/basic_decoder"
        tree[f"{decoder}/~/trainable_position_encoding"] = positions(model.decoder.queries.table)
        tree[f"{decoder}/output"] = haiku_parameters(model.decoder.output)
        haiku_layers(model, "decoder.cross_attention", f"{decoder}/cross_attention", tree)
        if model.config.image.kind == "conv1x1":
            inputs = "image_preprocessor/~_build_network_inputs"
            tree["image_preprocessor/~/conv2_d"] = haiku_parameters(model.preprocessor.convolution)
            tree[f"{inputs}/trainable_position_encoding"] = positions(model.preprocessor.positions.table)
            tree[f"{inputs}/position_encoding_projector/linear"] = haiku_parameters(model.preprocessor.positions.projection)
    elif task == "flow":
        tree["image_preprocessor/patches_linear"] = haiku_parameters(model.stem.projection)
        tree["flow_decoder/~/basic_decoder/output"] = haiku_parameters(model.decoder.output)
        haiku_layers(model, "decoder.cross_attention", "flow_decoder/~/basic_decoder/cross_attention", tree)
    else:
        label = "classification_decoder/~/basic_decoder/~/trainable_position_encoding"
        tree[label] = positions(model.decoder.label.table)
        tree["multimodal_decoder/~/basic_decoder/output"] = haiku_parameters(model.decoder.decoder.output)
        haiku_layers(model, "decoder.decoder.cross_attention", "multimodal_decoder/~/basic_decoder/cross_attention", tree)
        for name in ("audio", "image", "label"):
            tree[f"multimodal_preprocessor/{name}_padding"] = positions(model.preprocessor.padding[name])
            tree[f"multimodal_preprocessor/{name}_mask_token"] = positions(model.preprocessor.mask[name])
            tree[f"multimodal_decoder/~decoder_query/{name}_padding"] = positions(model.decoder.padding[name])
        for ours, theirs in (("image", "projection"), ("audio", "audio"), ("label", "classification")):
            linear = model.postprocessor.modalities[ours].projection
            tree[f"{theirs}_postprocessor/linear"] = haiku_parameters(linear)
    return tree


def deepmind_file(task: str, model: Any, path: Path) -> None:
    found: Any = haiku_tree(task, model)
    if task == "image-classification":
        found = {"params": found, "state": {}}
        if model.config.image.kind == "conv":
            norm, scope = model.preprocessor.convolution.norm, "image_preprocessor/~/conv2_d_downsample/~"
            found["params"][f"{scope}/conv"] = haiku_parameters(model.preprocessor.convolution.convolution)
            shape = (1, 1, 1, -1)
            found["params"][f"{scope}/batchnorm"] = {
                "scale": norm.weight.detach().numpy().reshape(shape),
                "offset": norm.bias.detach().numpy().reshape(shape),
            }
            for name, average in (("mean", norm.running_mean), ("var", norm.running_var)):
                value = average.numpy().reshape(shape)
                found["state"][f"{scope}/batchnorm/~/{name}_ema"] = {
                    "average": value, "hidden": value * 0.1, "counter": np.array(7, np.int32)
                }  # fmt: skip
    path.write_bytes(pickle.dumps(found, protocol=3))


def random_model(task: str, config: Any) -> Any:
    model = TASKS[task].build(config).eval()
    with torch.no_grad():
        for tensor in [*model.parameters(), *(buffer for buffer in model.buffers() if buffer.is_floating_point())]:
            tensor.copy_(torch.rand_like(tensor) + 0.1)
    return model


DEEPMIND_HEADS = [head for head in HEADS if head.task != "text-classification"]


@pytest.mark.parametrize("head", DEEPMIND_HEADS, ids=[head.name.removeprefix("PerceiverFor") for head in DEEPMIND_HEADS])
def test_every_tensor_comes_back(head: Any, tmp_path: Path) -> None:
    transformers_config = PerceiverConfig(**head.tiny).to_dict() | {"architectures": [head.name]}
    config = as_deepmind_has_it(model_config(transformers_config, ()))
    model = random_model(head.task, config)
    deepmind_file(head.task, model, tmp_path / "file.pickle")
    found = convert(tmp_path / "file.pickle", head.task, config)
    save_checkpoint(found, tmp_path / "converted")
    loaded = load_checkpoint(tmp_path / "converted")
    assert loaded.config == config
    assert loaded.config.encoder.activation == "gelu_tanh"
    for name, tensor in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor), name


def test_a_file_of_another_model(tmp_path: Path) -> None:
    flow = next(head for head in HEADS if head.task == "flow")
    config = model_config(PerceiverConfig(**flow.tiny).to_dict() | {"architectures": [flow.name]}, ())
    model = random_model("flow", config)
    deepmind_file("flow", model, tmp_path / "file.pickle")
    deeper = replace(config, encoder=replace(config.encoder, layers_per_block=3))
    with pytest.raises(CheckpointError, match=r"missing: encoder.self_attention.2"):
        convert(tmp_path / "file.pickle", "flow", deeper)


def test_haiku_mappings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Older files hold haiku's own mapping class; it is read without haiku."""
    module = types.ModuleType("haiku._src.data_structures")

    class FlatMapping:
        def __init__(self, contents: Any) -> None:
            self.contents = contents

        def __reduce__(self) -> Any:
            return FlatMapping, (self.contents,)

    FlatMapping.__module__, FlatMapping.__qualname__ = module.__name__, "FlatMapping"
    module.FlatMapping = FlatMapping  # type: ignore[attr-defined]
    for name in ("haiku", "haiku._src"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    from perceiver_io.loading.unpickle import read_arrays

    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    (tmp_path / "file").write_bytes(pickle.dumps(FlatMapping({"a/b": {"w": array, "f": np.asfortranarray(array)}})))
    found = read_arrays(tmp_path / "file")
    np.testing.assert_array_equal(found["a/b"]["w"], array)
    np.testing.assert_array_equal(found["a/b"]["f"], array)


class Attack:
    def __reduce__(self) -> Any:
        return __import__("os").system, ("touch owned",)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"a": Attack()}, r"it asks for posix.system"),
        ({"a": {"w": np.array([Attack()], dtype=object)}}, r"it asks for posix.system|not of numbers"),
        ({"a": {"w": np.array(["text"])}}, r"an array of type 'U4', not of numbers"),
        ([1, 2], r"it holds a list"),
        ({"a": {"w": "text"}}, r"it holds a str"),
        ({"a": np.zeros(3, np.float32)}, r"a should hold parameters by name"),
    ],
)
def test_what_a_pickle_may_not_hold(content: Any, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "file.pickle"
    path.write_bytes(pickle.dumps(content))
    flow = next(head for head in HEADS if head.task == "flow")
    config = model_config(PerceiverConfig(**flow.tiny).to_dict() | {"architectures": [flow.name]}, ())
    with pytest.raises(CheckpointError, match=message):
        convert(path, "flow", config)
    assert not (tmp_path / "owned").exists()


def test_broken_pickle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "file.pickle"
    stream = io.BytesIO(pickle.dumps({"a": {"w": np.zeros(3, np.float32)}}))
    path.write_bytes(stream.getvalue()[:-20])
    arguments = ["x", str(path), "--model", "deepmind/language-perceiver", "-o", str(tmp_path / "out")]
    monkeypatch.setattr(sys, "argv", arguments)
    assert main() == 1
    assert "cannot be converted: it is no pickle, or broken" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("size", [(224, 224), (37, 50)])
def test_same_padding_as_tensorflow_defines_it(size: tuple[int, int]) -> None:
    """Half the size rounded up, twice, and the window of an output starts where the definition says."""
    layer = ConvDownsample(1, 1, padding="same").eval()
    with torch.no_grad():
        layer.convolution.weight.fill_(1.0)
        found = layer(torch.ones(1, 1, *size))
    halves = [-(-side // 2) for side in size]
    assert found.shape[-2:] == tuple(-(-side // 2) for side in halves)

    def covered(side: int) -> torch.Tensor:  # how many input cells each window of 7 covers
        before = max((-(-side // 2) - 1) * 2 + 7 - side, 0) // 2
        starts = torch.arange(-(-side // 2)) * 2 - before
        return (starts + 7).clamp(max=side) - starts.clamp(min=0)

    expected = covered(size[0])[:, None] * covered(size[1])[None] / (1 + 1e-5) ** 0.5
    pad = [max((-(-side // 2) - 1) * 2 + 3 - side, 0) for side in halves]
    padded = F.pad(expected[None, None], (pad[1] // 2, pad[1] - pad[1] // 2, pad[0] // 2, pad[0] - pad[0] // 2))
    torch.testing.assert_close(found, F.max_pool2d(padded, 3, stride=2))
    assert ConvDownsample(1, 1, padding="transformers")(torch.ones(1, 1, 224, 224)).shape[-1] == 55
