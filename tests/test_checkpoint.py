"""Reading checkpoints: what is accepted, and what each refusal says."""

import json
import pickle
import shutil
from pathlib import Path

import pytest
import torch
from conftest import HuggingFace
from published import random_flow
from safetensors.torch import load_file, save_file

from perceiver_io import SHIPPED, CheckpointError, FlowConfig, find_checkpoint, load_checkpoint, save_checkpoint
from perceiver_io.config import EncoderConfig

MINI = FlowConfig(encoder=EncoderConfig(num_latents=4, latent_channels=16, layers_per_block=1), train_size=(12, 16))


@pytest.fixture
def folder(tiny: HuggingFace, tmp_path: Path) -> Path:
    """A copy of the tiny checkpoint, to be spoilt."""
    return Path(shutil.copytree(tiny.folder, tmp_path / "checkpoint"))


def change_tensors(folder: Path, **changes: object) -> None:
    tensors = load_file(folder / "model.safetensors")
    for name, value in changes.items():
        name = name.replace("__", ".")
        if value is None:
            del tensors[name]
        else:
            tensors[name] = value
    save_file(tensors, folder / "model.safetensors")


def test_own_layout_round_trip(tmp_path: Path) -> None:
    model = random_flow(MINI)
    save_checkpoint(model, tmp_path / "saved")
    loaded = load_checkpoint(tmp_path / "saved")
    assert loaded.config == model.config
    assert not loaded.training
    state = loaded.state_dict()
    for name, tensor in model.state_dict().items():
        assert torch.equal(state[name], tensor), name
    assert all(parameter.requires_grad for parameter in loaded.parameters())


def test_half_precision_is_read_as_float32(tmp_path: Path) -> None:
    save_checkpoint(random_flow(MINI), tmp_path, dtype=torch.float16)
    assert {tensor.dtype for tensor in load_file(tmp_path / "model.safetensors").values()} == {torch.float16}
    assert {tensor.dtype for tensor in load_checkpoint(tmp_path).state_dict().values()} == {torch.float32}


def test_shipped_checkpoints_load() -> None:
    assert "flow-small" in SHIPPED
    for name, path in SHIPPED.items():
        load_checkpoint(name)
        assert (path / "README.md").is_file()


def test_missing_unexpected_and_misshapen_tensors_are_named(folder: Path) -> None:
    change_tensors(
        folder,
        perceiver__embeddings__latents=torch.zeros(3, 48),
        perceiver__decoder__decoder__final_layer__bias=None,
        surplus=torch.zeros(1),
    )
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(folder)
    message = str(caught.value)
    assert "missing: perceiver.decoder.decoder.final_layer.bias" in message
    assert "unexpected: surplus" in message
    assert "of another shape: perceiver.embeddings.latents (3, 48), expected (32, 48)" in message


def test_pickle_needs_permission(folder: Path) -> None:
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"only pytorch_model.bin, which is a pickle .* pass allow_pickle"):
        load_checkpoint(folder)
    assert load_checkpoint(folder, allow_pickle=True).config.train_size == (40, 56)


def test_pickle_never_runs_code(folder: Path) -> None:
    class Attack:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return exec, (f"open({str(folder / 'owned')!r}, 'w')",)

    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps({"weight": Attack()}))
    with pytest.raises(CheckpointError, match=r"pytorch_model.bin cannot be read"):
        load_checkpoint(folder, allow_pickle=True)
    assert not (folder / "owned").exists()


def test_another_architecture_is_refused(folder: Path) -> None:
    (folder / "config.json").write_text(json.dumps({"model_type": "bert", "architectures": ["BertModel"]}))
    with pytest.raises(
        CheckpointError, match=r"describes \['BertModel'\], which is none of the supported models: PerceiverForOpticalFlow"
    ):
        load_checkpoint(folder)


def test_another_activation_is_refused(folder: Path) -> None:
    data = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**data, "hidden_act": "relu"}))
    with pytest.raises(CheckpointError, match=r"hidden_act is 'relu'"):
        load_checkpoint(folder)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: shutil.rmtree(folder), "no checkpoint at .* give a folder, a hub id such as .*flow-small"),
        (lambda folder: (folder / "config.json").unlink(), "has no config.json: give a folder written by save_pretrained"),
        (lambda folder: (folder / "config.json").write_text("{"), "cannot be read as JSON"),
        (lambda folder: (folder / "config.json").write_text("[]"), "should hold a JSON object"),
        (lambda folder: (folder / "model.safetensors").unlink(), "has no model.safetensors"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"\x08"), "safetensors cannot be read .* again"),
    ],
)
def test_broken_folders(folder: Path, spoil: object, message: str) -> None:
    spoil(folder)  # type: ignore[operator]
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(folder)


def test_a_file_is_not_a_checkpoint(folder: Path) -> None:
    with pytest.raises(CheckpointError, match=r"is a file: give the folder"):
        find_checkpoint(folder / "config.json")


def test_hub_offline_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(
        CheckpointError, match=r"cannot fetch nobody/nothing from the hub .* or download it elsewhere"
    ) as caught:
        load_checkpoint("nobody/nothing")
    assert "\n" not in str(caught.value)
