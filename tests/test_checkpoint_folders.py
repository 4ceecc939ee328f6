"""Folders as people keep them: each gives transformers' answer, or one sentence with a way out."""

import json
import pickle
import resource
import shutil
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from heads import HEADS, Head, save_random_head
from safetensors.torch import load_file, save_file
from test_heads_reference import answer_of_ours, answer_of_transformers

from perceiver_deploy.cli import main
from perceiver_io import CheckpointError, find_checkpoint, load_checkpoint
from perceiver_io.loading.unpickle import UnpickleError, read_arrays

CLASSIFIER = next(head for head in HEADS if head.name == "PerceiverForSequenceClassification")
NAMES = [head.name.removeprefix("PerceiverFor") for head in HEADS]


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("original") / "classifier"
    save_random_head(folder, CLASSIFIER.name, CLASSIFIER.tiny)
    return folder


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    """A text classifier, to be changed."""
    return Path(shutil.copytree(original, tmp_path / "classifier"))


def change_config(folder: Path, **changes: Any) -> None:
    data = json.loads((folder / "config.json").read_text()) | changes
    (folder / "config.json").write_text(json.dumps({key: value for key, value in data.items() if value is not ...}))


def change_tensors(folder: Path, change: Any) -> None:
    save_file(change(load_file(folder / "model.safetensors")), folder / "model.safetensors")


def same(folder: Path, original: Path, **options: Any) -> None:
    """The folder gives the very weights of the original."""
    found, expected = load_checkpoint(folder, **options), load_checkpoint(original)
    assert found.config == expected.config
    for name, tensor in expected.state_dict().items():
        assert torch.equal(found.state_dict()[name], tensor), name


@pytest.mark.parametrize("name", ["PerceiverForImageClassification", "MyOwn", None])
@pytest.mark.parametrize("head", HEADS, ids=NAMES)
@torch.no_grad()
def test_an_unknown_class_is_told_from_its_tensors(head: Head, name: str | None, tmp_path: Path) -> None:
    theirs = save_random_head(tmp_path / "saved", head.name, head.tiny)
    change_config(tmp_path / "saved", architectures=[name] if name else ...)
    assert f"by its tensors the checkpoint is {head.name}" in find_checkpoint(tmp_path / "saved").notes[0]
    inputs = head.inputs(theirs.config)
    found, expected = (
        answer_of_ours(head, load_checkpoint(tmp_path / "saved"), inputs),
        answer_of_transformers(head, theirs, inputs),
    )
    for output, answer in expected.items():
        torch.testing.assert_close(found[output], answer, rtol=0, atol=1e-4 * float(answer.std()))


@pytest.mark.parametrize("head", HEADS, ids=NAMES)
@torch.no_grad()
def test_shards(head: Head, tmp_path: Path) -> None:
    theirs = save_random_head(tmp_path / "whole", head.name, head.tiny)
    theirs.save_pretrained(tmp_path / "shards", max_shard_size="30KB")
    assert len(find_checkpoint(tmp_path / "shards").weights) > 1
    same(tmp_path / "shards", tmp_path / "whole")


def test_a_shard_that_is_missing(tmp_path: Path) -> None:
    save_random_head(tmp_path, CLASSIFIER.name, CLASSIFIER.tiny).save_pretrained(tmp_path / "shards", max_shard_size="30KB")
    gone = next((tmp_path / "shards").glob("model-00002*"))
    gone.unlink()
    with pytest.raises(CheckpointError, match=rf"lacks 1 of \d+ shards \({gone.name}\): copy them too"):
        load_checkpoint(tmp_path / "shards")
    index = tmp_path / "shards" / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "../classifier/model.safetensors"}}))
    with pytest.raises(CheckpointError, match=r"which is no .safetensors file of its folder"):
        load_checkpoint(tmp_path / "shards")


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "model.", "module._orig_mod.", "net.model.", "base_model.model."])
def test_names_with_a_wrapper_before_them(prefix: str, folder: Path, original: Path) -> None:
    change_tensors(folder, lambda tensors: {prefix + name: tensor for name, tensor in tensors.items()})
    same(folder, original)


def test_names_with_a_wrapper_within_them(folder: Path, original: Path) -> None:
    change_tensors(folder, lambda tensors: {name.replace("encoder.", "encoder._orig_mod."): t for name, t in tensors.items()})
    same(folder, original)
    change_tensors(folder, lambda tensors: {name.removeprefix("perceiver."): t for name, t in tensors.items()})
    same(folder, original)


def test_two_models_in_a_file(folder: Path, original: Path) -> None:
    change_tensors(
        folder, lambda tensors: {before + name: t.clone() for name, t in tensors.items() for before in ("model.", "ema.")}
    )
    with pytest.raises(CheckpointError, match=r"there are two models.* leave one out with --ignore-tensors '(ema|model)"):
        load_checkpoint(folder)
    same(folder, original, ignore_tensors=["ema.*"])


def test_a_surplus_tensor(folder: Path, original: Path) -> None:
    change_tensors(folder, lambda tensors: tensors | {"loss.weight": torch.ones(3)})
    with pytest.raises(CheckpointError, match=r"unexpected: loss.weight; to leave them out: --ignore-tensors loss.weight"):
        load_checkpoint(folder)
    same(folder, original, ignore_tensors=["loss.*"])
    with pytest.raises(CheckpointError, match=r"no tensor is called 'lost': correct --ignore-tensors"):
        load_checkpoint(folder, ignore_tensors=["lost"])


def test_trainer_output(folder: Path, original: Path, tmp_path: Path) -> None:
    for step in (5, 10, 100, 200):
        shutil.copytree(folder, tmp_path / "out" / f"checkpoint-{step}")
    (tmp_path / "out" / "checkpoint-200" / "model.safetensors").unlink()
    state = {"best_model_checkpoint": "out/checkpoint-10"}
    (tmp_path / "out" / "checkpoint-100" / "trainer_state.json").write_text(json.dumps(state))
    files = find_checkpoint(tmp_path / "out")
    assert files.source == "./out"
    assert files.config.parent.name == "checkpoint-100"
    assert "checkpoint-100, the newest of 3 complete" in files.notes[0]
    assert "best by trainer_state.json is 'checkpoint-10'" in files.notes[0]


def test_an_adapter_alone(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "deepmind/language-perceiver"}))
    message = r"holds a PEFT adapter of 'deepmind/language-perceiver', not a model: .*merge_and_unload\(\)"
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(folder)
    (folder / "config.json").unlink()
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(folder)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_a_git_lfs_pointer(name: str, folder: Path) -> None:
    (folder / name).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 804000000\n")
    with pytest.raises(CheckpointError, match=rf"{name} is a Git LFS pointer, not the file itself: run `git lfs pull`"):
        load_checkpoint(folder)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers(value: float, folder: Path) -> None:
    def spoil(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        tensors["perceiver.embeddings.latents"][1, 2] = value
        return tensors

    change_tensors(folder, spoil)
    with pytest.raises(CheckpointError, match=r"NaN or infinite weights in perceiver.embeddings.latents: .*earlier checkpoint"):
        load_checkpoint(folder)


@pytest.mark.parametrize("dtype", [torch.int8, torch.bool, torch.complex64, torch.float8_e4m3fn])
def test_weights_of_other_types(dtype: torch.dtype, folder: Path) -> None:
    name = "perceiver.embeddings.latents"
    change_tensors(folder, lambda tensors: tensors | {name: tensors[name].to(dtype)})
    with pytest.raises(CheckpointError, match=rf"{name} is \w+, expected float16, bfloat16, float32 or float64"):
        load_checkpoint(folder)


def test_lightning(folder: Path, original: Path) -> None:
    state = {f"model.{name}": tensor for name, tensor in load_file(folder / "model.safetensors").items()}
    torch.save({"state_dict": state, "epoch": 3, "optimizer_states": []}, folder / "last.ckpt")
    (folder / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"only last.ckpt, which is a pickle .*allow_pickle"):
        load_checkpoint(folder)
    same(folder, original, allow_pickle=True)
    shutil.copy(folder / "last.ckpt", folder / "epoch=1.ckpt")
    with pytest.raises(CheckpointError, match=r"give one of its .ckpt files"):
        load_checkpoint(folder, allow_pickle=True)
    same(folder / "epoch=1.ckpt", original, allow_pickle=True)


def test_another_projects_layout(folder: Path) -> None:
    (folder / "config.json").write_text(
        json.dumps({"model_type": "perceiver-io-optical-flow", "model_config": {"encoder": {}}})
    )
    with pytest.raises(CheckpointError, match=r"a model of krasserm/perceiver-io.*train"):
        load_checkpoint(folder)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")  # no pickle need be trusted for that
    with pytest.raises(CheckpointError, match=r"a model of krasserm/perceiver-io"):
        load_checkpoint(folder)


@pytest.mark.parametrize("config", [{"architectures": ["MyModel"]}, {"model_type": "perceiver"}, {}])
def test_another_projects_tensors(config: dict[str, Any], folder: Path) -> None:
    """A state dict of its own that somebody saved beside a configuration."""
    (folder / "config.json").write_text(json.dumps(config))
    names = (
        "0.latent",
        "0.input_adapter.txt_embedding.weight",
        "0.cross_attn_1.0.module.q_norm.weight",
        "1.cross_attn.0.weight",
    )
    change_tensors(folder, lambda _: {f"backend_model.{name}": torch.zeros(2) for name in names})
    with pytest.raises(CheckpointError, match=r"a model of krasserm/perceiver-io.*train"):
        load_checkpoint(folder)


def test_full_weights_beside_an_adapter(folder: Path, original: Path) -> None:
    (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "some/base"}))
    assert "using the full weights" in " ".join(find_checkpoint(folder).notes)
    assert not find_checkpoint(original).notes
    same(folder, original)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"problem_type": "ranking"}, r"problem_type is 'ranking'; supported: single_label_classification"),
        ({"num_blocks": 10**8}, r"num_blocks is 100000000, expected 1 to 1024"),
        ({"num_blocks": 1000, "num_self_attends_per_block": 1000}, r"num_blocks times layers_per_block is 1000000"),
        ({"num_self_attends_per_block": 10**8}, r"num_self_attends_per_block is 100000000, expected 1 to 1024"),
        ({"d_latents": -32}, r"d_latents is -32, expected 1 to"),
        ({"d_latents": 0}, r"d_latents is 0"),
        ({"d_latents": 10**4000}, r"d_latents is a number of \d+ bits"),
        ({"d_latents": 32.5}, r"d_latents is '32.5', expected a whole number"),
        ({"d_latents": "32"}, r"d_latents is '32', expected a whole number"),
        ({"d_latents": True}, r"d_latents is 'True', expected a whole number"),
        ({"d_latents": None}, r"d_latents is 'None', expected a whole number"),
        ({"num_self_attention_heads": 5}, r"5 heads do not divide"),
        ({"hidden_act": ["gelu"]}, r"hidden_act is .*supported"),
        ({"use_query_residual": "no"}, r"use_query_residual is 'no'; supported"),
        ({"initializer_range": "wide"}, r"initializer_range is 'wide'"),
        ({"num_labels": 10**8, "id2label": None}, r"num_labels is 100000000, expected 1 to"),
        ({"id2label": ["a"]}, r"id2label should give each label's number a name"),
        ({"id2label": {"0": "a", "2": "b"}}, r"id2label should number the labels from 0"),
        ({"id2label": {"0": "a", "1": "\ud800", "2": "b"}}, r"the name of label 1 in id2label is no valid text"),
        ({"quantization_config": {"quant_method": "gptq"}}, r"the weights are quantized"),
        ({"architectures": 3, "model_type": "bert"}, r"which is none of the supported models"),
    ],
)
def test_values_of_config_json(changes: dict[str, Any], message: str, folder: Path) -> None:
    change_config(folder, **changes)
    with pytest.raises(CheckpointError, match=message) as caught:
        load_checkpoint(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 100000, "nested too deeply"),
        ('{"a": 1, "a": 2}', "the key 'a' is there twice"),
        ('{"a": NaN}', "NaN is no number"),
        (" " * (17 << 20), "more than the .* allowed"),
    ],
)
def test_text_of_config_json(text: str, message: str, folder: Path) -> None:
    (folder / "config.json").write_text(text)
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(folder)


def test_shipped_names_are_not_folders(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(folder, "digits-fourier")
    shipped = find_checkpoint("digits-fourier")
    assert (shipped.source, shipped.task) == ("digits-fourier", "image-classification")
    assert "the folder of that name is ./digits-fourier" in shipped.notes[0]
    for own in ("./digits-fourier", Path("digits-fourier"), tmp_path / "digits-fourier"):
        assert (find_checkpoint(own).source, find_checkpoint(own).task) == ("./digits-fourier", "text-classification")
    with pytest.raises(CheckpointError, match=r"a revision is for hub checkpoints"):
        find_checkpoint("./digits-fourier", revision="main")


def test_the_hubs_pickle_names_both_ways_out(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A real hub cache, offline."""
    cache = tmp_path / "hub" / "models--deepmind--vision-perceiver-conv"
    shutil.copytree(folder, cache / "snapshots" / ("b" * 40))
    shutil.copytree(folder, cache / "snapshots" / ("a" * 40), ignore=shutil.ignore_patterns("*.safetensors"))
    torch.save(load_file(folder / "model.safetensors"), cache / "snapshots" / ("a" * 40) / "pytorch_model.bin")
    for name, commit in (("main", "a"), ("refs/pr/1", "b")):
        (cache / "refs" / name).parent.mkdir(parents=True, exist_ok=True)
        (cache / "refs" / name).write_text(commit * 40)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    hub_id = "deepmind/vision-perceiver-conv"
    with pytest.raises(CheckpointError, match=r"pass --revision refs/pr/1, .* or --allow-pickle"):
        find_checkpoint(hub_id)
    assert find_checkpoint(hub_id, revision="refs/pr/1").revision == "b" * 40
    assert find_checkpoint(hub_id, allow_pickle=True).weights[0].name == "pytorch_model.bin"


def test_the_task_is_the_checkpoints_own(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change_config(folder, architectures=["MyClassifier"])
    assert main(["--checkpoint", str(folder), "-o", str(tmp_path / "out"), "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["task"] == "text-classification"
    assert json.loads(out)["source"]["checkpoint"] == "./classifier"
    assert "the task is text-classification, the checkpoint's own" in err


@pytest.mark.parametrize("size", [200, 300, 30522])
@pytest.mark.parametrize("name", ["PerceiverForMaskedLM", "PerceiverForSequenceClassification"])
def test_tokens_that_are_no_bytes(name: str, size: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_random_head(tmp_path / "saved", name, CLASSIFIER.tiny | {"vocab_size": size})
    capsys.readouterr()
    assert main(["--checkpoint", str(tmp_path / "saved"), "-o", str(tmp_path / "out")]) == 1
    assert f"the checkpoint has {size} tokens, its tokenizer 262" in capsys.readouterr().err


LATER = ["output_num_channels", "_label_trainable_num_channels", "problem_type", "dtype"]  # what published files lack
ODD = {
    "torch_dtype": "float32",
    "transformers_version": "4.12.0.dev0",
    "hidden_dropout_prob": 0.1,
    "position_embedding_init_scale": 0.02,
    "seq_len": 2048,
}
PUBLISHED_HEADS = [head for head in HEADS if head is not CLASSIFIER]


@pytest.mark.parametrize("head", PUBLISHED_HEADS, ids=[head.name.removeprefix("PerceiverFor") for head in PUBLISHED_HEADS])
@torch.no_grad()
def test_configurations_with_the_keys_of_the_published(head: Head, tmp_path: Path) -> None:
    tiny = {key: value for key, value in head.tiny.items() if key not in LATER}  # so these have their defaults
    theirs = save_random_head(tmp_path, head.name, tiny)
    changes = ODD | dict.fromkeys(LATER, ...)
    if head.task == "flow":
        changes |= {"max_position_embeddings": ..., "output_shape": ...}
    change_config(tmp_path, **changes)
    inputs = head.inputs(theirs.config)
    found, expected = answer_of_ours(head, load_checkpoint(tmp_path), inputs), answer_of_transformers(head, theirs, inputs)
    for output, answer in expected.items():
        torch.testing.assert_close(found[output], answer, rtol=0, atol=1e-4 * float(answer.std()))


def nested_key() -> bytes:
    return b"\x80\x03}(" + b")" + b"\x85" * 100000 + b"K\x01u."


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x80\x03}r" + struct.pack("<I", 0x3FFFFFFF) + b".", None),
        (b"\x80\x03" + b"\x8e" + struct.pack("<Q", 1 << 40) + b".", "broken"),
        (nested_key(), "keys are not text"),
        (b"\x80\x03}" + b"2u.", "the instruction DUP"),
        (b"L" + b"9" * 100000 + b"L\n.", "the instruction LONG"),
        (b"\x80\x03" + b"0" * 5, "broken"),
        (b"", "broken"),
        (b"\x80\x03" + b"N0" * (1 << 20) + b".", "instructions"),
    ],
)
def test_pickles_that_cost_more_than_they_are(content: bytes, message: str | None, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(content)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if message is None:
        assert read_arrays(tmp_path / "file") == {}
    else:
        with pytest.raises((UnpickleError, ValueError), match=message):
            read_arrays(tmp_path / "file")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # kilobytes


def test_a_pickle_of_doubled_mappings(tmp_path: Path) -> None:
    tree: Any = {"w": np.zeros(3, np.float32)}
    for _ in range(6):
        tree = {"a": tree, "b": tree}
    (tmp_path / "file").write_bytes(pickle.dumps(tree))
    with pytest.raises(UnpickleError, match=r"uses an array or a mapping twice"):
        read_arrays(tmp_path / "file")
