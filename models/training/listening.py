"""What a microphone makes of a word: speed, place, room, colour, noise, volume. numpy alone.

All that is linear is one product in the frequency domain. Windows are of one second, at 16 kHz.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from speech import RATE

WINDOW = RATE  # samples
_PADDED = 20_480  # a window and the longest echo, of small prime factors
_FREQUENCIES = np.fft.rfftfreq(_PADDED, 1 / RATE)
Floats = NDArray[np.float32]


def faster(sound: Floats, factor: float) -> Floats:
    """Speed, pitch and the length of the throat together, by `factor`: linear interpolation of samples."""
    places = np.arange(int(len(sound) / factor)) * factor
    changed: Floats = np.interp(places, np.arange(len(sound)), sound).astype(np.float32)
    return changed


def placed(sound: Floats, start: int) -> Floats:
    """A window of silence with `sound` from sample `start` on, cut where the window ends."""
    window = np.zeros(WINDOW, np.float32)
    part = sound[: WINDOW - start]
    window[start : start + len(part)] = part
    return window


def colour(generator: np.random.Generator) -> Floats:
    """A microphone's response: up to 10 dB up and down, and at times a telephone's band; (frequencies,)."""
    points = np.array([60, 200, 500, 1200, 2500, 4500, 8000])
    decibels = np.interp(np.log(np.maximum(_FREQUENCIES, 1)), np.log(points), generator.uniform(-10, 10, len(points)))
    response = 10 ** (decibels / 20)
    if generator.random() < 0.25:
        low, high = generator.uniform(50, 400), generator.uniform(3000, 7000)
        response /= np.sqrt((1 + (low / np.maximum(_FREQUENCIES, 1)) ** 4) * (1 + (_FREQUENCIES / high) ** 8))
    if generator.random() < 0.4:  # no band may be all that tells a word
        low = 2 ** generator.uniform(7.5, 12.3)
        response[(low < _FREQUENCIES) & (low * 2 ** generator.uniform(0.1, 0.6) > _FREQUENCIES)] *= 0.03
    result: Floats = response.astype(np.float32)
    return result


def room(generator: np.random.Generator) -> NDArray[np.complex64]:
    """The direct sound and an echo of decaying noise, 0.1 to 0.5 s long: its spectrum (frequencies,)."""
    echo = np.zeros(_PADDED, np.float32)
    count = _PADDED - WINDOW
    seconds = np.arange(count) / RATE
    decay = np.exp(-6.9 * seconds / generator.uniform(0.1, 0.5))
    echo[:count] = generator.standard_normal(count) * decay
    echo *= generator.uniform(0.1, 0.8) / np.sqrt((echo**2).sum())
    echo[0] += 1
    spectrum: NDArray[np.complex64] = np.fft.rfft(echo).astype(np.complex64)
    return spectrum


def noise(generator: np.random.Generator) -> Floats:
    """A window of noise of a random colour, from white to brown, at times a hum beside it; of power 1."""
    slope = generator.uniform(0, 1.0)
    shape = len(_FREQUENCIES)
    spectrum = (generator.standard_normal(shape) + 1j * generator.standard_normal(shape)) * np.maximum(
        _FREQUENCIES, 30
    ) ** -slope
    sound = np.fft.irfft(spectrum * colour(generator), _PADDED)[:WINDOW]
    sound /= np.sqrt((sound**2).mean())
    if generator.random() < 0.3:
        tone = generator.choice([50, 60, 100, 120, generator.uniform(80, 3000)])
        phase = 2 * np.pi * tone * np.arange(WINDOW) / RATE
        sound += generator.uniform(0.2, 2) * sum(np.sin(k * phase + k * k) / k for k in range(1, 5))
    return sound.astype(np.float32)


def with_noise(window: Floats, disturbance: Floats, decibels: float) -> Floats:
    """`window` and `disturbance` at a signal-to-noise ratio: the power of `window` is where it is not zero."""
    heard = window[np.abs(window) > 0]
    power = float((heard**2).mean()) if len(heard) else 1.0
    scale = np.sqrt(power / max(float((disturbance**2).mean()), 1e-12)) * 10 ** (-decibels / 20)
    return (window + np.float32(scale) * disturbance).astype(np.float32)


@dataclass(frozen=True)
class Surroundings:
    """Noises (count, WINDOW) and rooms (count, frequencies), made once."""

    noises: Floats
    rooms: NDArray[np.complex64]

    @classmethod
    def make(cls, generator: np.random.Generator, count: int = 400) -> Surroundings:
        """`count` of each."""
        return cls(np.stack([noise(generator) for _ in range(count)]), np.stack([room(generator) for _ in range(count)]))

    def noise(self, generator: np.random.Generator) -> Floats:
        """One of the noises, begun anywhere."""
        return np.roll(generator.choice(self.noises), int(generator.integers(WINDOW)))

    def heard(self, sound: Floats, generator: np.random.Generator, babble: Floats | None = None) -> Floats:
        """A word (S,) as it may come out of a microphone: a window (WINDOW,) in [-1, 1]. `babble` is speech of others."""
        word = faster(sound, 2 ** generator.uniform(-0.4, 0.4))
        left = max(0, WINDOW - len(word))
        soon = generator.random() < 0.3  # as of a recording cut to the word, with silence after it
        window = placed(word, int(generator.integers((left // 8 if soon else left) + 1)))
        response = colour(generator) if generator.random() < 0.8 else np.ones(len(_FREQUENCIES), np.float32)
        if generator.random() < 0.5:
            response = response * generator.choice(self.rooms)
        window = np.fft.irfft(np.fft.rfft(window, _PADDED) * response, _PADDED)[:WINDOW].astype(np.float32)
        if generator.random() < 0.75:
            window = with_noise(window, self.noise(generator), generator.uniform(0, 35))
        if babble is not None:
            window = with_noise(window, babble, generator.uniform(5, 25))
        return at_volume(window, generator)

    def nothing(self, generator: np.random.Generator) -> Floats:
        """A window without speech: silence, noise, clicks or tones."""
        kind = generator.integers(4)
        if kind == 0:
            return np.zeros(WINDOW, np.float32)
        window = self.noise(generator)
        if kind == 2:
            window = np.float32(0.01) * window + _clicks(generator)
        elif kind == 3:
            window = np.float32(0.01) * window + _tones(generator)
        return at_volume(window, generator)


def at_volume(window: Floats, generator: np.random.Generator) -> Floats:
    """At a random volume, at times louder than the converter takes; 16 bits."""
    peak = 10 ** generator.uniform(-2.2, 0.1)
    scaled = window * (peak / max(float(np.abs(window).max()), 1e-6))
    result: Floats = (np.rint(np.clip(scaled, -1, 1) * 32767) / 32768).astype(np.float32)
    return result


def _clicks(generator: np.random.Generator) -> Floats:
    clicks: Floats = np.zeros(WINDOW, np.float32)
    for place in generator.integers(0, WINDOW - 800, generator.integers(1, 6)):
        length = int(generator.integers(20, 800))
        click = generator.standard_normal(length) * np.exp(-np.arange(length) * 5 / length)
        clicks[place : place + length] += click.astype(np.float32)
    return clicks


def _tones(generator: np.random.Generator) -> Floats:
    """A tone that rises or falls, swelling up to eight times."""
    start, end = 80 * 2 ** generator.uniform(0, 5, 2)
    phase = 2 * np.pi * np.cumsum(np.linspace(start, end, WINDOW)) / RATE
    swelling = np.sin(np.pi * np.linspace(0, generator.uniform(1, 8), WINDOW)) ** 2
    overtones = [np.sin(k * phase) / k for k in range(1, int(generator.integers(2, 8)))]
    tone: Floats = (np.sum(overtones, axis=0) * swelling).astype(np.float32)
    return tone
