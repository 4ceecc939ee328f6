"""Bundles to the hub, a stand-in of it: one commit with all of a bundle, a card that says what it is, nothing half-way."""

from __future__ import annotations

import argparse
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from forgery import edit_manifest
from hub_server import Hub, Repository

import perceiver_runtime as pr
from perceiver_deploy import cli, push_bundle
from perceiver_deploy.card import model_card
from perceiver_runtime.bundle.manifest import Manifest, Source
from perceiver_runtime.commands.main import main

NAME = "user/tiny"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    served = Hub()
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", served.url)
    template = f"{served.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setenv("HF_TOKEN", "hf_test")
    monkeypatch.chdir(tmp_path)
    yield served
    served.close()


def names(folder: Path) -> set[str]:
    return set(os.listdir(folder))


def test_push_and_pull(hub: Hub, tiny_bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    address = push_bundle(tiny_bundle, NAME)
    repository = hub.repositories[NAME]
    assert len(repository.commits) == 2  # the first, and one more
    assert address == f"{hub.url}/{NAME}/commit/{repository.head}"
    pushed = repository.commits[repository.head]
    assert {name: pushed[name] for name in names(tiny_bundle)} == {
        path.name: path.read_bytes() for path in tiny_bundle.iterdir()
    }
    assert main(["pull", NAME, "-o", "back"]) == 0
    assert main(["verify", "back"]) == 0
    capsys.readouterr()

    smaller = shutil.copytree(tiny_bundle, "smaller")
    listed = Manifest.from_json(Path(smaller, "manifest.json").read_bytes()).files
    edit_manifest(Path(smaller), files=tuple(entry for entry in listed if entry.path != "README.md"))
    repository.commit(pushed | {"model.sig": b"of the old one", "picture.png": b"mine"}, "by hand")
    push_bundle(smaller, NAME)
    assert set(repository.commits[repository.head]) == names(tiny_bundle) - {"README.md"} | {".gitattributes", "picture.png"}


def test_nothing_half_way(hub: Hub, tiny_bundle: Path) -> None:
    push_bundle(tiny_bundle, NAME)
    repository = hub.repositories[NAME]
    head = repository.head
    for step in (r"/preupload/", r"/objects/batch", r"^/stored/", r"/commit/"):
        hub.refuse[step] = 400
        with pytest.raises(pr.PerceiverError):
            push_bundle(tiny_bundle, NAME)
        hub.refuse.clear()
        assert repository.head == head


def test_refused(hub: Hub, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Before any work is done for it."""

    def refusal(name: str) -> str:
        assert cli.main(["--task", "flow", "-o", "bundle", "--push", name]) in (1, 2, 5)
        return capsys.readouterr().err.splitlines()[-1]

    hub.repositories["user/model"] = Repository({"model.safetensors": b"", "README.md": b""})
    message = "user/model on the hub holds model.safetensors and no bundle: push to a repository of its own"
    assert refusal("user/model").endswith(message)
    with pytest.raises(pr.InputError, match=message):
        push_bundle(tiny_bundle, "user/model")
    assert refusal("flow").endswith("flow names no repository of the hub: give user/bundle")
    hub.refuse["whoami"] = 401
    assert "the hub does not let this account at user/tiny: log in with hf auth login" in refusal(NAME)
    hub.refuse.clear()
    monkeypatch.delenv("HF_TOKEN")
    assert "user/tiny needs an account on the hub: log in with hf auth login, or set HF_TOKEN" in refusal(NAME)
    assert not Path("bundle").exists()
    assert NAME not in hub.repositories
    damaged = Path(shutil.copytree(tiny_bundle, "damaged"))
    (damaged / "sample.npz").write_bytes(b"x")
    with pytest.raises(pr.IntegrityError):
        push_bundle(damaged, NAME)
    assert NAME not in hub.repositories


def test_by_command(hub: Hub, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """After an export, which is another's test: here a bundle that is there is what it wrote."""

    def exported(arguments: argparse.Namespace) -> Manifest:
        arguments.output = Path(arguments.output)
        shutil.copytree(tiny_bundle, arguments.output)
        return Manifest.from_json((arguments.output / "manifest.json").read_bytes())

    monkeypatch.setattr(cli, "run", exported)
    assert cli.main(["--task", "flow", "-o", "bundle", "--push", "user/flow", "--private"]) == 0
    assert "pushed to user/flow: " in capsys.readouterr().out
    head = hub.repositories["user/flow"].commits[hub.repositories["user/flow"].head]
    assert head["README.md"] == Path("bundle/README.md").read_bytes()
    hub.refuse["/commit/"] = 400
    assert cli.main(["--task", "flow", "-o", "again", "--push", "user/flow", "--json"]) == 5
    assert json.loads(capsys.readouterr().out)["error"].startswith(
        "again was written, and not pushed: the hub refused user/flow"
    )
    assert main(["verify", "again"]) == 0
    assert cli.main(["--task", "flow", "-o", "third", "--private"]) == 2
    assert "--private is for --push: give both, or neither" in capsys.readouterr().err


def test_the_card(tiny_bundle: Path) -> None:
    text = (tiny_bundle / "README.md").read_text()
    manifest = Manifest.from_json((tiny_bundle / "manifest.json").read_bytes())
    _, front, body = text.split("---\n", 2)
    data = yaml.safe_load(front)
    assert (data["license"], data["library_name"]) == ("unknown", "perceiver-runtime")
    assert data["tags"] == ["perceiver-io", "onnx", "flow", "fp32"]
    assert "# flow, fp32, for ONNX Runtime" in body
    for name, graph in manifest.graphs.items():
        assert f"| {name} | {graph.inputs[0].name} float32 ({', '.join(map(str, graph.inputs[0].shape))})" in body
    for entry in manifest.files:
        assert entry.path == "README.md" or f"| {entry.path} | {entry.size / 1e6:.3f} |" in body
    own = manifest.parity["summary"]["outputs"]["flow"]
    assert f"| flow | {own['max_error']:.2g} | {own['allowed']:.2g} | px |" in body
    assert "perceiver run . frame1.png frame2.png -o ../flow.png" in body


def test_a_card_of_strange_names(tiny_bundle: Path) -> None:
    """Names from outside stay names."""
    manifest = Manifest.from_json((tiny_bundle / "manifest.json").read_bytes())
    object.__setattr__(manifest, "source", Source("evil`\n# Heading\x1b[2J", "0" * 64, "mit\nbase_model: x", ""))
    text = model_card(manifest, "a b")
    assert "\n# Heading" not in text
    assert "\x1b" not in text
    assert yaml.safe_load(text.split("---\n", 2)[1])["license"] == "other"
    object.__setattr__(manifest, "source", Source("deepmind/language-perceiver", "0" * 64, "apache-2.0", "abc"))
    data = yaml.safe_load(model_card(manifest, "a b").split("---\n", 2)[1])
    assert (data["license"], data["base_model"]) == ("apache-2.0", "deepmind/language-perceiver")
