"""Sound to tokens: a log-mel spectrogram within the model, so that whoever runs it hands over plain samples.

A linear map of raw samples depends on the phase of what it hears; a spectrogram does not. Frames and their discrete Fourier
transform are one convolution with fixed kernels, mel bands another. Nothing of these is learned or stored.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from perceiver_io.config import SpectrogramConfig
from perceiver_io.parts.part import part
from perceiver_io.parts.positions import FourierPositions

FLOOR = 1e-5  # of a window's mean power: 50 dB below it, all is alike
SILENCE = 1e-10  # the least mean power: a window of digital silence is the floor everywhere
Matrix = NDArray[np.float64]


def fourier_kernels(frame: int) -> Matrix:
    """Cosines and sines of a frame's frequencies under a periodic Hann window of sum 1: (2·(frame//2 + 1), frame).

    A sine at full scale has the power 1/4 in its own frequency, whatever the frame's length.
    """
    times, frequencies = np.arange(frame), np.arange(frame // 2 + 1)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * times / frame)
    angles = 2 * np.pi * (frequencies[:, None] * times % frame) / frame
    kernels: Matrix = np.concatenate([np.cos(angles), np.sin(angles)]) * (window / window.sum())
    return kernels


def mel_filters(bands: int, frame: int, rate: int, lowest: int, highest: int) -> Matrix:
    """Triangles evenly spaced in mel, 2595·log10(1 + f/700), each of sum 1: (bands, frequencies)."""
    low, high = (2595 * math.log10(1 + edge / 700) for edge in (lowest, highest))
    mel = np.linspace(low, high, bands + 2)
    edges = 700 * (10 ** (mel / 2595) - 1)
    frequencies = np.arange(frame // 2 + 1) * rate / frame
    rising = (frequencies - edges[:-2, None]) / np.diff(edges)[:-1, None]
    falling = (edges[2:, None] - frequencies) / np.diff(edges)[1:, None]
    filters: Matrix = np.maximum(0, np.minimum(rising, falling))
    nearest = np.abs(frequencies - edges[1:-1, None]).argmin(axis=1)
    empty = filters.sum(axis=1) == 0  # low bands can lie between two frequencies
    filters[empty, nearest[empty]] = 1
    filters /= filters.sum(axis=1, keepdims=True)
    return filters


@part
class SpectrogramPreprocessor(nn.Module):
    """Samples to tokens: log-mel frames, two convolutions in time, the second of stride 2, Fourier positions appended."""

    def __init__(self, config: SpectrogramConfig) -> None:
        super().__init__()
        self.config = config
        filters = mel_filters(config.bands, config.frame, config.sampling_rate, config.lowest_hz, config.highest_hz)
        # Neither parameters nor buffers: no checkpoint holds them, and a model built on torch's meta device has them too.
        self.fourier = torch.from_numpy(fourier_kernels(config.frame)[:, None].astype(np.float32))
        self.mel = torch.from_numpy(filters[..., None].astype(np.float32))
        half = config.kernel // 2
        self.first = nn.Conv1d(config.bands, config.channels, config.kernel, padding=half)
        self.second = nn.Conv1d(config.channels, config.channels, config.kernel, stride=2, padding=half)
        self.positions = FourierPositions(config.fourier_bands, (config.tokens,))
        self.channels = config.channels + self.positions.channels

    def spectrogram(self, audio: Tensor) -> Tensor:
        """audio (B, S) → (B, bands, frames): log of each band's power over the window's mean, log(FLOOR) and above.

        So a sound and the same at another volume are alike. Always float32, under torch.autocast too.
        """
        with torch.autocast(audio.device.type, enabled=False):
            waves = F.conv1d(audio.float()[:, None], self.fourier.to(audio.device), stride=self.config.hop)
            cosines, sines = waves.chunk(2, dim=1)
            power = F.conv1d(cosines * cosines + sines * sines, self.mel.to(audio.device))
            mean = power.mean(dim=(1, 2), keepdim=True).clamp(min=SILENCE)
            return torch.log(power / mean + FLOOR)

    def forward(self, audio: Tensor) -> Tensor:
        """audio (B, S) in [-1, 1], S as configured → (B, tokens, channels)."""
        spectrogram = 1 + self.spectrogram(audio) / 6  # from -0.9 to about 2
        tokens = F.gelu(self.second(F.gelu(self.first(spectrogram)))).transpose(1, 2)
        positions = self.positions((self.config.tokens,), device=tokens.device).to(tokens.dtype)
        return torch.cat([tokens, positions.expand(tokens.shape[0], -1, -1)], dim=-1)
