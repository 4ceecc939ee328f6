"""The demo's photographs moved, as an MP4, through every command that takes a clip."""

import csv
import json
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
from videos import BACKGROUND, CAT, encode, photographs, tone

import perceiver_runtime as pr
from perceiver_runtime.commands.main import main
from perceiver_runtime.files.containers import camera
from perceiver_runtime.processing.clip_windows import at_rate, windows_of
from perceiver_runtime.processing.multimodal import MultimodalProcessor
from perceiver_runtime.tasks.flow import clip_command

MOTION = {"cat": np.s_[40:60, 40:70], "background": np.s_[60:90, 105:125]}  # where each is all the while


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clips") / "clip.mp4"
    encode(path, photographs(6), sound=tone(16000, 0.24), sound_rate=16000)
    return path


def run(capsys: pytest.CaptureFixture[str], *arguments: Any, code: int = 0) -> Any:
    found = main(["run", *map(str, arguments), "--json"])
    printed = capsys.readouterr()
    assert found == code, printed.err
    return json.loads(printed.out)


def test_flow_of_a_clip(small_bundle: Path, clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Colours beside the frames, and the numbers: of every second frame from 0.04 s on, for 0.16 s."""
    part = ("--every", 2, "--start", 0.04, "--seconds", 0.16)
    found = run(capsys, small_bundle, clip, *part, "-o", tmp_path / "o.mp4", "--side-by-side", "--flo", tmp_path / "fields")
    assert (found["frames"], found["fields"], found["width"], found["height"]) == (2, 1, 128, 96)
    assert found["written"] == [str(tmp_path / "o.mp4"), str(tmp_path / "fields")]
    assert [path.name for path in (tmp_path / "fields").iterdir()] == ["0000.flo"]
    field = pr.read_flo(tmp_path / "fields" / "0000.flo")
    for expected, place in ((CAT, MOTION["cat"]), (BACKGROUND, MOTION["background"])):
        assert np.abs(field[place] - np.multiply(expected, 2)).mean() < 1 < np.abs(field[place]).mean()
    (picture,) = pr.read_video(tmp_path / "o.mp4")
    assert picture.shape == (96, 256, 3)
    assert np.abs(picture[:, :128].astype(int) - photographs(2)[1]).mean() < 8
    red, green, blue = picture[:, 128:][MOTION["cat"]].mean(axis=(0, 1))  # to the right is red, to the upper left blue
    assert red > 200 > 100 > max(green, blue)
    assert picture[:, 128:][MOTION["background"]].mean(axis=(0, 1))[2] > 200


def test_arrows_show_what_moves(small_bundle: Path, clip: Path, tmp_path: Path) -> None:
    arguments = [str(clip), "--seconds", "0.08", "--arrows", "-o", str(tmp_path / "o")]
    assert main(["run", str(small_bundle), *arguments]) == 0
    (picture,) = pr.read_video(tmp_path / "o")
    with_arrows = (picture == (255, 230, 0)).all(axis=2)
    assert 100 < with_arrows.sum() < 3000
    unlike = np.abs(picture.astype(int) - photographs(1)[0]).mean(axis=2)
    assert unlike[~with_arrows].mean() < 20


def test_tracks_of_a_clip(small_bundle: Path, clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "points.csv").write_text("name,x,y\ncat,40,50\ntable,110,70\naway,500,3\n")
    table, picture = tmp_path / "tracks.csv", tmp_path / "tracks.png"
    found = run(capsys, small_bundle, clip, "--track", tmp_path / "points.csv", "-o", table, "--picture", picture)
    assert (found["points"], found["inside"], found["frames"]) == (3, 2, 6)
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 18
    of_cat = [row for row in rows if row["point"] == "0"]
    assert [row["valid"] for row in of_cat] == ["1"] * 6
    assert [float(row["seconds"]) for row in of_cat] == pytest.approx([number / 25 for number in range(6)])
    end = np.array([float(of_cat[-1]["x"]), float(of_cat[-1]["y"])])
    assert np.abs(end - (40 + 5 * CAT[0], 50 + 5 * CAT[1])).max() < 2
    assert {(row["x"], row["y"], row["valid"]) for row in rows if row["point"] == "2"} == {("", "", "0")}
    shown = pr.read_image(picture)
    assert np.abs(shown.astype(int) - photographs(6)[5]).mean() < 12
    assert (shown[50, 42:58].max(axis=1) == 255).all()  # the way of the cat's point


def test_pictures_of_every_kind_are_clips(small_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pr.write_video(tmp_path / "clip.gif", photographs(2))
    pr.write_video(tmp_path / "folder", photographs(2))
    np.save(tmp_path / "clip.npy", photographs(2))
    lengths = [
        run(capsys, small_bundle, tmp_path / name)["motion_px"]["mean"]
        for name in ("clip.gif", "folder", "folder/%04d.png", "clip.npy")
    ]
    assert lengths[1] == lengths[2] == lengths[3] == pytest.approx(lengths[0], abs=0.3)
    assert 2 < lengths[1] < 4


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["CLIP", "--at", "3,3"], 2, "--at is of two frames: give two, or --track points.csv"),
        (["CLIP", "CLIP", "--every", "2"], 2, "--every goes with a clip, not with two frames"),
        (["CLIP", "CLIP", "CLIP"], 2, "give two frames, or one clip, or --camera"),
        (["CLIP", "--camera", "0"], 2, "give two frames, or one clip, or --camera"),
        (["CLIP", "--arrows"], 2, "say how -o looks: add -o flow.mp4"),
        (["CLIP", "-o", "OUT.webm"], 1, "OUT.webm cannot be written: a clip becomes an MP4"),
        (["CLIP", "--flo", "OUT.flo"], 2, "is for many fields: give the name of a folder"),
        (["CLIP", "--picture", "OUT.png"], 2, "--picture and --max-error go with --track"),
        (["CLIP", "--track", "POINTS", "-o", "OUT.mp4"], 1, "a table of tracks has a name that ends in .csv"),
        (["CLIP", "--track", "POINTS"], 1, "line 2 of POINTS is '5': give two numbers, x,y"),
        (["CLIP", "--track", "POINTS", "--arrows"], 2, "--track follows points: leave out --arrows"),
        (["CLIP", "--start", "9"], 1, "has no frame from 9 s on"),
        (["CLIP", "--seconds", "0.01"], 1, "there is one frame, and flow is between two"),
        (["CLIP", "--fps", "9"], 1, "has times of its own: leave out the rate"),
        (["CLIP", "--max-motion", "0"], 2, "--max-motion is 0.0: give pixels, more than 0"),
        (["--camera", "77"], 1, "camera 77 cannot be opened"),
        ([], 2, "the following arguments are required: FRAME"),
    ],
)
def test_what_is_refused(
    small_bundle: Path,
    clip: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    code: int,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("POINTS").write_text("1,2\n5\n")
    given = [str(clip) if each == "CLIP" else each for each in arguments]
    try:
        found = main(["run", str(small_bundle), *given])
    except SystemExit as ended:
        found = int(ended.code or 0)
    assert message in capsys.readouterr().err
    assert (found, [path.name for path in tmp_path.iterdir()]) == (code, ["POINTS"])


def test_without_pyav(
    small_bundle: Path, clip: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    monkeypatch.setitem(sys.modules, "cv2", None)
    for arguments in ([str(clip)], ["--camera", "0"]):
        assert main(["run", str(small_bundle), *arguments]) == 5
        assert "needs PyAV: pip install 'perceiver-runtime[video]'" in capsys.readouterr().err


def a_camera(frames: np.ndarray, shown: list[np.ndarray], ends: type[BaseException] | None = None) -> Any:
    """A stand-in of cv2 with one camera and a window."""

    class Capture:
        def __init__(self, number: int) -> None:
            self.left = iter(frames[..., ::-1])

        def isOpened(self) -> bool:
            return True

        def read(self) -> tuple[bool, Any]:
            frame = next(self.left, None)
            return frame is not None, frame

        def release(self) -> None:
            shown.append(np.zeros(0))

    def imshow(title: str, picture: np.ndarray) -> None:
        shown.append(picture)
        if ends is not None:
            raise ends

    window = {
        "namedWindow": lambda title: None,
        "imshow": imshow,
        "waitKey": lambda pause: -1,
        "destroyWindow": lambda title: None,
    }
    return SimpleNamespace(VideoCapture=Capture, **window)


@pytest.mark.parametrize("ends", [None, KeyboardInterrupt])
def test_a_camera(
    small_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], ends: Any
) -> None:
    """Its frames are all accounted for; Ctrl-C ends the clip, which is kept."""
    shown: list[np.ndarray] = []
    monkeypatch.setitem(sys.modules, "cv2", a_camera(photographs(4), shown, ends))
    taken, usual, prepare = threading.Event(), clip_command.camera_frames, pr.FlowPipeline.prepare

    def slow(number: int) -> Iterator[Any]:
        """So that the first frame is in a field, and the second, before others come."""
        for place, frame in enumerate(usual(number)):
            if place > 0:
                assert taken.wait(60)
                taken.clear()
            yield frame

    def noted(*arguments: Any) -> Any:
        taken.set()
        return prepare(*arguments)

    monkeypatch.setattr(clip_command, "camera_frames", slow)
    monkeypatch.setattr(pr.FlowPipeline, "prepare", noted)
    found = run(capsys, small_bundle, "--camera", 0, "-o", tmp_path / "o.gif")
    assert found["fields"] + 1 + found["dropped"] <= found["frames"] <= 4
    if ends is None:
        assert found["fields"] + 1 + found["dropped"] == found["frames"] == 4
    assert pr.open_video(tmp_path / "o.gif").count == found["fields"] >= 1
    assert shown[0].shape == (96, 128, 3)


def test_a_device_of_pyav() -> None:
    """FFmpeg's own test picture, which is an input device like a camera."""
    if "lavfi" not in av.formats_available:
        pytest.skip("this PyAV has no lavfi")
    frames = camera.device_frames("testsrc=size=64x48:rate=30", "lavfi", "camera 0")
    first, second = next(frames), next(frames)
    frames.close()  # type: ignore[attr-defined]
    assert first.pixels.shape == (48, 64, 3)
    assert 0 <= first.seconds <= second.seconds
    assert np.ptp(first.pixels) > 100


def test_windows_are_in_time(clip: Path, tmp_path: Path) -> None:
    """Of 50 frames a second as of 25: what is seen at each of the model's times, with the sound of that time."""
    clip_constants = {
        "frames": 4,
        "frame_size": [32, 32],
        "audio_samples": 1280,
        "samples_per_patch": 16,
        "sampling_rate": 8000,
        "query_chunk": 100,
        "query_bytes": 1000,
    }
    processor = MultimodalProcessor.from_json(clip_constants)  # 25 frames a second
    frames = photographs(12)
    encode(tmp_path / "fast.mkv", frames, rate=50, sound=tone(16000, 0.24), sound_rate=16000)
    first, second = windows_of(pr.open_video(tmp_path / "fast.mkv"), processor)
    for own, other in zip(first.frames, frames[::2]):
        assert np.abs(own.astype(int) - other).mean() < 10
    assert (first.count, second.count, first.start, second.start) == (4, 2, 0.0, 0.16)
    assert [first.sound and first.sound.rate, first.sound and len(first.sound.samples)] == [16000, 2560]
    assert np.array_equal(second.frames[1], second.frames[3])  # filled up
    seen = at_rate([pr.TimedFrame(time, np.array([number])) for number, time in enumerate((0, 0.1, 0.11, 0.5))], 10, 0.0, 0.1)
    assert [int(each[0]) for each in seen] == [0, 1, 2, 2, 2, 3]


def test_a_clip_and_its_sound_reconstructed(shipped: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The bundle's own clip as an MP4, twice over: in two windows, each with its sound; and the reconstruction is one again."""
    bundle = shipped("multimodal")
    with np.load(bundle / "sample.npz") as sample, pr.load(bundle, task="multimodal") as autoencode:
        video, audio = sample["input.video"], sample["input.audio"].astype(np.float32)
        expected = autoencode(video, audio)
    pr.write_video(tmp_path / "twice.mp4", np.concatenate([video, video]), sound=pr.Sound(np.tile(audio, 2)[:, None], 8000))
    found = run(capsys, bundle, tmp_path / "twice.mp4", "-o", tmp_path / "o.mp4", "--audio-output", tmp_path / "o.wav")
    assert [each["start"] for each in found["windows"]] == [0.0, 0.64]
    assert {each["labels"][0]["label"] for each in found["windows"]} == {expected.labels[0].label}
    assert found["labels"][0]["label"] == expected.labels[0].label
    assert found["psnr_db"] > 20
    again = pr.read_video(tmp_path / "o.mp4")
    assert again.shape == (32, 32, 32, 3)
    shown = expected.video.clip(0, 1)
    for part in (again[:16], again[16:]):
        assert np.abs(part / 255 - shown).mean() < 0.015 < np.abs(part[::-1] / 255 - shown).mean()
    sound, wav = pr.read_sound(tmp_path / "o.mp4"), pr.read_wav(tmp_path / "o.wav")
    assert (sound.rate, wav.rate, len(wav.samples)) == (8000, 8000, 10240)
    heard = sound.samples[: len(wav.samples), 0]
    assert np.corrcoef(heard, wav.samples[:, 0])[0, 1] > 0.9 > np.corrcoef(heard[5:], wav.samples[:-5, 0])[0, 1]
    silent = run(capsys, bundle, tmp_path / "twice.mp4", "--no-audio", "--seconds", 0.64, "--top-k", 1)
    assert "windows" not in silent
    one = run(capsys, bundle, tmp_path / "twice.mp4", "--frames", "3,7", "-o", tmp_path / "two.gif")
    assert (pr.open_video(tmp_path / "two.gif").count, len(one["labels"])) == (2, 5)
