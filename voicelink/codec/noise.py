"""Low-fluctuation noise, the harmonic vocoder's unvoiced excitation: white, but of nearly the same strength everywhere.

Gaussian noise fluctuates: its energy in a band changes by several dB from one 20 ms window to the next, and what
shapes it - gains a bin and a frame - can only set the mean. Speech that is made with it misses the energies it was
asked for by that much. Noise whose short-time spectrum is almost flat keeps to them (the idea, for envelopes, is
Pumplin's: "Low-noise noise", J. Acoust. Soc. Am. 78, 1985). It is made as Griffin and Lim (IEEE Trans. ASSP 32, 1984)
make a signal of a given short-time spectrum, here all ones, from Gaussian noise.

A loop of six seconds of it lies beside this file: `python -m voicelink.codec.noise` makes that file anew.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from voicelink.units import FRAME_SAMPLES

Samples = NDArray[np.float64]

HOPS: Final = 512
#: Steps of the stored numbers in one standard deviation.
STEPS: Final = 32
FILE: Final = Path(__file__).with_name("noise.npy")
_WINDOW_SAMPLES: Final = 2 * FRAME_SAMPLES
_SHIFT: Final = _WINDOW_SAMPLES // 8
_ROUNDS: Final = 30
_SEED: Final = 1985


@cache
def noise_loop() -> Samples:
    """The loop, float64 [512, 256] of unit power: hops that follow each other, the first one after the last."""
    stored: NDArray[np.int8] = np.load(FILE)
    loop: Samples = stored / np.sqrt(np.mean(np.square(stored, dtype=np.float64)))
    loop.setflags(write=False)
    return loop


def noise_hops(index: int | NDArray[np.int64]) -> Samples:
    """Hops [..., 256] of the loop, by index [...] counted round and round: a replayed state meets the same noise."""
    hops: Samples = noise_loop()[index % HOPS]
    return hops


def make_loop() -> NDArray[np.int8]:
    """What the file holds, int8 [512, 256]; takes a second."""
    samples: Samples = np.random.default_rng(_SEED).standard_normal(HOPS * FRAME_SAMPLES)
    window = np.sin(np.pi * (np.arange(_WINDOW_SAMPLES) + 0.5) / _WINDOW_SAMPLES)
    begins = np.arange(0, len(samples), _SHIFT)
    places = (begins[:, None] + np.arange(_WINDOW_SAMPLES)) % len(samples)
    for _ in range(_ROUNDS):
        spectra = np.fft.rfft(samples[places] * window)
        segments = np.fft.irfft(spectra / np.abs(spectra), n=_WINDOW_SAMPLES) * window
        samples = np.bincount(places.ravel(), segments.ravel()).astype(np.float64)
        samples /= samples.std()
    return np.clip(np.round(samples * STEPS), -127, 127).astype(np.int8).reshape(HOPS, FRAME_SAMPLES)


if __name__ == "__main__":
    np.save(FILE, make_loop())
