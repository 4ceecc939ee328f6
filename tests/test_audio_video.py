"""Sound and clips: resampling against scipy, files against the standard library and Pillow, and what is refused."""

import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.signal import resample_poly
from skimage import data

from perceiver_io.multimodal import output_positions as torch_positions
from perceiver_runtime import InputError, IntegrityError, PerceiverError, read_video, read_wav, write_video, write_wav
from perceiver_runtime.audio_processing import fit_length, mono, resample
from perceiver_runtime.multimodal_processing import MultimodalProcessor, output_positions

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
    assert fit_length(np.ones(3, np.float32), 5).tolist() == [1, 1, 1, 0, 0]
    assert CLIP.audio(None, 48000).shape == (1, 640, 1)
    assert CLIP.audio(np.ones(100, np.float32), 48000)[0, :, 0].sum() == 100


@pytest.mark.parametrize(
    ("audio", "rate", "message"),
    [
        (np.array([0.0, np.nan]), 48000, "the audio holds NaN or infinity: replace those samples"),
        (np.zeros(641), 48000, "the audio has 641 samples, the clip takes 640: cut it to the part of these frames"),
        (np.zeros(10), 0, "the sampling rate is 0: give whole Hz from 1000 to 768000"),
        (np.zeros(10), 44100.5, r"the sampling rate is 44100\.5: give whole Hz"),
        (np.zeros(10), float("nan"), "the sampling rate is nan"),
        (np.zeros((2, 100)), 48000, r"the audio has shape \(2, 100\), expected \(samples, channels\): transpose it"),
        (np.zeros((2, 2, 2)), 48000, r"the audio has shape \(2, 2, 2\)"),
        (np.zeros(0), 48000, r"the audio has shape \(0,\)"),
        (np.zeros(10, np.int64), 48000, "the audio is int64, expected float"),
        ([0.0], 48000, "the audio is a list, expected a numpy array"),
    ],
)
def test_sound_that_is_refused(audio: Any, rate: float, message: str) -> None:
    with pytest.raises(InputError, match=message):
        CLIP.audio(audio, rate)


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
    [{"frames": 0}, {"frames": 99999}, {"samples_per_patch": 7}, {"frame_size": [9]}, {"query_bytes": 0}, {"frames": "x"}],
)
def test_constants_that_make_no_sense(change: dict[str, Any]) -> None:
    with pytest.raises(IntegrityError, match="processor constants"):
        MultimodalProcessor.from_json({**CONSTANTS, **change})
