"""Mel frames moved by part of what the vocoder would miss, before they are coded: part of the encoder search.

A mel frame's window is 46 ms long and the vocoder has learned what is likely, so what it makes of the true frames does
not have the energies of the speech where those change within the window. The encoder can hear that beforehand: it runs
the vocoder too, on true mels, and compares each frame's segment with the speech that belongs there, in third octaves
over the same 23 ms. Part of the difference is added to the frame, as if a louder or quieter one had been spoken:
analysis by synthesis (Schroeder and Atal, ICASSP 1985) of what comes after the code. Decoders need not know, and
nothing is added to the delay. It costs one step of the vocoder a frame.

`docs/training.md` tells what it gives.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from voicelink.codec.engine import Array, Engine
from voicelink.codec.excitation import SEGMENT_SAMPLES, WINDOW, initial_excitation, make_segment
from voicelink.codec.mel import PAD_LEFT, band_shares, mel_edges_hz
from voicelink.codec.vocoder import spectrum_step
from voicelink.units import MAX_BITS_PER_FRAME

Samples = NDArray[np.float64]

#: Third octaves from 150 Hz to 7.6 kHz.
BANDS: Final = 18
LOWEST_HZ: Final = 150.0
#: Nothing is asked for from here down: there is rumble, not speech.
RUMBLE_HZ: Final = 75.0
#: Part of the difference that is added to a frame where all bits are sent, and the most that counts of it, nepers.
SHARE, MOST = 0.25, 1.0
#: Where so few bits a frame are sent nothing is added.
NONE_BITS: Final = 16
#: Below it a band is silent: added to energies in the scaled domain.
FLOOR: Final = 1e-6


class Compensation:
    """What one stream's mel frames lack. For models with the harmonic vocoder."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._network, self._excitation = engine.vocoder_state(), initial_excitation()

    def step(self, mel: Array, window: NDArray[np.float32]) -> Array:
        """True mel [80] of the next frame, the scaled samples [1024] it is of -> what it lacks, float32 [80] nepers."""
        spectrum, self._network = spectrum_step(self._engine, mel[None], self._network)
        made, self._excitation = make_segment(spectrum, self._excitation)
        true = window[PAD_LEFT : PAD_LEFT + SEGMENT_SAMPLES] * WINDOW**2
        missed = np.clip(band_levels(true) - band_levels(made), -MOST, MOST)
        asked: Array = (missed @ TO_MEL).astype(np.float32)
        return asked


def share(bits: int) -> float:
    """Part of the difference that is added where `bits` a frame are sent: few bits have more to tell than that."""
    return SHARE * max(0, bits - NONE_BITS) / (MAX_BITS_PER_FRAME - NONE_BITS)


def band_levels(segment: Samples) -> Samples:
    """Levels, nepers [18], of a windowed segment [512] in third octaves."""
    bins = np.fft.rfft(segment)
    levels: Samples = np.log((bins.real**2 + bins.imag**2) @ BANK + FLOOR) / 2
    return levels


def _third_octaves() -> tuple[Samples, Samples]:
    """Which part of each bin lies in a band, [257, 18]; and bands interpolated to mel bands, [18, 80]."""
    centre_hz = LOWEST_HZ * 2 ** (np.arange(BANDS) / 3)
    bank = band_shares(centre_hz * 2 ** (-1 / 6), centre_hz * 2 ** (1 / 6), SEGMENT_SAMPLES)
    mel_hz = mel_edges_hz()[1:-1]
    knots_hz = np.concatenate([[RUMBLE_HZ], centre_hz])
    to_mel = [np.interp(np.log(mel_hz), np.log(knots_hz), one) for one in np.eye(BANDS + 1)[1:]]
    return bank, np.stack(to_mel)


BANK, TO_MEL = _third_octaves()
