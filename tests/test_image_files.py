"""Pictures as people have them: against Pillow and transformers on the same files."""

import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps
from skimage import data

import perceiver_runtime as pr
from perceiver_runtime.common.children import python_code
from perceiver_runtime.files import arrays as array_files
from perceiver_runtime.files import images as image_files
from perceiver_runtime.files.arrays import read_array
from perceiver_runtime.files.images import read_image, read_images

GREY = data.camera()[100:140, 200:260]
COLOUR = data.chelsea()[100:140, 200:260]


def same_as_8_bits(path: Path) -> None:
    found = read_image(path)
    assert found.dtype == np.uint8
    assert np.abs(found.astype(int) - GREY[..., None]).max() <= 1, path


@pytest.mark.parametrize("ending", [".png", ".tif", ".pgm"])
def test_16_bits_are_not_white(ending: str, tmp_path: Path) -> None:
    Image.fromarray(GREY.astype(np.uint16) * 257).save(tmp_path / f"a{ending}")
    same_as_8_bits(tmp_path / f"a{ending}")


def test_other_depths(tmp_path: Path) -> None:
    """12 bits of a camera in a 16-bit file; a PGM that says 4095; 32 bits; big-endian; float."""
    twelve = np.rint(GREY * (4095 / 255)).astype(np.uint16)
    Image.fromarray(twelve).save(tmp_path / "a.png")
    (tmp_path / "b.pgm").write_bytes(b"P5 60 40 4095\n" + twelve.astype(">u2").tobytes())
    Image.fromarray(GREY.astype(np.int32) * ((2**31 - 1) // 255)).save(tmp_path / "c.tif")
    Image.fromarray((GREY / np.float32(255)).astype(np.float32)).save(tmp_path / "d.tif")
    for path in sorted(tmp_path.iterdir()):
        same_as_8_bits(path)


def test_floats_of_any_range_and_below_zero(tmp_path: Path) -> None:
    values = np.array([[-50.0, 0.0, 50.0, 150.0]], np.float32)
    Image.fromarray(values).save(tmp_path / "a.tif")
    Image.fromarray(values.astype(np.int32)).save(tmp_path / "b.tif")
    for name in ("a.tif", "b.tif"):
        assert read_image(tmp_path / name)[0, :, 0].tolist() == [0, 64, 128, 255]
    Image.fromarray(np.full((2, 2), np.nan, np.float32)).save(tmp_path / "c.tif")
    with pytest.raises(pr.InputError, match=r"c.tif holds NaN or infinity"):
        read_image(tmp_path / "c.tif")


def test_frames_have_one_range(tmp_path: Path) -> None:
    """The second frame is darker, and stays so."""
    Image.fromarray(GREY.astype(np.uint16) * 257).save(tmp_path / "a.png")
    Image.fromarray(GREY.astype(np.uint16) * 64).save(tmp_path / "b.png")
    first, second = read_images([tmp_path / "a.png", tmp_path / "b.png"])
    assert np.abs(first / 4.0 - second).max() <= 1.5
    assert read_image(tmp_path / "b.png").mean() > 3 * second.mean()  # alone, its own


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("ending", [".jpg", ".png", ".tif", ".webp"])
def test_exif_orientation_is_pillow_s(orientation: int, ending: str, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(COLOUR).save(tmp_path / f"a{ending}", exif=exif)
    with Image.open(tmp_path / f"a{ending}") as image:
        expected = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    found = read_image(tmp_path / f"a{ending}")
    assert np.array_equal(found, expected)
    assert found.shape[:2] == ((60, 40) if orientation > 4 else (40, 60))


def test_16_bits_are_turned_too(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(GREY.astype(np.uint16) * 257).save(tmp_path / "a.png", exif=exif)
    assert np.abs(read_image(tmp_path / "a.png")[..., 0].astype(int) - np.rot90(GREY, -1)).max() <= 1


def test_broken_exif_is_no_orientation(tmp_path: Path) -> None:
    Image.fromarray(COLOUR).save(tmp_path / "a.png", exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff garbage")
    assert np.array_equal(read_image(tmp_path / "a.png"), COLOUR)


def test_modes_are_transformers_s(tmp_path: Path) -> None:
    """Palette, with and without transparency, alpha over colour, CMYK: what its load_image gives; alpha is dropped."""
    from transformers.image_utils import load_image

    alpha = np.dstack([COLOUR, np.zeros((40, 60), np.uint8)])
    picture = Image.fromarray(COLOUR)
    palette = picture.quantize(16)
    pictures: dict[str, Any] = {
        "alpha.png": Image.fromarray(alpha),
        "palette.png": palette,
        "cmyk.jpg": picture.convert("CMYK"),
    }
    pictures |= {"cmyk.tif": picture.convert("CMYK"), "grey.png": Image.fromarray(GREY), "bits.png": picture.convert("1")}
    pictures |= {"la.png": Image.fromarray(alpha).convert("LA")}
    for name, image in pictures.items():
        image.save(tmp_path / name)
    palette.save(tmp_path / "transparent.png", transparency=bytes(range(16)))
    for name in [*pictures, "transparent.png"]:
        import warnings

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            expected = np.asarray(load_image(str(tmp_path / name)))
        assert np.array_equal(read_image(tmp_path / name), expected), name
    assert np.array_equal(read_image(tmp_path / "alpha.png"), COLOUR)


def test_a_large_picture_is_taken_and_a_larger_one_is_not(tmp_path: Path) -> None:
    """Between Pillow's warning, at 89 megapixels, and what is allowed."""
    Image.new("1", (10000, 9500)).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png").shape == (9500, 10000, 3)
    Image.new("1", (13000, 11000)).save(tmp_path / "b.png")
    Image.new("1", (20000, 10000)).save(tmp_path / "c.png")
    with pytest.raises(pr.InputError, match="has 13000x11000 pixels, more than the 134217728 allowed: make it smaller"):
        read_image(tmp_path / "b.png")
    with pytest.raises(pr.InputError, match="has more pixels than the 134217728 allowed"):
        read_image(tmp_path / "c.png")


def header(text: str) -> bytes:
    padded = text.encode() + b" " * (117 - len(text)) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(padded).to_bytes(2, "little") + padded


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (header("{'descr': '|V0', 'fortran_order': False, 'shape': (1000000000000000,)}"), "values are '|V0', expected"),
        (header("{'descr': '|S0', 'fortran_order': False, 'shape': (1000000000000000,)}"), "values are '|S0', expected"),
        (header("{'descr': '|O', 'fortran_order': False, 'shape': (1,)}"), "values are '|O', expected"),
        (header("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,)}") + bytes(4), "not describe one array"),
        (header("{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000,)}"), "says 4000000000000 bytes"),
        (header("{'descr': '<f4', 'fortran_order': False, 'shape': (-1,)}"), "not describe one array"),
        (header("{'descr': '<f4', 'fortran_order': False, 'shape': (True,)}"), "not describe one array"),
        (header("{'descr': '<q9', 'fortran_order': False, 'shape': (1,)}"), "which is unknown"),
        (header("(((((((((((((((("), "header is damaged"),
        (b"\x93NUMPY\x02\x00\xff\xff\xff\xff", "header has 4294967295 bytes"),
        (b"PK\x03\x04 an npz file", "does not begin as a .npy file"),
    ],
)
def test_npy_files_that_are_refused(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises(pr.InputError, match=message.replace("|", r"\|").replace("(", r"\(")):
        read_image(tmp_path / "a.npy")


@pytest.mark.parametrize("dtype", ["?", "u1", "<i2", ">f4", "<f8"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_npy_files_are_numpy_s(dtype: str, order: Any, tmp_path: Path) -> None:
    for shape in ((3, 4, 2), (5,), (), (0, 3)):
        array = np.random.default_rng(0).integers(0, 2, shape).astype(dtype, order=order)
        np.save(tmp_path / "a.npy", array)
        found = read_array(tmp_path / "a.npy")
        assert (found.dtype, found.shape) == (array.dtype, array.shape)
        assert np.array_equal(found, np.load(tmp_path / "a.npy"))
    np.save(tmp_path / "a.npy", np.arange(20).reshape(10, 2))
    assert read_array(tmp_path / "a.npy", rows=slice(3, 5)).tolist() == [[6, 7], [8, 9]]


def test_npy_files_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(array_files, "MAX_BYTES", 1000)
    np.save(tmp_path / "a.npy", np.zeros((10, 200), np.uint8))
    with pytest.raises(pr.InputError, match=r"holds \(10, 200\), 2000 bytes, more than the 1000 allowed: cut it"):
        read_image(tmp_path / "a.npy")
    assert read_array(tmp_path / "a.npy", rows=slice(0, 5)).shape == (5, 200)


def test_many_large_pictures_are_refused_undecoded(tmp_path: Path) -> None:
    """Twelve files of few bytes and 100 megapixels each: in a process with 1 GB of addresses."""
    Image.new("1", (10000, 10000)).save(tmp_path / "00.png")
    for number in range(1, 12):
        (tmp_path / f"{number:02}.png").write_bytes((tmp_path / "00.png").read_bytes())
    program = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))\n"
        "import perceiver_runtime as pr\n"
        "try: pr.read_video(sys.argv[1])\n"
        "except pr.InputError as error: print(error)\n"
    )
    done = subprocess.run([*python_code(program), str(tmp_path)], capture_output=True, text=True, check=True)
    assert "12 pictures of more than 536870912 pixels together" in done.stdout


def test_a_name_that_no_picture_has(tmp_path: Path) -> None:
    with pytest.raises(pr.InputError, match=r"cannot be written: no picture's name ends in '.xyz'; use .png"):
        image_files.check_picture_ending(tmp_path / "flow.xyz")


def test_a_picture_that_fails_leaves_the_old_one(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"precious")
    with pytest.raises(pr.InputError, match="cannot be written"):
        image_files.write_image(tmp_path / "a.png", np.zeros((2, 2, 7), np.uint8))
    assert (tmp_path / "a.png").read_bytes() == b"precious"
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
    image_files.write_image(tmp_path / "a.png", COLOUR)
    assert np.array_equal(read_image(tmp_path / "a.png"), COLOUR)
