"""Samples from the harmonic vocoder's spectra: pulse train and noise, filtered in 512-point segments (numpy).

Frame t's segment is samples 256t .. 256t+511. Excitation is a band-limited pulse train, whose phase runs on in the
state, and low-fluctuation noise (`noise.py`); sine window, FFT, the network's gains and phases, inverse FFT, sine
window, overlap-add. The first 256 samples of the segment are then final. `synthesise` makes one frame of one stream,
`synthesise_many` frames of many streams side by side; `train/synthesis.py` is the torch twin for training.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from voicelink.codec.noise import noise_hops
from voicelink.units import FRAME_SAMPLES, SAMPLE_RATE_HZ

Samples = NDArray[np.float64]

SEGMENT_SAMPLES: Final = 2 * FRAME_SAMPLES
BINS: Final = FRAME_SAMPLES + 1
#: Pitch at which the phase runs on where nothing is voiced.
IDLE_F0_HZ: Final = 100.0
WINDOW: Final = np.sin(np.pi * (np.arange(SEGMENT_SAMPLES) + 0.5) / SEGMENT_SAMPLES)
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
    pulses: Samples  # [256] second half of the last segment's excitation
    overlap: Samples  # [256] windowed tail of the last segment


def initial_excitation() -> ExcitationState:
    """State before frame 0: silence."""
    zeros = np.zeros(FRAME_SAMPLES)
    return ExcitationState(0, 0.0, IDLE_F0_HZ, False, zeros, zeros)


def synthesise(spectrum: FrameSpectrum, state: ExcitationState) -> tuple[NDArray[np.float32], ExcitationState]:
    """One frame: 256 final samples, float32, in the codec's scaled domain, and the next state."""
    segment, following = make_segment(spectrum, state)
    return (state.overlap + segment[:FRAME_SAMPLES]).astype(np.float32), following


def make_segment(spectrum: FrameSpectrum, state: ExcitationState) -> tuple[Samples, ExcitationState]:
    """One frame's own segment, [512] windowed, before it is added to what overlaps with it; and the next state."""
    pulses, cycles, f0_hz = _pulse_hop(spectrum, state)
    harmonic_bins = np.fft.rfft(np.concatenate([state.pulses, pulses]) * WINDOW)
    noise_bins = np.fft.rfft(noise_hops(state.frame + np.arange(2)).ravel() * WINDOW)
    turn = np.exp(spectrum.harmonic_log_gain.astype(np.float64) + 1j * spectrum.phase.astype(np.float64))
    bins = harmonic_bins * turn + noise_bins * np.exp(spectrum.noise_log_gain.astype(np.float64))
    segment: Samples = np.fft.irfft(bins, n=SEGMENT_SAMPLES) * WINDOW
    following = ExcitationState(state.frame + 1, cycles, f0_hz, spectrum.voiced, pulses, segment[FRAME_SAMPLES:])
    return segment, following


class SpectraBatch(NamedTuple):
    """Network output of T frames of B streams; see `FrameSpectrum`."""

    f0_hz: NDArray[np.float32]  # [B, T]
    voiced: NDArray[np.float32]  # [B, T], 0.0 or 1.0
    harmonic_log_gain: NDArray[np.float32]  # [B, T, 257]
    phase: NDArray[np.float32]  # [B, T, 257]
    noise_log_gain: NDArray[np.float32]  # [B, T, 257]


class ExcitationBatch(NamedTuple):
    """`ExcitationState` of B streams that are at the same frame; cut it to go on with the first streams alone."""

    frame: int
    cycles: Samples  # [B]
    f0_hz: Samples  # [B]
    voiced: Samples  # [B], 0.0 or 1.0
    pulses: Samples  # [B, 256]
    overlap: Samples  # [B, 256]

    def first(self, streams: int) -> ExcitationBatch:
        """The first `streams` streams."""
        return ExcitationBatch(self.frame, *(values[:streams] for values in self[1:]))


def initial_batch(streams: int) -> ExcitationBatch:
    """As `initial_excitation`, for `streams` streams."""
    zeros, hop = np.zeros(streams), np.zeros((streams, FRAME_SAMPLES))
    return ExcitationBatch(0, zeros, zeros + IDLE_F0_HZ, zeros, hop, hop)


def synthesise_many(spectra: SpectraBatch, state: ExcitationBatch) -> tuple[NDArray[np.float32], ExcitationBatch]:
    """T frames of B streams: float32 [B, 256 T] as `synthesise` would give it one by one, and the next state."""
    batch, frames = spectra.f0_hz.shape
    pulses, cycles, f0_hz = _pulse_hops(spectra, state)
    noise = noise_hops(state.frame + np.arange(frames + 1))
    noise_bins = np.fft.rfft(np.concatenate([noise[:-1], noise[1:]], axis=1) * WINDOW)
    before = np.concatenate([state.pulses[:, None], pulses[:, :-1]], axis=1)
    bins = np.fft.rfft(np.concatenate([before, pulses], axis=2) * WINDOW)
    bins *= np.exp(spectra.harmonic_log_gain.astype(np.float64) + 1j * spectra.phase.astype(np.float64))
    bins += noise_bins * np.exp(spectra.noise_log_gain.astype(np.float64))
    segments = np.fft.irfft(bins, n=SEGMENT_SAMPLES) * WINDOW
    tails = np.concatenate([state.overlap[:, None], segments[:, :-1, FRAME_SAMPLES:]], axis=1)
    samples = (tails + segments[:, :, :FRAME_SAMPLES]).astype(np.float32).reshape(batch, -1)
    voiced = spectra.voiced[:, -1].astype(np.float64)
    overlap = segments[:, -1, FRAME_SAMPLES:]
    return samples, ExcitationBatch(state.frame + frames, cycles, f0_hz, voiced, pulses[:, -1], overlap)


def _pulse_hop(spectrum: FrameSpectrum, state: ExcitationState) -> tuple[Samples, float, float]:
    """Pulse train [256] between the last border and this one, the phase after it, and F0 at its end.

    Where one border is unvoiced it takes the F0 of the other, so that pitch does not chirp at an onset.
    """
    start = state.f0_hz if state.voiced else (spectrum.f0_hz if spectrum.voiced else IDLE_F0_HZ)
    end = spectrum.f0_hz if spectrum.voiced else start
    advance, total = _turns(start, end)
    following = float((state.cycles + total[-1]) % 1.0)
    if not (state.voiced or spectrum.voiced):
        return np.zeros(FRAME_SAMPLES), following, end
    amplitude = float(state.voiced) + (float(spectrum.voiced) - float(state.voiced)) * _RAMP
    return _pulses(state.cycles + total - advance, start, end) * amplitude, following, end


def _turns(start_hz: float | Samples, end_hz: float | Samples) -> tuple[Samples, Samples]:
    """Cycles that the phase goes on by a sample [..., 256], and their running sum; F0 [..., 1] or one number."""
    advance = (start_hz + (end_hz - start_hz) * _RAMP) / SAMPLE_RATE_HZ
    return advance, np.cumsum(advance, axis=-1)


def _pulses(cycles: Samples, start_hz: float | Samples, end_hz: float | Samples) -> Samples:
    """Sum of all cosines below half the sampling rate by the closed form of the Dirichlet kernel, at unit power."""
    harmonics = np.floor(SAMPLE_RATE_HZ / 2 / np.maximum(start_hz, end_hz))
    half = np.pi * (cycles % 1.0)
    low = np.sin(half)
    small = np.abs(low) < 1e-4
    kernel = (np.sin((2 * harmonics + 1) * half) / np.where(small, 1.0, low) - 1) / 2
    kernel = np.where(small, harmonics, kernel)
    made: Samples = kernel * np.sqrt(2 / harmonics)
    return made


def _pulse_hops(spectra: SpectraBatch, state: ExcitationBatch) -> tuple[Samples, Samples, Samples]:
    """`_pulse_hop` of T frames of B streams: pulse trains [B, T, 256], phase and F0 after the last [B]."""
    f0_hz, voiced = spectra.f0_hz.astype(np.float64), spectra.voiced > 0
    voiced_before = np.concatenate([state.voiced[:, None] > 0, voiced[:, :-1]], axis=1)
    f0_before = np.concatenate([state.f0_hz[:, None], f0_hz[:, :-1]], axis=1)
    start = np.where(voiced_before, f0_before, np.where(voiced, f0_hz, IDLE_F0_HZ))
    end = np.where(voiced, f0_hz, start)
    advance, total = _turns(start[..., None], end[..., None])
    at = [state.cycles]  # one frame after the other: rounded as a stream rounds it
    for t in range(f0_hz.shape[1]):
        at.append((at[-1] + total[:, t, -1]) % 1.0)
    cycles = np.stack(at[:-1], axis=1)[..., None] + total - advance
    ramp = voiced_before[..., None] + (voiced[..., None].astype(float) - voiced_before[..., None]) * _RAMP
    return _pulses(cycles, start[..., None], end[..., None]) * ramp, at[-1], end[:, -1]
