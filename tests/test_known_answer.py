"""Reading a known answer: only small, plain arrays of the two kinds."""

import zipfile
from pathlib import Path

import numpy as np
import pytest

import perceiver_runtime as pr
from perceiver_runtime.tasks.known_answer import MAX_SAMPLE_BYTES, Sample


def test_what_is_written_is_read(tmp_path: Path) -> None:
    sample = Sample({"image": np.arange(12, dtype=np.uint8)}, {"logits": np.ones(3, np.float32)})
    sample.write(tmp_path / "sample.npz")
    found = Sample.read(tmp_path / "sample.npz")
    np.testing.assert_array_equal(found.inputs["image"], sample.inputs["image"])
    np.testing.assert_array_equal(found.outputs["logits"], sample.outputs["logits"])


def test_a_bomb_is_refused_unopened(tmp_path: Path) -> None:
    """A megabyte that unpacks to 256 and a bit."""
    path = tmp_path / "sample.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("input.image.npy", "w") as file:
        for _ in range(MAX_SAMPLE_BYTES // (1 << 20) + 1):
            file.write(bytes(1 << 20))
    assert path.stat().st_size < 1 << 20
    with pytest.raises(pr.IntegrityError, match=r"unpacks to 269484032 bytes, more than the 268435456 allowed"):
        Sample.read(path)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_members_of_one_name_are_refused(tmp_path: Path) -> None:
    """Forty small ones under the name of a large one, which numpy would read forty times."""
    path = tmp_path / "sample.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for _ in range(2):
            with archive.open("input.image.npy", "w") as file:
                np.save(file, np.zeros(3, np.uint8))
        with archive.open("output.logits.npy", "w") as file:
            np.save(file, np.zeros(3, np.float32))
    with pytest.raises(pr.IntegrityError, match=r"no known answer .*it holds two members of one name"):
        Sample.read(path)


def test_an_array_that_claims_more_than_is_there(tmp_path: Path) -> None:
    path = tmp_path / "sample.npz"
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (10000000000000,), }"
    text = header + b" " * (118 - len(header) - 1) + b"\n"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("input.image.npy", b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text)
    with pytest.raises(pr.IntegrityError, match=r"no known answer"):
        Sample.read(path)


def test_objects_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "sample.npz"
    np.savez(path, **{"input.a": np.array([{}], dtype=object)}, allow_pickle=True)
    with pytest.raises(pr.IntegrityError, match=r"no known answer .*Object arrays cannot be loaded"):
        Sample.read(path)


def test_other_names_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "sample.npz"
    np.savez(path, surprise=np.zeros(3))
    with pytest.raises(pr.IntegrityError, match=r"no known answer"):
        Sample.read(path)
