"""What microphones and rooms do to speech, drawn at random: level, tilt, band limit, room, noise, rumble, clipping.

An `Augmentation` is drawn once a segment (or once a stream, so that an utterance keeps its room) and applied to
the samples; they stay the target too, since a codec transmits what it is given, save that a recipe may ask for
noise and other talkers to come out lower (`noise_reduction_db`). Each part is left out more often than not: most of
training stays clean speech.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.signal import oaconvolve

from voicelink.units import SAMPLE_RATE_HZ

Samples = NDArray[np.float32]

#: Samples before a segment that a room's response and the filters reach back to (0.37 s).
HISTORY_SAMPLES = 8192
#: ... and samples after it that the filters look ahead, so that they delay nothing.
AHEAD_SAMPLES = 128
_NOISE_TAPS = 2048
_ROOM_SAMPLES = 6615
_HZ = np.fft.rfftfreq(_NOISE_TAPS, 1 / SAMPLE_RATE_HZ)


@dataclass(frozen=True)
class Augmentation:
    """One draw; `plain()` only sets the level. Gains are factors, filters are impulse responses."""

    gain: float = 1.0
    response: Samples | None = None  # equalisation, band limit and room in one
    rumble: Samples | None = None  # shaping filter of white noise, at the clip's level
    noise: Samples | None = None  # likewise
    babble: float = 0.0  # gain of other talkers
    clip_at: float = 0.0  # of the level of the clip's speech; 0: no clipping

    @property
    def noisy(self) -> bool:
        """Whether there is noise, other than rumble, or anybody else in the background."""
        return self.noise is not None or self.babble > 0

    def apply(
        self,
        speech: Samples,
        rng: np.random.Generator,
        level: float,
        others: Samples | None,
        reduction_db: float = 0.0,
    ) -> Samples:
        """speech [HISTORY_SAMPLES + n + AHEAD_SAMPLES], others [n] -> [n].

        `level`: rms of the clip, to which noise refers; `others`: other talkers at rms 1; `reduction_db`: by how
        much noise and other talkers are lower than drawn.
        """
        kept = 10 ** (-reduction_db / 20)
        made = speech[HISTORY_SAMPLES:-AHEAD_SAMPLES]
        if self.response is not None:
            reach = len(self.response) - 1 - AHEAD_SAMPLES
            made = oaconvolve(speech[HISTORY_SAMPLES - reach :], self.response, mode="valid")
        for shape, gain in ((self.rumble, 1.0), (self.noise, kept)):
            if shape is not None:
                white = rng.standard_normal(len(made) + len(shape) - 1).astype(np.float32)
                made = made + gain * level * oaconvolve(white, shape, mode="valid")
        if self.babble and others is not None:
            made = made + self.babble * kept * level * others
        if self.clip_at:
            made = np.clip(made, -self.clip_at * level, self.clip_at * level)
        return (made * self.gain).astype(np.float32)


def plain(rng: np.random.Generator, level_db: tuple[float, float]) -> Augmentation:
    """Level and polarity only."""
    return Augmentation(gain=_gain(rng, level_db))


def draw(rng: np.random.Generator, level_db: tuple[float, float]) -> Augmentation:
    """A random combination; half of the draws have only level, polarity and perhaps some rumble."""
    rumble = _rumble(rng) if rng.random() < 0.35 else None
    if rng.random() < 0.5:
        return Augmentation(gain=_gain(rng, level_db), rumble=rumble)
    response = _response(rng)
    noise = _coloured(rng, snr_db=rng.uniform(5, 40)) if rng.random() < 0.5 else None
    babble = 10 ** (-rng.uniform(5, 25) / 20) if rng.random() < 0.15 else 0.0
    clip_at = rng.uniform(2.0, 5.0) if rng.random() < 0.06 else 0.0
    return Augmentation(_gain(rng, level_db), response, rumble, noise, babble, clip_at)


def _gain(rng: np.random.Generator, level_db: tuple[float, float]) -> float:
    return float(10 ** (rng.uniform(*level_db) / 20) * rng.choice((-1.0, 1.0)))


def _rumble(rng: np.random.Generator) -> Samples:
    """Noise below 25 to 110 Hz, as ventilation and handling leave it in recordings."""
    power = 1 / (1 + (_HZ / rng.uniform(25, 110)) ** rng.uniform(4, 10))
    return _filter(power, 10 ** (-rng.uniform(8, 45) / 20))


def _coloured(rng: np.random.Generator, snr_db: float) -> Samples:
    """Noise of a random tilt (white to beyond brown) with a few broad resonances."""
    octaves = np.log2(np.maximum(_HZ, 60) / 1000)
    power_db = -rng.uniform(0, 9) * octaves
    for _ in range(int(rng.integers(0, 4))):
        centre, width = np.log2(rng.uniform(0.1, 6.0)), rng.uniform(0.1, 1.0)
        power_db = power_db + rng.uniform(-6, 12) * np.exp(-(((octaves - centre) / width) ** 2))
    return _filter(10 ** (power_db / 10), 10 ** (-snr_db / 20))


def _filter(power: NDArray[np.float64], rms: float) -> Samples:
    """Impulse response that makes noise of that spectrum and rms of unit white noise."""
    response = np.fft.fftshift(np.fft.irfft(np.sqrt(power))) * np.hanning(_NOISE_TAPS)
    return (response * (rms / np.sqrt(np.sum(response**2)))).astype(np.float32)


def _response(rng: np.random.Generator) -> Samples:
    """Tilt by up to 6 dB, sometimes a band limit, sometimes a room."""
    octaves = np.log2(np.maximum(_HZ, 60) / 1000)
    gain_db = rng.uniform(-1.5, 1.5) * octaves
    if rng.random() < 0.15:
        gain_db = gain_db - 40 / (1 + (rng.uniform(3300, 8000) / np.maximum(_HZ, 1)) ** 40)
    spectrum = 10 ** (gain_db / 20)
    middle, reach = _NOISE_TAPS // 2, AHEAD_SAMPLES
    response = np.fft.fftshift(np.fft.irfft(spectrum))[middle - reach : middle + reach + 1] * np.hanning(2 * reach + 1)
    if rng.random() < 0.3:
        response = np.convolve(response, _room(rng))
    return response.astype(np.float32)


def _room(rng: np.random.Generator) -> NDArray[np.float64]:
    """Direct sound and an exponentially decaying tail of 0.1 to 0.4 s reverberation time."""
    time = np.arange(_ROOM_SAMPLES) / SAMPLE_RATE_HZ
    tail = rng.standard_normal(_ROOM_SAMPLES) * np.exp(-6.91 * time / rng.uniform(0.1, 0.4)) * (time > 0.002)
    tail *= 10 ** (-rng.uniform(3, 20) / 20) / np.sqrt(np.sum(tail**2))
    tail[0] = 1.0
    return tail
