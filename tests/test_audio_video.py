"""Sound and clips: resampling against scipy, files against the standard library and Pillow, and what is refused."""

import struct
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.signal import resample_poly
from skimage import data

from perceiver_io.tasks.multimodal import output_positions as torch_positions
from perceiver_runtime import InputError, IntegrityError, PerceiverError, read_video, read_wav, write_video, write_wav
from perceiver_runtime.files import videos as video_files
from perceiver_runtime.files.wav import Sound
from perceiver_runtime.processing.multimodal import MultimodalProcessor, output_positions
from perceiver_runtime.processing.sound import clip_audio, mono, resample

CONSTANTS: dict[str, Any] = {
    "frames": 4,
    "frame_size": [32, 48],
    "audio_samples": 640,
    "samples_per_patch": 16,
    "sampling_rate": 48000,
    "query_chunk": 100,
    "query_bytes": 1000,
}
CLIP = MultimodalProcessor.from_json(CONSTANTS)


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 22050, 32000, 44100, 96000, 44056])
def test_resampling_is_scipy_s(rate: int) -> None:
    samples = np.random.default_rng(0).standard_normal(2000).astype(np.float32)
    common = np.gcd(rate, 48000)
    expected = resample_poly(samples.astype(np.float64), 48000 // common, rate // common)
    found = resample(samples, rate, 48000)
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= 1e-5
    linear = np.interp(np.arange(len(expected)) * rate / 48000, np.arange(2000), samples)
    assert np.abs(linear - expected).max() > 0.1


def test_a_tone_stays_a_tone() -> None:
    time = np.arange(4410) / 44100
    found = resample(np.sin(2 * np.pi * 1000 * time).astype(np.float32), 44100, 48000)
    expected = np.sin(2 * np.pi * 1000 * np.arange(len(found)) / 48000)
    assert np.abs(found - expected)[200:-200].max() < 2e-3


@pytest.mark.parametrize(
    ("audio", "expected"),
    [
        (np.array([[0.5, -0.5], [1.0, 0.0]]), [0.0, 0.5]),
        (np.array([-32768, 16384], np.int16), [-1.0, 0.5]),
        (np.array([0, 128, 192], np.uint8), [-1.0, 0.0, 0.5]),
        (np.array([1 << 30], np.int32), [0.5]),
    ],
)
def test_mono(audio: Any, expected: list[float]) -> None:
    assert mono(audio).tolist() == expected


def test_silence_after_the_sound() -> None:
    assert clip_audio(np.ones(3, np.float32), 8000, 8000, 5).tolist() == [1, 1, 1, 0, 0]
    assert CLIP.audio(None, 48000).shape == (1, 640, 1)
    assert CLIP.audio(np.ones(100, np.float32), 48000)[0, :, 0].sum() == 100


@pytest.mark.parametrize(
    ("audio", "rate", "message"),
    [
        (np.array([0.0, np.nan]), 48000, "the audio holds NaN or infinity: replace those samples"),
        (np.zeros(641), 48000, "the audio has 641 samples at 48000 Hz, the clip takes 640: cut it to the part of these frames"),
        (np.zeros(10), 0, "the sampling rate is 0: give whole Hz from 1000 to 768000"),
        (np.zeros(10), 44100.5, r"the sampling rate is 44100\.5: give whole Hz"),
        (np.zeros(10), float("nan"), "the sampling rate is nan"),
        (np.zeros((2, 100)), 48000, r"the audio has shape \(2, 100\), expected \(samples, channels\): transpose it"),
        (np.zeros((2, 2, 2)), 48000, r"the audio has shape \(2, 2, 2\)"),
        (np.zeros(0), 48000, r"the audio has shape \(0,\)"),
        (np.zeros(10, np.int64), 48000, "the audio is int64, expected float"),
        (
            np.array([0.0, 3e4]),
            48000,
            "float64 with values up to 30000, expected .* divide 16-bit values by 32768",
        ),
        (np.zeros(10), True, "the sampling rate is True: give whole Hz"),
        (np.zeros(10), "8000", "the sampling rate is 8000: give whole Hz"),
        (Sound(np.zeros(10, np.float32), 8000), 48000, "the audio has 8000 Hz, sampling_rate says 48000: leave out"),
        ((np.zeros(10), 8000, 1), None, "the audio is a tuple: give samples, or a pair of samples and their rate"),
        ([0.0], 48000, "the audio is a list, expected a numpy array"),
    ],
)
def test_sound_that_is_refused(audio: Any, rate: float, message: str) -> None:
    with pytest.raises(InputError, match=message):
        CLIP.audio(audio, rate)


@pytest.mark.parametrize("target", [8000, 16000, 48000])
@pytest.mark.parametrize("rate", [44056, 48048, 22254, 32768, 11025, 22050, 44100, 8000, 47999, 1001])
def test_a_clip_s_sound_at_any_rate(rate: int, target: int, tmp_path: Path) -> None:
    """As many samples as cover the clip give exactly its number, every one from the sound; one more is too many."""
    length = 5120
    covering = -(-length * rate // target)
    assert len(clip_audio(np.ones(covering, np.float32), rate, target, length)) == length
    with pytest.raises(InputError, match=f"has {covering + 1} samples at {rate} Hz, the clip takes {covering}"):
        clip_audio(np.ones(covering + 1, np.float32), rate, target, length)
    write_wav(tmp_path / "a.wav", np.full(covering + 50, 0.5, np.float32), rate)
    sound = read_wav(tmp_path / "a.wav", seconds=length / target)
    assert len(sound.samples) == covering
    found = clip_audio(sound.samples, np.int64(sound.rate), target, length)
    assert abs(found[length // 2] - 0.5) < 1e-2
    assert found[-1] > 0.05  # sound, not the silence after it


def test_a_sound_brings_its_rate() -> None:
    tone = np.sin(np.arange(100) / 3).astype(np.float32)
    at_8000 = CLIP.audio(Sound(tone[:, None], 8000))
    assert np.array_equal(at_8000, CLIP.audio(tone, 8000))
    assert np.array_equal(at_8000, CLIP.audio((tone, np.int64(8000)), np.float64(8000)))
    assert np.array_equal(CLIP.audio(tone), CLIP.audio(tone, 48000))  # the bundle's own
    assert not np.array_equal(at_8000, CLIP.audio(tone))


def wav_bytes(code: int, bits: int, data: bytes, *, extensible: bool = False, channels: int = 1, rf64: bool = False) -> bytes:
    frame = channels * bits // 8
    form = struct.pack("<HHIIHH", 0xFFFE if extensible else code, channels, 8000, 8000 * frame, frame, bits)
    if extensible:
        form += struct.pack("<HHIH", 22, bits, 0, code) + bytes.fromhex("000000001000800000aa00389b71")
    long = b"ds64" + struct.pack("<IQQQI", 28, 0, len(data), 0, 0) if rf64 else b""
    size = 0xFFFFFFFF if rf64 else len(data)
    body = b"WAVE" + long + b"fmt " + struct.pack("<I", len(form)) + form + b"LIST\x03\0\0\0abc\0"
    body += b"data" + struct.pack("<I", size) + data
    return (b"RF64" if rf64 else b"RIFF") + struct.pack("<I", 0xFFFFFFFF if rf64 else len(body)) + body


VALUES = np.array([-1.0, -0.5, 0.0, 0.25, 0.75])


@pytest.mark.parametrize(
    ("code", "bits", "data"),
    [
        (1, 8, (VALUES * 128 + 128).astype(np.uint8).tobytes()),
        (1, 16, (VALUES * 2**15).astype("<i2").tobytes()),
        (1, 24, b"".join(int(v * 2**23).to_bytes(3, "little", signed=True) for v in VALUES)),
        (1, 32, (VALUES * 2**31).astype("<i4").tobytes()),
        (3, 32, VALUES.astype("<f4").tobytes()),
        (3, 64, VALUES.astype("<f8").tobytes()),
    ],
)
@pytest.mark.parametrize("kind", ["", "extensible", "rf64"])
def test_kinds_of_wav_files(code: int, bits: int, data: bytes, kind: str, tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(wav_bytes(code, bits, data, extensible=kind == "extensible", rf64=kind == "rf64"))
    sound = read_wav(tmp_path / "a.wav")
    assert sound.samples[:, 0].tolist() == VALUES.tolist()
    assert sound.rate == 8000


@pytest.mark.parametrize(("code", "name"), [(6, "alaw2lin"), (7, "ulaw2lin")])
def test_telephone_wav_files(code: int, name: str, tmp_path: Path) -> None:
    audioop = pytest.importorskip("audioop")
    (tmp_path / "a.wav").write_bytes(wav_bytes(code, 8, bytes(range(256))))
    expected = np.frombuffer(getattr(audioop, name)(bytes(range(256)), 2), "<i2") / 32768
    assert np.array_equal(read_wav(tmp_path / "a.wav").samples[:, 0], expected.astype(np.float32))


def test_wav_files_without_a_length(tmp_path: Path) -> None:
    """As ffmpeg writes to a pipe, and as a recorder leaves one when it is killed; an empty one stays empty."""
    raw = wav_bytes(1, 16, (VALUES * 2**15).astype("<i2").tobytes())
    place = raw.index(b"data") + 4
    for length, riff in ((b"\xff" * 4, raw[4:8]), (bytes(4), bytes(4))):
        (tmp_path / "a.wav").write_bytes(raw[:4] + riff + raw[8:place] + length + raw[place + 4 :])
        assert read_wav(tmp_path / "a.wav").samples[:, 0].tolist() == VALUES.tolist()
    (tmp_path / "a.wav").write_bytes(wav_bytes(1, 16, b"") + b"LIST\x04\0\0\0abcd")
    with pytest.raises(InputError, match=r"is 0\.00 s long"):
        read_wav(tmp_path / "a.wav")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (wav_bytes(0x55, 16, b"abcd"), "has 16-bit samples in MP3: convert it: ffmpeg -i IN -c:a pcm_s16le OUT.wav"),
        (wav_bytes(2, 4, b"abcd", channels=2), "has 4-bit samples in ADPCM: convert it"),
        (wav_bytes(0x1234, 16, b"abcd"), "in format 0x1234: convert it"),
        (wav_bytes(1, 64, bytes(8)), "has 64-bit samples in format 0x1: convert it"),
        (wav_bytes(1, 16, bytes(4), channels=0), "says 0 channels"),
        (b"ID3\x04 and so on", "is no WAV file that can be read, it is MP3: convert it"),
        (b"fLaC and so on", "it is FLAC"),
        (b"RIFX\0\0\0\0WAVE", "it is big-endian WAV"),
        (b"RIFF\0\0\0\0WAVEdata", "its chunks are damaged"),
        (b"RIFF\0\0\0\0WAVEfmt \x02\0\0\0ab", "its format is damaged"),
    ],
)
def test_other_sound_files_are_named(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_wav(tmp_path / "a.wav")


@pytest.mark.parametrize("start", [float("nan"), float("inf"), -1.0])
def test_where_a_sound_begins(start: float, tmp_path: Path) -> None:
    write_wav(tmp_path / "a.wav", np.zeros(100, np.float32), 8000)
    with pytest.raises(InputError, match=f"at {start} s"):
        read_wav(tmp_path / "a.wav", start=start)


def test_sounds_that_are_not_written(tmp_path: Path) -> None:
    silence = np.zeros(10, np.float32)
    cases = [
        ("a.mp3", silence, 8000, r"a\.mp3 cannot be written: a sound has a name that ends in \.wav or \.wave"),
        ("a.wav", silence * np.nan, 8000, "not finite: expected floats"),
        ("a.wav", np.zeros(10, np.int32), 8000, "the samples are int32"),
        ("a.wav", np.zeros((2, 100), np.float32), 8000, "have shape"),
        ("a.wav", silence, 0, "the sampling rate is 0"),
    ]
    for name, samples, rate, message in cases:
        with pytest.raises(InputError, match=message):
            write_wav(tmp_path / name, samples, rate)
    assert list(tmp_path.iterdir()) == []
    write_wav(tmp_path / "a.wav", np.array([-32768, 16384], np.int16), np.int64(8000))  # type: ignore[arg-type]
    assert read_wav(tmp_path / "a.wav").samples[:, 0].tolist() == [-1.0, 0.5]


@pytest.mark.parametrize("width", [1, 2, 3, 4])
def test_wav_files_of_any_width(width: int, tmp_path: Path) -> None:
    values = np.linspace(-1, 1, 50)[:-1]
    integers = np.floor(values * 2 ** (8 * width - 1)).astype(np.int64)
    raw = b"".join(int(v + (128 if width == 1 else 0)).to_bytes(width, "little", signed=width > 1) for v in integers)
    with wave.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setparams((1, width, 22050, 0, "NONE", ""))
        file.writeframes(raw)
    sound = read_wav(tmp_path / "a.wav")
    assert sound.rate == 22050
    assert np.abs(sound.samples[:, 0] - integers / 2 ** (8 * width - 1)).max() < 1e-6
    part = read_wav(tmp_path / "a.wav", start=10 / 22050, seconds=5 / 22050)
    assert np.array_equal(part.samples, sound.samples[10:15])


def test_wav_round_trip(tmp_path: Path) -> None:
    stereo = np.random.default_rng(0).uniform(-1, 1, (100, 2)).astype(np.float32)
    write_wav(tmp_path / "a.wav", stereo, 48000)
    assert np.abs(read_wav(tmp_path / "a.wav").samples - stereo).max() < 1 / 16000
    write_wav(tmp_path / "loud.wav", np.array([9.0, -9.0], np.float32), 48000)
    assert np.abs(read_wav(tmp_path / "loud.wav").samples).max() <= 1


def test_wav_files_that_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"RIFFnot a wav")
    with pytest.raises(InputError, match="is no WAV file that can be read"):
        read_wav(tmp_path / "a.wav")
    with pytest.raises(InputError, match="there is no file"):
        read_wav(tmp_path / "b.wav")
    write_wav(tmp_path / "c.wav", np.zeros(4800, np.float32), 48000)
    with pytest.raises(InputError, match=r"is 0\.10 s long: it has nothing at 3 s"):
        read_wav(tmp_path / "c.wav", start=3)


def frames(count: int) -> np.ndarray:
    return np.stack([data.chelsea()[10 * step : 10 * step + 40, :60] for step in range(count)])


def test_clips_in_files(tmp_path: Path) -> None:
    clip = frames(12)
    write_video(tmp_path / "clip", clip)
    assert np.array_equal(read_video(tmp_path / "clip"), clip)
    np.save(tmp_path / "clip.npy", clip)
    assert np.array_equal(read_video(tmp_path / "clip.npy"), clip)
    write_video(tmp_path / "clip.gif", clip, frames_per_second=25)
    with Image.open(tmp_path / "clip.gif") as gif:
        assert (gif.n_frames, gif.info["duration"]) == (12, 40)
    found = read_video(tmp_path / "clip.gif")
    assert found.shape == clip.shape
    assert np.abs(found.astype(int) - clip).mean() < 8  # a GIF has 256 colours
    assert np.abs(found[::-1].astype(int) - clip).mean() > 16


def test_pictures_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for number in (10, 9, 1):
        Image.fromarray(np.full((4, 4, 3), number, np.uint8)).save(tmp_path / f"frame{number}.png")
    assert read_video(tmp_path)[:, 0, 0, 0].tolist() == [1, 9, 10]


def test_frames_that_repeat_are_kept(tmp_path: Path) -> None:
    """Sixteen frames, three of them different; then all alike."""
    clip = frames(3)[[0, 0, 0, 1, 1, 0, 0, 2, 2, 2, 2, 2, 1, 1, 1, 1]]
    for each in (clip, clip[:1].repeat(16, axis=0)):
        write_video(tmp_path / "a.gif", each)
        found = read_video(tmp_path / "a.gif")
        assert found.shape == each.shape
        assert np.abs(found.astype(int) - each).mean() < 8
        assert [np.array_equal(found[n], found[n + 1]) for n in range(15)] == [
            np.array_equal(each[n], each[n + 1]) for n in range(15)
        ]
    few = (np.indices((8, 9)).sum(axis=0) % 3 * 100).astype(np.uint8)  # three colours survive as they are
    few = np.stack([np.dstack([few, few, few]), np.dstack([few, 255 - few, few])])
    write_video(tmp_path / "few.gif", few)
    assert np.array_equal(read_video(tmp_path / "few.gif"), few)


def test_the_ending_decides(tmp_path: Path) -> None:
    for name in ("o.mp4", "o.webm", "o.png"):
        with pytest.raises(InputError, match=f"{name} cannot be written: a clip becomes an animated GIF"):
            write_video(tmp_path / name, frames(2))
    assert list(tmp_path.iterdir()) == []
    write_video(tmp_path / "O.GIF", frames(2))
    assert read_video(tmp_path / "O.GIF").shape[0] == 2
    (tmp_path / "take.2").mkdir()
    write_video(tmp_path / "take.2", frames(2))
    assert np.array_equal(read_video(tmp_path / "take.2"), frames(2))


def test_a_shorter_clip_over_a_longer_one(tmp_path: Path) -> None:
    """Into a folder: what would be left of the longer one is named; one as long replaces it."""
    write_video(tmp_path / "clip", frames(3))
    with pytest.raises(InputError, match=r"clip holds other pictures, 0002.png among them: give another folder"):
        write_video(tmp_path / "clip", frames(2))
    write_video(tmp_path / "clip", frames(3)[::-1])
    assert np.array_equal(read_video(tmp_path / "clip"), frames(3)[::-1])
    assert [path.name for path in tmp_path.iterdir()] == ["clip"]


def test_a_clip_that_fails_half_way_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, frame: Any) -> None:
        if path.name == "0001.png":
            raise InputError("no space left on device")
        path.write_bytes(b"")

    monkeypatch.setattr(video_files, "write_image", full)
    with pytest.raises(InputError, match="no space left"):
        write_video(tmp_path / "clip", frames(3))
    assert list(tmp_path.iterdir()) == []


def test_a_still_is_no_clip(tmp_path: Path) -> None:
    Image.fromarray(frames(1)[0]).save(tmp_path / "still.png")
    with pytest.raises(InputError, match=r"still.png is no clip: give a folder of pictures, an animated GIF, or a .npy"):
        read_video(tmp_path / "still.png")
    np.save(tmp_path / "still.npy", frames(1)[0])
    with pytest.raises(InputError, match=r"holds an array of shape \(40, 60, 3\), expected a clip \(T, H, W, 3\)"):
        read_video(tmp_path / "still.npy")
    with pytest.raises(InputError, match=r"the clip has shape \(4, 60, 3\), expected \(T, H, W, 3\)"):
        CLIP.video(frames(1)[0][:4])


def test_names_of_frames(tmp_path: Path) -> None:
    """Digits that are no numbers, hidden files, numbers with zeros; a frame that is there twice is named."""
    for value, name in enumerate(["1.png", "1²3.png", "2.png", "٣.png", "b01.png", "b1.png"]):
        Image.fromarray(np.full((4, 4, 3), value, np.uint8)).save(tmp_path / name)
    (tmp_path / "._0.png").write_bytes(b"what macOS leaves")
    (tmp_path / ".hidden.png").write_bytes(b"")
    assert sorted(read_video(tmp_path)[:, 0, 0, 0].tolist()) == [0, 1, 2, 3, 4, 5]
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(tmp_path / "2.bmp")
    with pytest.raises(InputError, match="holds 2 in several formats: keep one"):
        read_video(tmp_path)


def test_parts_of_clips(tmp_path: Path) -> None:
    """Of each kind the frames asked for, and no others are decoded."""
    clip = frames(6)
    write_video(tmp_path / "clip", clip)
    np.save(tmp_path / "clip.npy", clip)
    write_video(tmp_path / "clip.gif", clip)
    whole = read_video(tmp_path / "clip.gif")
    (tmp_path / "clip" / "0000.png").write_bytes(b"broken, and not asked for")
    for name, expected in (("clip", clip), ("clip.npy", clip), ("clip.gif", whole)):
        assert np.array_equal(read_video(tmp_path / name, start=2, frames=3), expected[2:5])
        with pytest.raises(InputError, match=f"{name} has 6 frames: the first of 3 can be number 0 to 3, not 4"):
            read_video(tmp_path / name, start=4, frames=3)
        with pytest.raises(InputError, match=f"{name} has 6 frames, 16 are needed: give a longer clip"):
            read_video(tmp_path / name, start=0, frames=16)


def test_clips_that_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no pictures"):
        read_video(tmp_path)
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(tmp_path / "a.png")
    Image.fromarray(np.zeros((5, 4, 3), np.uint8)).save(tmp_path / "b.png")
    with pytest.raises(InputError, match="differ in size"):
        read_video(tmp_path)
    (tmp_path / "bad.gif").write_bytes(b"GIF89a broken")
    with pytest.raises(InputError, match="is not a GIF that can be read"):
        read_video(tmp_path / "bad.gif")
    with pytest.raises(InputError, match="the clip has 3 frames, the model takes exactly 4: choose 4"):
        CLIP.video(frames(3))
    with pytest.raises(InputError, match=r"frame 0 has shape \(40, 60, 2\)"):
        CLIP.video(frames(4)[..., :2])


def test_frames_are_cropped_to_the_model_s_proportions() -> None:
    wide = np.zeros((4, 64, 200, 3), np.uint8)
    wide[:, :, 52:148] = 255  # the middle 96 of 200 columns: all that a 32x48 frame of 64 rows takes
    found = CLIP.video(wide)
    assert found.shape == (1, 4, 3, 32, 48)
    assert found.min() == 1.0
    assert CLIP.video([frame / 255 for frame in wide]).shape == (1, 4, 3, 32, 48)


@pytest.mark.parametrize("size", [(16, 224, 224), (1920,), (5, 7)])
def test_output_positions_are_torch_s(size: tuple[int, ...]) -> None:
    places = np.unique(np.linspace(0, np.prod(size) - 1, 5000).astype(np.int64))
    expected = torch_positions(torch.from_numpy(places), size).numpy()
    assert np.array_equal(output_positions(places, size), expected)
    ends = [np.linspace(-1, 1, side, dtype=np.float32) for side in size]
    assert expected.max() < 1 <= max(axis.max() for axis in ends)  # not the inputs' grid, which has both ends


def test_chunks() -> None:
    assert CLIP.chunk(None, None) == 100
    assert CLIP.chunk(7, "500MB") == 7
    assert CLIP.chunk(None, "5MB") == CLIP.chunk(None, 5_000_000) == 5000
    for wrong in ((0, None), (None, 0), (None, float("nan")), (None, "lots")):
        with pytest.raises(PerceiverError, match="give"):
            CLIP.chunk(*wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "change",
    [
        {"frames": 0},
        {"frames": 99999},
        {"frames": 1.5},
        {"frames": True},
        {"frames": "8"},
        {"samples_per_patch": 7},
        {"samples_per_patch": 0},
        {"frame_size": [9]},
        {"frame_size": [8.0, 8.0]},
        {"query_bytes": 0},
        {"query_chunk": 1 << 40},
        {"sampling_rate": None},
        {"sampling_rate": 1 << 40},
    ],
)
def test_constants_that_make_no_sense(change: dict[str, Any]) -> None:
    (name,) = change
    with pytest.raises(IntegrityError, match=rf"manifest\.processor.*\b{name}\b"):
        MultimodalProcessor.from_json({**CONSTANTS, **change})
