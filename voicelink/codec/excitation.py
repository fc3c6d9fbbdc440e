"""Samples from the harmonic vocoder's spectra: pulse train and noise, filtered in 512-point segments (numpy).

Frame t's segment is samples 256t .. 256t+511. Excitation is a band-limited pulse train, whose phase runs on in the
state, and white noise; sine window, FFT, the network's gains and phases, inverse FFT, sine window, overlap-add. The
first 256 samples of the segment are then final. `train/synthesis.py` is the batched torch twin.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from voicelink.units import FRAME_SAMPLES, SAMPLE_RATE_HZ

SEGMENT_SAMPLES: Final = 2 * FRAME_SAMPLES
BINS: Final = FRAME_SAMPLES + 1
_IDLE_F0_HZ = 100.0
_WINDOW: Final = np.sin(np.pi * (np.arange(SEGMENT_SAMPLES) + 0.5) / SEGMENT_SAMPLES)
_RAMP: Final = np.arange(FRAME_SAMPLES) / FRAME_SAMPLES


class FrameSpectrum(NamedTuple):
    """Network output of one frame; gains are natural logarithms, phase in radians, arrays float32 [257]."""

    f0_hz: float
    voiced: bool
    harmonic_log_gain: NDArray[np.float32]
    phase: NDArray[np.float32]
    noise_log_gain: NDArray[np.float32]


class ExcitationState(NamedTuple):
    """What one frame leaves to the next. Immutable by convention: `synthesise` never writes into it."""

    frame: int
    cycles: float  # phase of the pulse train in cycles, 0 <= cycles < 1
    f0_hz: float
    voiced: bool
    pulses: NDArray[np.float64]  # [256] second half of the last segment's excitation
    noise: NDArray[np.float64]  # [256]
    overlap: NDArray[np.float64]  # [256] windowed tail of the last segment


def initial_excitation() -> ExcitationState:
    """State before frame 0: silence on the harmonic side, noise running."""
    zeros = np.zeros(FRAME_SAMPLES)
    return ExcitationState(0, 0.0, _IDLE_F0_HZ, False, zeros, noise_hop(0), zeros)


def synthesise(spectrum: FrameSpectrum, state: ExcitationState) -> tuple[NDArray[np.float32], ExcitationState]:
    """One frame: 256 final samples, float32, in the codec's scaled domain, and the next state."""
    pulses, cycles, f0_hz = _pulse_hop(spectrum, state)
    noise = noise_hop(state.frame + 1)
    harmonic_bins = np.fft.rfft(np.concatenate([state.pulses, pulses]) * _WINDOW)
    noise_bins = np.fft.rfft(np.concatenate([state.noise, noise]) * _WINDOW)
    turn = np.exp(spectrum.harmonic_log_gain.astype(np.float64) + 1j * spectrum.phase.astype(np.float64))
    bins = harmonic_bins * turn + noise_bins * np.exp(spectrum.noise_log_gain.astype(np.float64))
    segment = np.fft.irfft(bins, n=SEGMENT_SAMPLES) * _WINDOW
    samples = (state.overlap + segment[:FRAME_SAMPLES]).astype(np.float32)
    following = ExcitationState(state.frame + 1, cycles, f0_hz, spectrum.voiced, pulses, noise, segment[FRAME_SAMPLES:])
    return samples, following


def noise_hop(index: int) -> NDArray[np.float64]:
    """White noise of unit power [256] for hop `index`: a replayed state repeats it.

    The index is part of the key: generators that differ in the counter alone run through the same sequence.
    """
    generator = np.random.Generator(np.random.Philox(key=(0x766C << 64) | index))
    return generator.standard_normal(FRAME_SAMPLES)


def _pulse_hop(spectrum: FrameSpectrum, state: ExcitationState) -> tuple[NDArray[np.float64], float, float]:
    """Pulse train [256] between the last border and this one, the phase after it, and F0 at its end.

    Sum of all cosines below half the sampling rate by the closed form of the Dirichlet kernel, at unit power.
    Where one border is unvoiced it takes the F0 of the other, so that pitch does not chirp at an onset.
    """
    start = state.f0_hz if state.voiced else (spectrum.f0_hz if spectrum.voiced else _IDLE_F0_HZ)
    end = spectrum.f0_hz if spectrum.voiced else start
    advance = (start + (end - start) * _RAMP) / SAMPLE_RATE_HZ
    total = np.cumsum(advance)
    cycles = state.cycles + total - advance
    following = float((state.cycles + total[-1]) % 1.0)
    if not (state.voiced or spectrum.voiced):
        return np.zeros(FRAME_SAMPLES), following, end
    amplitude = float(state.voiced) + (float(spectrum.voiced) - float(state.voiced)) * _RAMP
    harmonics = np.floor(SAMPLE_RATE_HZ / 2 / max(start, end))
    half = np.pi * (cycles % 1.0)
    low = np.sin(half)
    small = np.abs(low) < 1e-4
    kernel = (np.sin((2 * harmonics + 1) * half) / np.where(small, 1.0, low) - 1) / 2
    kernel = np.where(small, harmonics, kernel)
    return kernel * np.sqrt(2 / harmonics) * amplitude, following, end
