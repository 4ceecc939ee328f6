"""Bundles of the hub, from a stand-in of its HTTP API: pinned, cached, only what is listed; refusals in one sentence."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hub_server import Hub, Repository
from published import real_frames

import perceiver_runtime as pr
from perceiver_runtime.bundle.reader import open_bundle
from perceiver_runtime.commands.main import main
from perceiver_runtime.common.children import python_module

NAME = "user/tiny"


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def hub(tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub with one bundle, and files beside it that no manifest lists."""
    served = Hub()
    extra = {".gitattributes": b"", "evil.py": b"raise SystemExit", "notes.txt": b"x" * 9}
    served.repositories[NAME] = Repository(contents(tiny_bundle) | extra)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", served.url)
    template = f"{served.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr("huggingface_hub.file_download.HUGGINGFACE_CO_URL_TEMPLATE", template, raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_ETAG_TIMEOUT", 2)
    monkeypatch.chdir(tmp_path)
    yield served
    served.close()


def offline(monkeypatch: pytest.MonkeyPatch, hub: Hub) -> None:
    """The hub is not asked any more."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    hub.asked.clear()


def test_load(hub: Hub, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    head = hub.repositories[NAME].head
    pair = real_frames(40, 56)
    with pytest.warns(pr.UnpinnedWarning, match=f"user/tiny is the hub's, commit {head}: pin it with revision='{head}'"):
        flow = pr.load(NAME, task="flow")
    with flow, pr.load(tiny_bundle, task="flow") as local:
        assert np.array_equal(flow(*pair), local(*pair))
    folder = flow.folder
    listed = {entry.path for entry in open_bundle(tiny_bundle).manifest.files} | {"manifest.json"}
    assert (folder.name, set(os.listdir(folder))) == (head, listed)  # nothing else came
    asked = {request.rpartition("/")[2] for request in hub.asked if "/resolve/" in request}
    assert asked == listed

    digest = open_bundle(tiny_bundle).manifest_sha256
    hub.asked.clear()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pr.load(NAME, revision=head).close()
        assert hub.asked == []  # a commit that is here
        pr.load(NAME, manifest_sha256=digest).close()
    assert hub.asked == [f"GET /api/models/{NAME}", f"HEAD /{NAME}/resolve/main/manifest.json"]
    offline(monkeypatch, hub)
    with pytest.warns(pr.UnpinnedWarning):  # the newest that is known
        pr.load(NAME).close()
    assert hub.asked == []


def test_a_folder_comes_first(hub: Hub, tiny_bundle: Path) -> None:
    shutil.copytree(tiny_bundle, NAME)
    with pr.load(NAME) as flow:
        assert flow.folder == Path(NAME)
    assert hub.asked == []
    with pytest.raises(pr.UsageError, match="user/tiny is a folder here, a revision is for the hub"):
        pr.load(NAME, revision="main")
    with pytest.raises(pr.UsageError, match="a revision is for the hub, and tiny is no name there"):
        pr.load("tiny", revision="main")
    with pytest.raises(pr.InputError, match="there is no bundle at user/other, though there is a folder user"):
        pr.load("user/other")
    with pytest.raises(
        pr.InputError, match=r"there is no bundle at user/other.*or get the hub's with perceiver pull user/other"
    ):
        pr.load(Path("user/other"))  # a path is a path
    assert hub.asked == []


def test_another_manifest(hub: Hub, tiny_bundle: Path) -> None:
    wrong = "0" * 64
    with pytest.raises(pr.IntegrityError, match=rf"has sha256 [0-9a-f]{{64}}, not {wrong}: it is another bundle"):
        pr.load(NAME, manifest_sha256=wrong)
    resolved = [request for request in hub.asked if "/resolve/" in request]
    assert {request.rpartition("/")[2] for request in resolved} == {"manifest.json"}  # and nothing after it
    with pytest.raises(pr.IntegrityError, match="it is another bundle"):
        pr.load(tiny_bundle, manifest_sha256=wrong)
    with pytest.raises(pr.UsageError, match="the manifest's sha256 is 'abc': give 64 digits"):
        pr.load(tiny_bundle, manifest_sha256="abc")


def test_damage(hub: Hub, tiny_bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What is in the cache is checked as any bundle is; `pull` fetches it again."""
    head = hub.repositories[NAME].head
    assert main(["pull", NAME]) == 0
    first = capsys.readouterr().out
    folder = Path(first.splitlines()[1].removeprefix("in "))
    blob = (folder / "weights.safetensors").resolve()
    content = bytearray(blob.read_bytes())
    content[-1] ^= 1
    blob.write_bytes(content)
    with pytest.raises(pr.IntegrityError, match=r"weights\.safetensors is damaged"):
        pr.load(NAME, revision=head)
    assert main(["pull", NAME, "--revision", head]) == 0
    assert capsys.readouterr().out == first
    pr.load(NAME, revision=head).close()
    files = contents(tiny_bundle)
    for changed, message in (
        ({"weights.safetensors": bytes(content)}, "weights.safetensors is damaged"),
        ({"weights.safetensors": bytes(content) + b"x"}, "weights.safetensors of user/tiny on the hub has"),
        ({"manifest.json": b"{}" * (3 << 20)}, "at most 4194304 are allowed"),
        ({"manifest.json": files["manifest.json"][:-4]}, "the manifest is not valid JSON"),
    ):
        commit = hub.repositories[NAME].commit(files | changed, "changed")
        assert main(["pull", NAME, "--revision", commit]) == 4
        (line,) = capsys.readouterr().err.splitlines()
        assert message in line
    del files["sample.npz"]
    commit = hub.repositories[NAME].commit(files, "less")
    assert main(["pull", NAME, "--revision", commit]) == 4
    assert "user/tiny on the hub lacks sample.npz, which its manifest lists" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "files", "message"),
    [
        ("user/nothing", None, "the hub has no user/nothing, or it is private"),
        ("user/checkpoint", {"model.safetensors": b"", "config.json": b""}, "perceiver-export --checkpoint user/checkpoint"),
        ("user/text", {"README.md": b""}, "user/text on the hub holds no bundle: it has no manifest.json"),
        ("user/../x", None, "names no repository of the hub: give user/bundle"),
        ("flow", None, "flow names no repository of the hub: give user/bundle"),
    ],
)
def test_no_bundle(
    name: str, files: dict[str, bytes] | None, message: str, hub: Hub, capsys: pytest.CaptureFixture[str]
) -> None:
    if files is not None:
        hub.repositories[name] = Repository(files)
    assert main(["pull", name]) in (1, 2)
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


def test_refused(hub: Hub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def refusal(*more: str) -> tuple[int, str]:
        code = main(["pull", NAME, *more])
        (line,) = capsys.readouterr().err.splitlines()
        return code, line

    assert refusal("--revision", "v9") == (
        1,
        "perceiver pull: user/tiny on the hub has no revision v9: give a branch, a tag or a commit",
    )
    hub.repositories[NAME].gated = True
    assert refusal() == (
        1,
        "perceiver pull: user/tiny on the hub is gated: accept its terms on its page, and log in with hf auth login",
    )
    hub.repositories[NAME].gated = False
    hub.refuse["api"] = 500
    assert refusal() == (
        5,
        "perceiver pull: the hub answered 500 for user/tiny, which is not in the cache: try again later",
    )
    hub.refuse.clear()
    hub.close()
    code, line = refusal()
    assert code == 5
    assert line.startswith("perceiver pull: the hub could not be reached for user/tiny, which is not in the cache:")
    offline(monkeypatch, hub)
    assert refusal() == (
        5,
        "perceiver pull: the hub could not be reached for user/tiny, which is not in the cache: this process is offline "
        "(HF_HUB_OFFLINE)",
    )
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert refusal() == (
        5,
        "perceiver pull: the hub needs the package huggingface_hub: pip install 'perceiver-runtime[hub]'",
    )


def test_pull_into_a_folder(hub: Hub, tiny_bundle: Path, tmp_path: Path) -> None:
    """By the command itself, which reads HF_ENDPOINT."""
    environment = {**os.environ, "HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home"), "HF_HUB_DISABLE_XET": "1"}
    command = [*python_module("perceiver_runtime"), "pull", NAME, "-o", "here", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["bundle"], found["commit"], found["signed"]) == ("here", hub.repositories[NAME].head, False)
    assert contents(Path("here")) == contents(tiny_bundle)
    assert sorted(os.listdir(".")) == ["here", "home"]
    assert main(["verify", "here", "--manifest-sha256", found["manifest_sha256"]]) == 0
    assert main(["pull", NAME, "-o", "here"]) == 1
