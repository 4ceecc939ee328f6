"""Video files, read frame by frame and written: against what PyAV alone encodes and decodes."""

import sys
import warnings
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image
from videos import encode, photographs, tone, turn

import perceiver_runtime as pr
from perceiver_runtime.files.containers import library

FRAMES = photographs(10)
CLOSE, FAR = 10.0, 15.0  # grey levels: what encoding may cost; the frame before or after is farther


def apart(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.abs(found.astype(int) - expected).mean())


@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt"),
    [
        ("a.mp4", "libx264", "yuv420p"),
        ("a.mov", "mpeg4", "yuv420p"),
        ("a.mkv", "libx264", "yuv420p10le"),  # 10 bits
        ("a.webm", "libvpx-vp9", "yuv420p"),
        ("a.avi", "mjpeg", "yuvj420p"),
    ],
)
def test_containers(tmp_path: Path, name: str, codec: str, pix_fmt: str) -> None:
    encode(tmp_path / name, FRAMES, codec=codec, pix_fmt=pix_fmt)
    video = pr.open_video(tmp_path / name)
    assert (video.height, video.width, video.rate, video.count) == (96, 128, 25, 10)
    found = list(video.frames())
    assert [round(frame.seconds, 3) for frame in found] == [number / 25 for number in range(10)]
    for number, frame in enumerate(found):
        assert frame.pixels.dtype == np.uint8
        assert apart(frame.pixels, FRAMES[number]) < CLOSE < FAR < apart(frame.pixels, FRAMES[number - 1])
    assert len(list(video)) == 10  # again, and as arrays
    assert np.array_equal(pr.read_video(tmp_path / name, start=3, frames=2), [found[3].pixels, found[4].pixels])


def test_parts_are_the_frames_of_the_whole(tmp_path: Path) -> None:
    """From any second on, with key frames far apart and with their index unusable."""
    path = tmp_path / "a.mp4"
    encode(path, photographs(25), options={"g": "7"})
    video = pr.open_video(path)
    whole = list(video.frames())
    for start, seconds, every in ((0.0, None, 3), (0.3, None, 1), (0.5, 0.2, 2), (0.96, 9.0, 1)):
        part = list(video.frames(start=start, seconds=seconds, every=every))
        end = 1e9 if seconds is None else start + seconds
        expected = [frame for frame in whole if start <= frame.seconds < end][::every]
        assert [frame.seconds for frame in part] == [frame.seconds for frame in expected]
        assert all(np.array_equal(own.pixels, other.pixels) for own, other in zip(part, expected))
        assert video.expected(start=start, seconds=seconds, every=every) == len(part)
    with pytest.raises(pr.InputError, match=r"has no frame from 1 s on, it is 1.00 s long: give an earlier start"):
        list(video.frames(start=1.0))
    for wrong in ({"start": -1.0}, {"seconds": 0.0}, {"every": 0}, {"start": float("nan")}):
        with pytest.raises(pr.InputError, match="give a"):
            list(video.frames(**wrong))  # type: ignore[arg-type]


def test_times_that_vary_are_kept(tmp_path: Path) -> None:
    times = [0.0, 0.04, 0.09, 0.1, 0.35, 0.36, 0.8]
    encode(tmp_path / "a.mkv", FRAMES[:7], times=times)
    found = list(pr.open_video(tmp_path / "a.mkv").frames())
    assert [round(frame.seconds, 3) for frame in found] == times
    for name in ("b.mp4", "b.gif"):
        with pr.clip_writer(tmp_path / name, 25) as writer:
            for frame in found:
                writer.write(frame.pixels, frame.seconds)
        again = [frame.seconds for frame in pr.open_video(tmp_path / name).frames()]
        assert np.abs(np.subtract(again, times)).max() <= (0.0001 if name == "b.mp4" else 0.0101)


@pytest.mark.parametrize(("matrix", "quarters"), [((0, 1, -1, 0), -1), ((-1, 0, 0, -1), 2), ((0, -1, 1, 0), 1)])
def test_frames_are_upright(tmp_path: Path, matrix: tuple[int, int, int, int], quarters: int) -> None:
    """As a telephone held upright says it: the matrix turns what is stored clockwise by 90 degrees."""
    path = tmp_path / "a.mp4"
    encode(path, FRAMES[:2])
    turn(path, matrix)
    video = pr.open_video(path)
    expected = np.rot90(FRAMES[0], quarters)
    assert (video.height, video.width) == expected.shape[:2]
    (first, _) = video
    assert apart(first, expected) < CLOSE < FAR < apart(first, np.rot90(expected, 2))


def test_mp4_is_what_other_programs_read(tmp_path: Path) -> None:
    """H.264 and AAC, tagged BT.709; odd sizes grow by a pixel; colours survive, which another colour space's would not."""
    flat = np.zeros((4, 61, 81, 3), np.uint8) + np.array([200, 30, 60], np.uint8)
    sound = pr.Sound(tone(8000, 0.16)[:, None], 8000)
    pr.write_video(tmp_path / "o.mp4", flat, sound=sound)
    with av.open(str(tmp_path / "o.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.colorspace) == ("h264", 1)
        assert (stream.width, stream.height) == (82, 62)
        assert (container.streams.audio[0].codec_context.name, container.streams.audio[0].rate) == ("aac", 8000)
        luma = bytes(next(container.decode(stream)).planes[0])[0]
    by_709, by_601 = (
        16 + 219 / 255 * np.dot(weights, (200, 30, 60)) for weights in ((0.2126, 0.7152, 0.0722), (0.299, 0.587, 0.114))
    )
    assert abs(luma - by_709) < 2 < 8 < abs(luma - by_601)
    assert np.abs(pr.read_video(tmp_path / "o.mp4").astype(int) - (200, 30, 60)).max() <= 3
    assert [path.name for path in tmp_path.iterdir()] == ["o.mp4"]


def test_sound_keeps_its_rate_and_its_place(tmp_path: Path) -> None:
    heard = tone(16000, 0.4)
    encode(tmp_path / "a.mkv", FRAMES, sound=heard, sound_rate=16000, sound_codec="pcm_s16le")
    sound = pr.read_sound(tmp_path / "a.mkv")
    assert sound.rate == 16000
    assert np.abs(sound.samples[:, 0] - heard).max() < 2e-4
    part = pr.read_sound(tmp_path / "a.mkv", start=0.1, seconds=0.05).samples[:, 0]
    assert len(part) == 800
    assert np.abs(part - heard[1600:2400]).max() < 2e-4 < np.abs(part - heard[1610:2410]).max()
    encode(tmp_path / "b.mp4", FRAMES)
    with pytest.raises(pr.InputError, match=r"b.mp4 has no sound: give a WAV file"):
        pr.read_sound(tmp_path / "b.mp4")


def test_series_of_pictures(tmp_path: Path) -> None:
    for number, frame in enumerate(FRAMES[:3], 7):
        Image.fromarray(frame).save(tmp_path / f"frame_{number:04}.png")
    video = pr.open_video(tmp_path / "frame_%04d.png", rate=10)
    assert (video.count, video.seconds, video.timed) == (3, 0.3, False)
    assert np.array_equal(list(video), FRAMES[:3])
    assert [frame.seconds for frame in video.frames(start=0.1)] == [0.1, 0.2]
    assert np.array_equal(pr.read_video(tmp_path / "frame_%04d.png", start=1, frames=2), FRAMES[1:3])
    (tmp_path / "frame_0008.png").rename(tmp_path / "frame_0018.png")
    with pytest.raises(pr.InputError, match=r"frame_%04d.png lacks number 8 between 7 and 18"):
        pr.open_video(tmp_path / "frame_%04d.png")
    with pytest.raises(pr.InputError, match=r"no picture has a name such as f%d.png"):
        pr.open_video(tmp_path / "f%d.png")


def test_pictures_of_16_bits_have_one_range(tmp_path: Path) -> None:
    deep = (np.arange(3)[:, None, None] * 1000 + np.arange(64 * 64).reshape(64, 64) % 900).astype(np.uint16)
    for number, frame in enumerate(deep):
        Image.fromarray(frame).save(tmp_path / f"{number}.png")
    found = np.stack(list(pr.open_video(tmp_path)))
    assert np.array_equal(found, pr.read_video(tmp_path))
    assert found[0].max() < found[2].max()


def test_damaged_files(tmp_path: Path) -> None:
    """What could be read, and a warning; or one sentence."""
    encode(tmp_path / "a.mkv", photographs(25), options={"g": "5"})
    content = (tmp_path / "a.mkv").read_bytes()
    (tmp_path / "cut.mkv").write_bytes(content[: len(content) // 2])
    with pytest.warns(pr.DamagedFileWarning, match=r"cut.mkv is damaged: .*what could be read is used"):
        frames = list(pr.open_video(tmp_path / "cut.mkv"))
    assert 5 <= len(frames) < 25
    assert apart(frames[3], photographs(4)[3]) < CLOSE
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(list(pr.open_video(tmp_path / "a.mkv"))) == 25
    encode(tmp_path / "a.mp4", FRAMES)
    content = (tmp_path / "a.mp4").read_bytes()
    for number, bad in enumerate((b"", b"\0" * 5000, content[:400], content[: len(content) // 2], b"#EXTM3U\nhttp://x/y.ts\n")):
        (tmp_path / f"{number}.mp4").write_bytes(bad)
        with pytest.raises(pr.InputError, match=rf"{number}.mp4 (is not a video file that can be read|holds no)"):
            pr.open_video(tmp_path / f"{number}.mp4")
    with pytest.raises(pr.InputError, match="there is no clip"):
        pr.open_video(tmp_path / "none.mp4")


def test_frames_that_are_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encode(tmp_path / "a.mp4", FRAMES)
    monkeypatch.setattr(library, "MAX_PIXELS", 96 * 128 - 1)
    with pytest.raises(pr.InputError, match=r"a.mp4 has frames of 128x96, more than the 12287 pixels allowed"):
        pr.open_video(tmp_path / "a.mp4")


def write(path: Path, *frames: np.ndarray, stop: type[BaseException] | None = None) -> None:
    with pr.clip_writer(path, 25) as writer:
        for number, frame in enumerate(frames):
            writer.write(frame, number / 25)
        if stop is not None:
            raise stop


@pytest.mark.parametrize("name", ["o.mp4", "o.gif", "o"])
def test_nothing_half_written(tmp_path: Path, name: str) -> None:
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / name, FRAMES[0], stop=KeyboardInterrupt)
    with pytest.raises(pr.InputError, match="is not written: there was no frame for it"):
        write(tmp_path / name)
    for bad in (FRAMES[0][:50], FRAMES[0][..., 0], FRAMES[0] / 255):
        with pytest.raises(pr.InputError, match=r"make all alike|expected uint8 \(H, W, 3\)"):
            write(tmp_path / name, FRAMES[0], bad)
    assert list(tmp_path.iterdir()) == []
    write(tmp_path / name, *FRAMES[:2])
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / name, FRAMES[0], stop=KeyboardInterrupt)
    assert len(list(pr.open_video(tmp_path / name))) == 2  # what was there before stays


def test_without_pyav(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encode(tmp_path / "a.mp4", FRAMES)
    monkeypatch.setitem(sys.modules, "av", None)
    for call in (pr.open_video, pr.read_video, pr.read_sound):
        with pytest.raises(pr.BackendError, match=r"a.mp4 needs PyAV: pip install 'perceiver-runtime\[video\]'"):
            call(tmp_path / "a.mp4")
    with pytest.raises(pr.BackendError, match=r"o.mp4 needs PyAV: pip install 'perceiver-runtime\[video\]'"):
        pr.write_video(tmp_path / "o.mp4", FRAMES)
    pr.write_video(tmp_path / "o.gif", FRAMES)
    assert pr.open_video(tmp_path / "o.gif").count == 10
