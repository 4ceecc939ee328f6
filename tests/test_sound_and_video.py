"""Audio and video classification as bundles: equal to transformers' compositions, windows, pictures, every command."""

import dataclasses
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from own_models import varied
from PIL import Image as Pillow
from transformers import PerceiverConfig
from transformers import PerceiverModel as Theirs
from transformers.models.perceiver import modeling_perceiver as theirs
from videos import encode, photographs

import perceiver_deploy as pd
import perceiver_io as pio
import perceiver_runtime as pr
from perceiver_deploy.cli import main as export
from perceiver_runtime.commands.main import main
from perceiver_runtime.files.wav import Sound
from perceiver_runtime.ray import BundleRows
from perceiver_runtime.serving.answering import Answering

CONFIG = PerceiverConfig(
    num_latents=6, d_latents=16, d_model=12, num_blocks=1, num_self_attends_per_block=1, num_self_attention_heads=4,
    num_cross_attention_heads=1, num_labels=3, samples_per_patch=16,
)  # fmt: skip
NAMES = ("stop", "go", "left")
RATE, SAMPLES, FRAMES, SIZE = 8000, 800, 4, (16, 24)


def fourier(*resolution: int) -> dict[str, Any]:
    kwargs = {"num_bands": 3, "max_resolution": resolution}
    return {"position_encoding_type": "fourier", "fourier_position_encoding_kwargs": kwargs}


def composition(preprocessor: Any) -> Any:
    trainable = {"num_channels": CONFIG.d_latents, "index_dims": 1}
    decoder = theirs.PerceiverClassificationDecoder(
        CONFIG, num_channels=CONFIG.d_latents, trainable_position_encoding_kwargs=trainable, use_query_residual=True
    )
    return varied(Theirs(CONFIG, input_preprocessor=preprocessor, decoder=decoder))


def theirs_of_sound() -> Any:
    return composition(theirs.PerceiverAudioPreprocessor(CONFIG, samples_per_patch=16, **fourier(SAMPLES // 16)))


def theirs_of_video() -> Any:
    patches = {"prep_type": "patches", "spatial_downsample": 4, "temporal_downsample": 1}
    return composition(theirs.PerceiverImagePreprocessor(CONFIG, **patches, **fourier(FRAMES, 4, 6)))


def make_listener() -> Any:
    return pio.from_transformers(theirs_of_sound())


@pytest.fixture(scope="module")
def listener(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the command line. Do not change it."""
    output = tmp_path_factory.mktemp("sound") / "listener"
    inputs = f"audio=audio:{SAMPLES},rate={RATE},channel=1"
    command = ["--model", "test_sound_and_video:make_listener", "--inputs", inputs, "--outputs", "logits=labels:stop,go,left"]
    assert export([*command, "-o", str(output)]) == 0
    return output


@pytest.fixture(scope="module")
def watcher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Do not change it."""
    output = tmp_path_factory.mktemp("video") / "watcher"
    inputs: Any = {"video": pd.Video(FRAMES, SIZE, mean=(0.5,) * 3, std=(0.25,) * 3)}
    found = pd.export_model(pio.from_transformers(theirs_of_video()), output, inputs=inputs, outputs={"y": pd.Labels(NAMES)})
    assert found.task == "video-classification"
    return output


def tone(seconds: float, rate: int = RATE) -> Any:
    time = np.arange(int(seconds * rate)) / rate
    return (0.5 * np.sin(2 * np.pi * (200 + 900 * time) * time)).astype(np.float32)


def probabilities(labels: Any) -> list[float]:
    return [next(each.probability for each in labels if each.label == name) for name in NAMES]


@torch.no_grad()
def test_sounds_are_equal_to_transformers(listener: Path) -> None:
    model, samples = theirs_of_sound(), tone(SAMPLES / RATE)
    logits = model(inputs=torch.from_numpy(samples)[None, :, None]).logits[0]
    with pr.load(listener, task="audio-classification") as classify:
        expected = logits.softmax(-1).numpy()
        np.testing.assert_allclose(probabilities(classify(samples)), expected, rtol=0, atol=1e-5)
        assert np.abs(np.array(probabilities(classify(-samples[::-1].copy()))) - expected).max() > 1e-3  # the control
        both = classify([samples, (32767 * samples).astype(np.int16)])
        np.testing.assert_allclose(probabilities(both[0]), probabilities(both[1]), atol=1e-3)
        stereo = np.stack([samples, samples], axis=1)
        np.testing.assert_allclose(probabilities(classify(stereo)), expected, rtol=0, atol=1e-5)


def test_windows_of_a_longer_sound(listener: Path) -> None:
    with pr.load(listener, task="audio-classification") as classify:
        sound = tone(0.25)  # two windows and a half
        found = classify.details(sound)
        assert [(part.start, part.end) for part in found.windows] == [(0, 0.1), (0.1, 0.2), (0.15, 0.25)]
        for part in found.windows:
            alone = classify(sound[round(part.start * RATE) : round(part.end * RATE)])
            np.testing.assert_allclose(probabilities(part.labels), probabilities(alone), atol=1e-5)
        mean = np.mean([probabilities(part.labels) for part in found.windows], axis=0)
        np.testing.assert_allclose(probabilities(classify(sound)), mean, atol=1e-6)
        assert len(classify.details(sound, hop=0.02).windows) == 9
        short = classify.details(sound[:300]).windows
        assert [(part.start, part.end) for part in short] == [(0, 300 / RATE)]
        silent = np.pad(sound[:300], (0, 500))
        np.testing.assert_allclose(probabilities(short[0].labels), probabilities(classify(silent)), atol=1e-6)
        twice = classify(Sound(tone(0.1, 16000)[:, None], 16000))
        np.testing.assert_allclose(probabilities(twice), probabilities(classify(tone(0.1, 16000), sampling_rate=16000)))
        assert probabilities(twice) != probabilities(classify(tone(0.1, 16000)))


@pytest.mark.parametrize(
    ("sound", "options", "message"),
    [
        (np.zeros((2, 2, 2), np.float32), {}, "the audio has shape"),
        (np.full(900, np.nan, np.float32), {}, "NaN"),
        (tone(0.1), {"sampling_rate": 12}, "the sampling rate is 12: give whole Hz"),
        (tone(0.1), {"hop": 0}, "windows every 0 s: give more than 0"),
        (tone(0.1), {"hop": 0.5}, "windows every 4000 samples leave some out"),
        ((tone(0.1), 8000), {"sampling_rate": 16000}, "leave out sampling_rate"),
        ([], {}, "the list of sounds is empty"),
        ("a.wav", {}, "there is no file a.wav"),
        (None, {}, "the audio is None: give a path"),
        ([tone(0.1), b"RIFX" + bytes(40)], {}, "sound 2 of 2: the sound is no WAV file.* big-endian WAV"),
    ],
)
def test_sounds_that_cannot_be_used(listener: Path, sound: Any, options: dict[str, Any], message: str) -> None:
    with pr.load(listener) as classify, pytest.raises(pr.InputError, match=message):
        classify(sound, **options)


def test_commands_of_sounds(listener: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pr.write_wav(tmp_path / "a.wav", tone(0.35, 16000), 16000)
    assert main(["verify", str(listener)]) == 0
    capsys.readouterr()
    picture = tmp_path / "labels.png"
    assert main(["run", str(listener), str(tmp_path / "a.wav"), "-o", str(picture), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["results"][0]
    assert len(found["windows"]) == 4
    with pr.load(listener) as classify:
        assert found["labels"][0]["label"] == classify(pr.read_wav(tmp_path / "a.wav"))[0].label
    pixels = np.asarray(Pillow.open(picture))
    assert pixels.shape == (240, 1000, 3)
    blue = (pixels == (40, 90, 160)).all(axis=2)
    assert blue[:216].any(axis=0).all()  # a wave in every column
    assert not blue[216:].any()  # labels below
    assert len(np.unique(pixels[238], axis=0)) >= 2  # strips of windows side by side
    assert main(["run", str(listener), "a", "b", "-o", str(tmp_path / "c.png")]) == 2
    assert main(["run", str(listener), str(tmp_path / "none.wav")]) == 1
    assert "none.wav" in capsys.readouterr().err
    for command in (["run", "--sample"], ["bench", "--runs", "2", "--batch", "2"], ["inspect"]):
        assert main([command[0], str(listener), *command[1:]]) == 0


def test_sounds_in_tables(listener: Path, tmp_path: Path) -> None:
    pr.write_wav(tmp_path / "a.wav", tone(0.1), RATE)
    column = np.empty(3, object)
    column[:] = [str(tmp_path / "a.wav"), tone(0.1), str(tmp_path / "none.wav")]
    with pr.load(listener) as classify:
        found = classify.map(
            iter([tmp_path / "a.wav", tmp_path / "none.wav", pr.read_wav(tmp_path / "a.wav")]), batch_size=3, on_error="return"
        )
        first, failed, last = found
        assert (first, "inputs[1]: there is no file" in str(failed)) == (last, True)
        details = classify.details((tmp_path / "a.wav").read_bytes())
        assert json.loads(json.dumps(details.to_dict()))["windows"][0]["labels"] == first.to_dict()["labels"]
        assert repr(details) == f"SoundLabels({first[0].label!r} {first[0].probability:.3g}, 1 window)"
        assert first._repr_html_() == details._repr_html_()
    table = BundleRows(listener)({"audio": column})
    assert list(table["label"][:2]) == [table["label"][0]] * 2
    assert "none.wav" in table["error"][2]


def clip(frames: int) -> Any:
    return (np.random.default_rng(0).random((frames, 20, 40, 3)) * 255).astype(np.uint8)


@torch.no_grad()
def test_clips_are_equal_to_transformers(watcher: Path) -> None:
    processor = pd.Image(SIZE, mean=(0.5,) * 3, std=(0.25,) * 3).processor
    frames = clip(9)
    chosen = np.linspace(0, 8, FRAMES, dtype=np.int64)  # as transformers' pipeline chooses
    pixels = np.stack([processor(frames[place]) for place in chosen])
    expected = theirs_of_video()(inputs=torch.from_numpy(pixels)[None]).logits[0].softmax(-1).numpy()
    with pr.load(watcher, task="video-classification") as classify:
        np.testing.assert_allclose(probabilities(classify(frames)), expected, rtol=0, atol=1e-5)
        assert np.abs(np.array(probabilities(classify(frames[::-1]))) - expected).max() > 1e-4  # the control
        assert classify([frames, frames[1:]], top_k=1)[0][0].label == NAMES[expected.argmax()]
        with pytest.raises(pr.InputError, match="the clip has 3 frames, the model takes 4: give as many or more"):
            classify(frames[:3])
        with pytest.raises(pr.InputError, match=r"the clip is \(20, 40, 3\), expected frames"):
            classify(frames[0])


def test_commands_of_clips(watcher: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save(tmp_path / "a.npy", clip(6))
    pr.write_video(tmp_path / "b.gif", clip(2))
    assert main(["verify", str(watcher)]) == 0
    capsys.readouterr()
    assert main(["run", str(watcher), str(tmp_path / "a.npy"), str(tmp_path / "b.gif"), "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["results"][0]["labels"][0]["label"] in NAMES
    assert "has 2 frames, the model takes 4" in found["errors"][0]["error"]
    for command in (["run", "--sample"], ["bench", "--runs", "2"], ["inspect"]):
        assert main([command[0], str(watcher), *command[1:]]) == 0
    table = BundleRows(watcher)({"video": np.array([str(tmp_path / "a.npy")], object)})
    assert table["label"][0] == found["results"][0]["labels"][0]["label"]


def test_video_files(watcher: Path, listener: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Evenly spaced frames of the file, also where its header says a wrong number; its sound; a table; how good that is."""
    (tmp_path / "data/go").mkdir(parents=True)
    path = tmp_path / "data/go/a.mp4"
    encode(path, photographs(11), sound=tone(0.44))
    video = pr.open_video(path)
    with pr.load(watcher, task="video-classification") as classify:
        expected = classify(pr.read_video(path))
        wrong = [dataclasses.replace(video, count=count) for count in (None, 2, 9, 30)]
        assert classify([path, *wrong]) == [expected] * 5
        assert classify(iter([pr.read_video(path)[1:]]))[0] != expected  # the control
        assert classify(np.stack([clip(6)] * 2)) == classify([list(clip(6))] * 2)
        assert classify([clip(6), "none.mp4"][:1]) == list(classify.map([clip(6)]))
        short = dataclasses.replace(video, _read=lambda start: (each for each in itertools.islice(video._read(start), 3)))
        with pytest.raises(pr.InputError, match="the clip has 3 frames, the model takes 4"):
            classify(short)
    lines = tmp_path / "a.jsonl"
    assert main(["run", str(watcher), str(path.parent), "--jsonl", str(lines), "--top-k", "2"]) == 0
    assert json.loads(lines.read_text())["labels"] == expected.to_dict()["labels"][:2]
    with pr.load(listener) as listen:
        assert listen(path) == listen(pr.read_sound(path))
    for bundle in (watcher, listener):
        capsys.readouterr()
        assert main(["evaluate", str(bundle), str(tmp_path / "data"), "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["classes"][0]["count"] == 1


def test_contents_of_files(listener: Path, watcher: Path, tmp_path: Path) -> None:
    """What servers are sent: a WAV's bytes, a video file's and a GIF's; no path of the server is in an error."""
    pr.write_wav(tmp_path / "tone.wav", tone(0.1), RATE)
    with pr.load(listener, device="cpu", threads=1) as hear:
        answering = Answering(hear)
        (found,) = answering.answers([{"audio": (tmp_path / "tone.wav").read_bytes()}], {"top_k": 2})
        assert found == hear(tmp_path / "tone.wav", top_k=2)
        with pytest.raises(pr.InputError, match="the sound"):
            answering.answers([{"audio": b"no sound at all"}], {})
    frames = clip(FRAMES)
    np.save(tmp_path / "clip.npy", frames)
    stills = [Pillow.fromarray(np.asarray(frame)) for frame in frames]
    stills[0].save(tmp_path / "clip.gif", save_all=True, append_images=stills[1:], duration=40)
    with pr.load(watcher, device="cpu", threads=1) as watch:
        answering = Answering(watch)
        for name in ("clip.npy", "clip.gif"):
            (found,) = answering.answers([{"video": (tmp_path / name).read_bytes()}], {"top_k": 3})
            assert found == watch(tmp_path / name, top_k=3)
        with pytest.raises(pr.InputError) as refused:
            answering.answers([{"video": b"no video at all"}], {})
        assert "video" in str(refused.value)
        assert "/tmp" not in str(refused.value)
