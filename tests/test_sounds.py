"""Sound: resampling against scipy, files against the standard library, and what is refused."""

import struct
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from heads import CLIP_CONSTANTS
from scipy.signal import resample_poly

from perceiver_runtime import InputError, read_wav, write_wav
from perceiver_runtime.files.wav import Sound
from perceiver_runtime.processing.multimodal import MultimodalProcessor
from perceiver_runtime.processing.sound import clip_audio, mono, resample

CLIP = MultimodalProcessor.from_json(CLIP_CONSTANTS)


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
        ([0.0], 48000, "the audio is a list: give a path"),
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
