"""A file that others touch while an engine reads it: another name changes nothing, other bytes are refused."""

import hashlib
import os
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
    assert held.sha256() == hashlib.sha256(CONTENT).hexdigest()
    return held


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


def test_bytes_that_come_and_go_are_never_used(file: HeldFile) -> None:
    """Other bytes while the engine reads, the right ones at its end: each time it is begun again, and then refused."""
    turns = []

    def read() -> None:
        with file.named():
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
    session, links = onnxruntime().InferenceSession, []

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
