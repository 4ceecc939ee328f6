"""Sound to tokens within a model: equal to transformers' spectrogram, deaf to volume, float32 wherever it runs."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
import torch
from transformers import audio_utils

import perceiver_io as pio
from perceiver_deploy.own.composition import kinds_of
from perceiver_export.export import export_specs
from perceiver_export.passes.precision import lower_precision
from perceiver_export.targets import Lowering
from perceiver_export.tasks.audio import audio_classification_graphs
from perceiver_runtime.backends.onnxruntime import onnxruntime

SMALL = pio.SpectrogramConfig(samples=1600, sampling_rate=8000, frame=200, hop=80, bands=24, highest_hz=3900, channels=16)
ENCODER = pio.EncoderConfig(num_latents=8, latent_channels=16, layers_per_block=1, self_attention_heads=2)
CONFIG = pio.AudioClassificationConfig(ENCODER, pio.DecoderConfig(), SMALL, ("stop", "go"))


def sound(config: pio.SpectrogramConfig) -> Any:
    """A rising tone in noise: (samples,)."""
    place = np.linspace(0, 1, config.samples)
    noise = np.random.default_rng(0).standard_normal(config.samples)
    return (0.3 * np.sin(2 * np.pi * (200 + 400 * place) * place) + 0.02 * noise).astype(np.float32)


@pytest.mark.parametrize("config", [SMALL, pio.SpectrogramConfig()])
def test_it_is_transformers_spectrogram(config: pio.SpectrogramConfig) -> None:
    audio = sound(config)
    filters = audio_utils.mel_filter_bank(
        config.frame // 2 + 1, config.bands, config.lowest_hz, config.highest_hz, config.sampling_rate, mel_scale="htk"
    )
    filters = filters / np.maximum(filters.sum(axis=0), 1e-12)
    window = audio_utils.window_function(config.frame, "hann")
    power = audio_utils.spectrogram(
        audio, window / window.sum(), config.frame, config.hop, config.frame, power=2.0, center=False, mel_filters=filters,
        mel_floor=0,
    )  # fmt: skip
    known = filters.sum(axis=0) > 0.5  # not those between two frequencies
    assert known.sum() >= config.bands - 4
    preprocessor = pio.SpectrogramPreprocessor(config)
    found = preprocessor.spectrogram(torch.from_numpy(audio)[None])[0].numpy()
    share = np.exp(found.astype(np.float64)) - 1e-5
    expected = power / (share.mean() and power[known].mean() / share[known].mean())
    np.testing.assert_allclose(share[known], expected[known], rtol=2e-3, atol=2e-6 * expected.max())
    assert np.abs(share[known] - np.roll(expected[known], 1, axis=1)).max() > 0.1 * expected.max()
    assert share.mean() == pytest.approx(1, rel=1e-4)


def test_volume_and_silence() -> None:
    preprocessor = pio.SpectrogramPreprocessor(SMALL)
    audio = torch.from_numpy(sound(SMALL))[None]
    loud = preprocessor.spectrogram(audio)
    torch.testing.assert_close(preprocessor.spectrogram(0.003 * audio), loud, rtol=0, atol=1e-3)
    assert (preprocessor.spectrogram(audio.flip(1)) - loud).abs().max() > 1
    torch.testing.assert_close(preprocessor.spectrogram(0 * audio), torch.full_like(loud, np.log(1e-5)))
    assert preprocessor(audio).shape == (1, SMALL.tokens, preprocessor.channels)


def test_autocast_leaves_it_alone() -> None:
    preprocessor = pio.SpectrogramPreprocessor(SMALL)
    audio = torch.from_numpy(sound(SMALL))[None]
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(preprocessor.spectrogram(audio), preprocessor.spectrogram(audio.float()))
        assert preprocessor.spectrogram(audio).dtype == torch.float32
        assert preprocessor.first(torch.zeros(1, SMALL.bands, 9)).dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"frame": 2000}, "frame is 2000, a window has 1600 samples"),
        ({"highest_hz": 5000}, "do not fit sound at 8000 Hz"),
        ({"lowest_hz": 3900}, "do not fit sound at 8000 Hz"),
        ({"kernel": 4}, "kernel is 4: give an odd number"),
        ({"hop": 0}, "hop is 0, expected 1"),
    ],
)
def test_refused(change: dict[str, int], message: str) -> None:
    with pytest.raises(pio.ConfigError, match=message):
        dataclasses.replace(SMALL, **change)


def test_saved_and_loaded(tmp_path: Path) -> None:
    """The task's model, and a composition that says itself what it takes."""
    audio = torch.from_numpy(sound(SMALL))[None]
    model = pio.AudioClassifier(CONFIG).eval()
    preprocessor = pio.SpectrogramPreprocessor(SMALL)
    decoder = pio.ClassificationDecoder(CONFIG.decoder, ENCODER, num_labels=2)
    own = pio.PerceiverModel(ENCODER, input_channels=preprocessor.channels, preprocessor=preprocessor, decoder=decoder).eval()
    for name, each in (("task", model), ("own", own)):
        pio.save_checkpoint(each, tmp_path / name)
        again = pio.load_checkpoint(tmp_path / name)
        assert torch.equal(again(audio), each(audio))
        assert not any("fourier" in key or "mel" in key for key in each.state_dict())
    (kind,) = kinds_of(own).inputs.values()
    assert (kind.samples, kind.rate) == (SMALL.samples, SMALL.sampling_rate)  # type: ignore[attr-defined]
    with pytest.raises(pio.ConfigError, match="transformers has no"):
        pio.save_checkpoint(model, tmp_path / "theirs", layout="huggingface")


@pytest.mark.parametrize("kept", [True, False])
def test_half_precision_keeps_the_spectrogram(kept: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A whisper's power is below what float16 holds."""
    if not kept:
        monkeypatch.setattr(lower_precision, "_upstream_of_logarithms", lambda nodes: set())
    torch.manual_seed(1)
    model = pio.AudioClassifier(CONFIG).eval()
    exported = export_specs(
        audio_classification_graphs(model),
        tmp_path,
        progress=lambda text: None,
        lowering=Lowering("ort", "fp16", {"B": 1}, 1 << 30),
    )
    assert exported is not None
    graph = ir.load(tmp_path / "encode.onnx").graph
    (log,) = [node for node in graph if node.op_type == "Log"]
    assert (log.inputs[0].dtype == ir.DataType.FLOAT) == kept  # type: ignore[union-attr]
    audio = 1e-3 * sound(SMALL)[None]
    (found,) = onnxruntime().InferenceSession(str(tmp_path / "encode.onnx")).run(None, {"audio": audio})
    with torch.no_grad():
        expected = model.encode(torch.from_numpy(audio)).numpy()
    error = float(np.abs(found - expected).max() / expected.std())
    assert error < 0.01 if kept else not error < 0.1
