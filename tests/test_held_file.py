"""A file that others touch while an engine reads it: another name changes nothing, other bytes are refused."""

import hashlib
import os
import shutil
import threading
from pathlib import Path

import pytest

import perceiver_runtime as pr
from perceiver_runtime.backends.onnxruntime import onnxruntime
from perceiver_runtime.bundle.held_file import HeldFile, TouchedError, steadily

CONTENT = b"weights" * 1000


@pytest.fixture
def file(tmp_path: Path) -> HeldFile:
    (tmp_path / "weights").write_bytes(CONTENT)
    held = HeldFile(tmp_path / "weights")
    held.expect(hashlib.sha256(CONTENT).hexdigest())
    return held


@pytest.mark.parametrize("wait", [True, False])
def test_what_is_not_expected(tmp_path: Path, wait: bool) -> None:
    (tmp_path / "weights").write_bytes(CONTENT)
    held = HeldFile(tmp_path / "weights")
    if wait:
        with pytest.raises(pr.IntegrityError, match="is damaged"):
            held.expect(hashlib.sha256(b"other").hexdigest())
    else:
        held.expect(hashlib.sha256(b"other").hexdigest(), wait=False)
    for use in (held.check, lambda: held.named().__enter__(), lambda: held.mapped().__enter__()):
        with pytest.raises(pr.IntegrityError, match="is damaged"):
            use()
    with held.mapped(wait=False) as mapping:
        assert mapping[:] == CONTENT


def test_another_name_while_it_is_read(file: HeldFile) -> None:
    turns = []

    def read() -> bytes:
        with file.named() as (folder, name):
            turns.append(name)
            if len(turns) == 1:
                os.link(file.path, file.path.with_name("another"))
            return Path(folder, name).read_bytes()

    assert steadily(read) == CONTENT
    assert len(turns) == 2


def test_other_bytes_while_it_is_read(file: HeldFile) -> None:
    """Also where the times are put back."""
    times = file.path.stat()

    def read() -> None:
        with file.named():
            file.path.write_bytes(CONTENT[::-1])
            os.utime(file.path, ns=(times.st_atime_ns, times.st_mtime_ns))

    with pytest.raises(pr.IntegrityError, match="was changed while it was in use"):
        steadily(read)


@pytest.mark.parametrize("way", ["named", "mapped"])
def test_bytes_that_come_and_go_are_never_used(file: HeldFile, way: str) -> None:
    """Other bytes while the engine reads, the right ones at its end: each time it is begun again, and then refused."""
    turns = []

    def read() -> None:
        with getattr(file, way)():
            turns.append(1)
            file.path.write_bytes(CONTENT[::-1])
            file.path.write_bytes(CONTENT)

    with pytest.raises(TouchedError, match="is touched again and again while it is read"):
        steadily(read)
    assert len(turns) == 5


def test_another_file_of_the_name(file: HeldFile, tmp_path: Path) -> None:
    (tmp_path / "other").write_bytes(CONTENT)

    def read() -> None:
        with file.named():
            os.replace(tmp_path / "other", file.path)

    with pytest.raises(pr.IntegrityError, match="changed since the bundle was opened"):
        steadily(read)


def test_a_pipeline_whose_weights_are_linked_meanwhile(
    tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `perceiver triton` and `cp -al` do beside a process that loads."""
    session = onnxruntime().InferenceSession
    links: list[Path] = []

    def linked(*given: object, **options: object) -> object:
        made = session(*given, **options)
        if not links:
            links.append(tmp_path / "link")
            os.link(tiny_bundle / "weights.safetensors", links[0])
        return made

    monkeypatch.setattr(onnxruntime(), "InferenceSession", linked)
    pr.load(tiny_bundle, device="cpu").close()
    assert links[0].exists()
    links[0].unlink()


@pytest.mark.parametrize("device", ["cpu", "openvino"])
def test_no_pipeline_of_damaged_weights(
    tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: str
) -> None:
    """Weights are hashed while they load: the slower of the two is waited for, here the hash, and nothing is run before."""
    folder = Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))
    weights = bytearray((folder / "weights.safetensors").read_bytes())
    weights[-1] ^= 1
    (folder / "weights.safetensors").write_bytes(weights)
    loaded, digest = threading.Event(), HeldFile._digest
    check = HeldFile.check

    def late(held: HeldFile) -> str:
        assert loaded.wait(30)
        return digest(held)

    def first_check(held: HeldFile) -> None:
        loaded.set()
        check(held)

    monkeypatch.setattr(HeldFile, "_digest", late)
    monkeypatch.setattr(HeldFile, "check", first_check)
    with pytest.raises(pr.IntegrityError, match="is damaged: its sha256 is not the manifest's"):
        pr.load(folder, device=device)
    assert loaded.is_set()
