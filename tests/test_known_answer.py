"""Reading a known answer: only small, plain arrays of the two kinds."""

import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from forgery import reseal

import perceiver_runtime as pr
from perceiver_runtime.backends.input_check import places
from perceiver_runtime.commands.main import main
from perceiver_runtime.tasks.known_answer import MAX_SAMPLE_BYTES, Sample


def test_what_is_written_is_read(tmp_path: Path) -> None:
    sample = Sample({"image": np.arange(12, dtype=np.uint8).reshape(3, 4)}, {"logits": np.ones(3, np.float32)})
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
    np.savez(path, **{"input.image": np.array([{}], dtype=object)}, allow_pickle=True)
    with pytest.raises(pr.IntegrityError, match=r"no known answer .*input.image: its values are '\|O'"):
        Sample.read(path)


def test_other_names_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "sample.npz"
    np.savez(path, surprise=np.zeros(3))
    with pytest.raises(pr.IntegrityError, match=r"no known answer"):
        Sample.read(path)


def with_members(path: Path, **arrays: np.ndarray) -> Path:
    good = {"input.rows": np.arange(3), "output.latents": np.ones((3, 2), np.float32)}
    np.savez(path, **good | {name.replace("_", "."): array for name, array in arrays.items()})  # type: ignore[arg-type]
    return path


@pytest.mark.filterwarnings("ignore:Custom mangled")
@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("input_rows", np.arange(3.0)),
        ("input_rows", np.arange(3) > 1),
        ("input_rows", np.arange(3, dtype=np.int32)),
        ("input_rows", np.arange(4).reshape(2, 2)),
        ("input_rows", np.zeros(0, np.int64)),
        ("input_rows", np.array(3)),
        ("input_text", np.array(["text"])),
        ("input_text", np.zeros(3, "V0")),
        ("input_image", np.zeros((3, 3), complex)),
        ("input_image", np.full((3, 3), np.nan, np.float32)),
        ("input_audio", np.array([1.0, np.inf])),
        ("output_latents", np.array([[np.nan, 1.0]], np.float32)),
        ("output_latents", np.ones((3, 2), np.float16)),
        ("output_latents", np.ones((3, 2), np.int64)),
    ],
)
def test_what_an_array_may_be(name: str, array: np.ndarray, tmp_path: Path) -> None:
    with pytest.raises(pr.IntegrityError, match=rf"no known answer \({name.replace('_', '.')}"):
        Sample.read(with_members(tmp_path / "sample.npz", **{name: array}))
    Sample.read(with_members(tmp_path / "sample.npz"))


def test_types_of_zero_bytes_and_of_other_machines(tmp_path: Path) -> None:
    path = tmp_path / "sample.npz"
    header = b"{'descr': '|V0', 'fortran_order': False, 'shape': (1000000000000000,), }\n"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("input.text.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
    with pytest.raises(pr.IntegrityError, match=r"no known answer \(input.text: its values are '\|V0'"):
        Sample.read(path)
    found = Sample.read(with_members(path, output_latents=np.asfortranarray(np.arange(6.0).reshape(3, 2).astype(">f4"))))
    assert found.outputs["latents"].dtype == np.float32
    np.testing.assert_array_equal(found.outputs["latents"], np.arange(6).reshape(3, 2))


@pytest.mark.parametrize("rows", [[-1], [1 << 62], [0, 99999]])
def test_rows_that_are_not_there(rows: list[int], shipped: Callable[..., Path], tmp_path: Path) -> None:
    bundle = Path(shutil.copytree(shipped("features"), tmp_path / "bundle"))
    sample = Sample.read(bundle / "sample.npz")
    Sample(sample.inputs | {"rows": np.array(rows)}, sample.outputs).write(tmp_path / "sample.npz")
    reseal(bundle, "sample.npz", (tmp_path / "sample.npz").read_bytes())
    assert main(["verify", str(bundle)]) == 4


@pytest.mark.parametrize("name", ["pixels", "patches"])
def test_places_that_are_not_there(name: str) -> None:
    for wrong in ([-1], [0, 100]):
        with pytest.raises(pr.InputError, match=rf"{name} holds .* there are 100 from 0"):
            places({name: np.array(wrong)}, name, 100)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"points": np.array([[9999, 0]])}, "point (9999, 0) is outside the frame"),
        ({"frame1": np.zeros((30, 20, 3), np.uint8)}, "the frames differ in size"),
        ({"frame2": np.full((40, 56, 3), 7.0, np.float32)}, "outside [0, 1]"),
    ],
)
def test_inputs_that_the_task_does_not_take(
    change: dict[str, np.ndarray], message: str, tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))
    sample = Sample.read(bundle / "sample.npz")
    Sample(sample.inputs | change, sample.outputs).write(tmp_path / "sample.npz")
    reseal(bundle, "sample.npz", (tmp_path / "sample.npz").read_bytes())
    assert main(["verify", str(bundle)]) == 4
    said = capsys.readouterr().err
    assert "the known answer's inputs cannot be used" in said
    assert message in said
