"""The `perceiver` command, as a user types it."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from forgery import edit_manifest
from PIL import Image
from published import real_frames

import perceiver_runtime as pr
from perceiver_runtime.bundle.manifest import FileEntry, Manifest
from perceiver_runtime.bundle.reader import file_sha256
from perceiver_runtime.commands.main import main
from perceiver_runtime.files import images as image_files


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    folder = tmp_path_factory.mktemp("pictures")
    for name, frame in zip("ab", real_frames(60, 90)):
        Image.fromarray(frame).save(folder / f"{name}.png")
    return str(folder / "a.png"), str(folder / "b.png")


def test_run_writes_a_picture_and_a_flo_file(
    small_bundle: Path, pictures: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture, flo = tmp_path / "flow.png", tmp_path / "flow.flo"
    assert main(["run", str(small_bundle), *pictures, "-o", str(picture), "--flo", str(flo)]) == 0
    out = capsys.readouterr().out
    assert "90x60 on CPUExecutionProvider" in out
    assert f"wrote {picture}" in out
    for stage in ("load", "preprocess", "encode", "decode", "postprocess"):
        assert f"{stage} 0." in out
    with pr.load(small_bundle) as flow:
        expected = flow(*real_frames(60, 90))
    assert np.array_equal(pr.read_flo(flo), expected)
    with Image.open(picture) as image:
        assert np.array_equal(np.asarray(image), pr.flow_to_image(expected))


def test_run_at_points_as_json(small_bundle: Path, pictures: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", str(small_bundle), *pictures, "--at", "10,20", "33.2,4", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    with pr.load(small_bundle) as flow:
        expected = flow.at(*real_frames(60, 90), np.array([[10, 20], [33.2, 4]]))
    assert [[point["dx"], point["dy"]] for point in result["points"]] == expected.tolist()
    assert set(result["seconds"]) == {"load", "preprocess", "encode", "decode", "postprocess"}


def test_run_on_arrays_without_pillow(
    small_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = real_frames(60, 90)
    for name, frame in zip("ab", frames):
        np.save(tmp_path / f"{name}.npy", frame)
        np.save(tmp_path / f"{name}_float.npy", (frame / 255).astype(np.float32))
    monkeypatch.setitem(__import__("sys").modules, "PIL.Image", None)
    arrays = [str(tmp_path / "a.npy"), str(tmp_path / "b.npy")]
    assert main(["run", str(small_bundle), *arrays, "--flo", str(tmp_path / "flow.flo"), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    floats = [str(tmp_path / "a_float.npy"), str(tmp_path / "b_float.npy")]
    assert main(["run", str(small_bundle), *floats, "--json"]) == 0
    same = json.loads(capsys.readouterr().out)
    assert same["frame_difference"] == pytest.approx(result["frame_difference"], rel=1e-3)
    assert main(["run", str(small_bundle), *arrays, "-o", str(tmp_path / "flow.png")]) == 5
    assert "flow.png needs Pillow: pip install 'perceiver-runtime[images]'" in capsys.readouterr().err


def test_inspect(small_bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(small_bundle)]) == 0
    out = capsys.readouterr().out
    assert "encode: frames (B, 2, 3, H, W) -> latents (B, 128, 128), query_features (B, H*W, 48)" in out
    assert "source flow-small, licence apache-2.0" in out
    assert main(["inspect", str(small_bundle), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["task"] == "flow"


def test_inspect_names_what_is_not_listed(small_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = Path(shutil.copytree(small_bundle, tmp_path / "bundle"))
    (bundle / ".DS_Store").write_bytes(b"x")
    (bundle / "evil\x1b[2J.py").write_bytes(b"x")
    (bundle / "lost+found").mkdir()
    assert main(["inspect", str(bundle)]) == 0
    out = capsys.readouterr().out
    assert "'.DS_Store' is not listed, and ignored" in out
    assert r"'evil\x1b[2J.py' is not listed" in out
    assert main(["inspect", str(bundle), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["unlisted"] == [".DS_Store", "evil\x1b[2J.py", "lost+found"]


@pytest.mark.parametrize(
    "command",
    [
        ["run", "BUNDLE", "--sample", "-o", "BUNDLE/flow.png"],
        ["run", "BUNDLE", "--sample", "--flo", "BUNDLE/more/flow.flo", "--force"],
        ["build", "BUNDLE", "-o", "BUNDLE/engines"],
        ["triton", "BUNDLE", "-o", "BUNDLE"],
        ["triton", "BUNDLE", "-o", "LINK/models"],
    ],
    ids=["picture", "flow", "engines", "repository", "link"],
)
def test_nothing_is_written_into_a_bundle(
    command: list[str], small_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = Path(shutil.copytree(small_bundle, tmp_path / "bundle"))
    (bundle / "more").mkdir()
    (tmp_path / "link").symlink_to(bundle)
    before = sorted(bundle.rglob("*"))
    words = [word.replace("BUNDLE", str(bundle)).replace("LINK", str(tmp_path / "link")) for word in command]
    code = main(words)
    err = capsys.readouterr().err
    if command[0] == "build":
        assert code != 0  # this bundle is not for TensorRT
    else:
        assert code == 1
        assert f"would go into the bundle {bundle}: write it beside, for example to {tmp_path}" in err
    assert sorted(bundle.rglob("*")) == before


def test_verify(small_bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(small_bundle), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)["outputs"]["flow"]
    assert result["max_error"] <= result["tolerance"] < 0.05 * result["spread"]
    assert result["values"] == 400


def test_verify_refuses_another_answer(tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A bundle that is whole but computes something else: its weights changed by 3 % before the manifest was written."""
    bundle = Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))
    weights = bundle / "weights.safetensors"
    raw = weights.read_bytes()
    start = 8 + int.from_bytes(raw[:8], "little")
    values = np.frombuffer(raw[start:], "<f4") * np.float32(1.03)
    weights.write_bytes(raw[:start] + values.tobytes())
    files = Manifest.from_json((bundle / "manifest.json").read_bytes()).files
    resealed = FileEntry(weights.name, *file_sha256(weights))
    edit_manifest(bundle, files=tuple(resealed if entry.path == weights.name else entry for entry in files))
    assert main(["verify", str(bundle)]) == 3
    assert "the known answer's flow is off by" in capsys.readouterr().err


def spoilt(bundle: Path, tmp_path: Path) -> str:
    copy = Path(shutil.copytree(bundle, tmp_path / "spoilt"))
    raw = bytearray((copy / "encode.onnx").read_bytes())
    raw[1000] ^= 1
    (copy / "encode.onnx").write_bytes(raw)
    return str(copy)


@pytest.mark.parametrize("command", ["run", "inspect", "verify"])
def test_a_flipped_byte_is_exit_code_4(
    command: str, small_bundle: Path, pictures: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [command, spoilt(small_bundle, tmp_path), *(pictures if command == "run" else ())]
    assert main(arguments) == 4
    err = capsys.readouterr().err
    assert err.startswith(f"perceiver {command}: ")
    assert "encode.onnx is damaged" in err
    assert len(err.strip().splitlines()) == 1


def test_bad_input_is_one_sentence_each(
    small_bundle: Path, pictures: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = pictures
    bundle = str(small_bundle)
    text = tmp_path / "notes.png"
    text.write_text("not an image")
    other = tmp_path / "other.png"
    Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(other)
    np.save(tmp_path / "range.npy", np.full((60, 90, 3), 7.0))
    (tmp_path / "broken.npy").write_bytes(b"\x93NUMPY")
    there = tmp_path / "there.png"
    there.write_bytes(b"precious")
    cases = [
        (["run", bundle, a, "gone.png"], 1, "there is no file gone.png"),
        (["run", bundle, a, str(text)], 1, "notes.png is not an image that can be read"),
        (["run", bundle, a, str(tmp_path / "broken.npy")], 1, "cannot be read as a numpy array"),
        (["run", bundle, a, str(other)], 1, "the frames differ in size: 90x60 and 30x20"),
        (["run", bundle, a, str(tmp_path / "range.npy")], 1, "frame2 is float64 with values outside [0, 1]"),
        (["run", str(tmp_path), a, b], 1, "has no manifest.json"),
        (["run", bundle, a, b, "-o", str(there)], 1, "is already there: give another name, or --force"),
        (["run", bundle, a, b, "-o", str(tmp_path / "no" / "flow.png")], 1, "there is no folder"),
        (["run", bundle, a, b, "-o", str(tmp_path / "flow.xyz")], 1, "flow.xyz cannot be written"),
        (["run", bundle, a, b, "--at", "nonsense"], 2, "--at wants points as X,Y"),
        (["run", bundle, a, b, "--at", "1000,2"], 1, "outside the frame of 90x60"),
        (["run", bundle, a, b, "--at", "1,2", "-o", str(tmp_path / "x.png")], 2, "leave out -o and --flo, or --at"),
        (["run", bundle, a, b, "--device", "tensorrt"], 2, "is for ONNX Runtime: export it again with --target tensorrt"),
        (["inspect", str(tmp_path / "nothing")], 1, "there is no bundle at"),
    ]
    for arguments, code, message in cases:
        assert main(arguments) == code, arguments
        err = capsys.readouterr().err
        assert message in err
        assert len(err.strip().splitlines()) == 1
    assert there.read_bytes() == b"precious"


def test_a_bundle_of_another_task(tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))
    edit_manifest(bundle, task="fill-mask")
    frame = str(tmp_path / "a.npy")
    np.save(frame, np.zeros((8, 8, 3), np.uint8))
    assert main(["run", str(bundle), frame, frame]) == 4
    assert "lacks ['max_length']" in capsys.readouterr().err


def test_errors_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", "nothing", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["exit_code"] == 1


@pytest.mark.parametrize("arguments", [["-h"], ["run", "-h"], ["inspect", "-h"], ["verify", "-h"], ["--version"]])
def test_help(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(arguments)
    assert "perceiver" in capsys.readouterr().out


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "1", "I;16", "CMYK"])
def test_image_modes_become_rgb(mode: str, tmp_path: Path) -> None:
    image = Image.fromarray(real_frames(20, 30)[0])
    path = tmp_path / ("a.tif" if mode in ("CMYK", "I;16") else "a.png")
    (Image.new("I;16", (30, 20), 300) if mode == "I;16" else image.convert(mode)).save(path)
    found = image_files.read_image(path)
    assert found.shape == (20, 30, 3)
    assert found.dtype == np.uint8


def test_image_bombs_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("L", (200, 100)).save(tmp_path / "a.png")
    monkeypatch.setattr(image_files, "MAX_PIXELS", 10_000)
    with pytest.raises(pr.InputError, match="has 200x100 pixels, more than the 10000 allowed"):
        image_files.read_image(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 9_000)
    with pytest.raises(pr.InputError, match="has more pixels than the 10000 allowed"):
        image_files.read_image(tmp_path / "a.png")


def test_run_sample(small_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The bundle's own input, wherever the flag stands; its files are gone afterwards."""
    assert main(["run", str(small_bundle), "-o", str(tmp_path / "flow.png"), "--sample"]) == 0
    assert (tmp_path / "flow.png").is_file()
    assert main(["run", "--sample", str(small_bundle), "--at", "5,5", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out.split("\n", 5)[-1])["points"]) == 1
    damaged = shutil.copytree(small_bundle, tmp_path / "damaged")
    (damaged / "sample.npz").write_bytes(b"nothing")
    assert main(["run", str(damaged), "--sample", "--json"]) == 4
    assert "sample.npz" in capsys.readouterr().err


def test_inspect_precision(small_bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(small_bundle), "--precision"]) == 0
    assert capsys.readouterr().out == f"{small_bundle}: everything is fp32\n"
