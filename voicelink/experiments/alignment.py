"""Where a decoded signal lies against its reference: found once, so that no metric has to search for itself.

The shift is the peak of the normalised cross-correlation (Knapp and Carter, "The generalized correlation method for
estimation of time delay", IEEE TASSP 24(4), 1976, without weighting) within a bounded search. Its magnitude is
taken, so that an inverted signal aligns too. A vocoder that does not keep the phase leaves no such peak; then the
peak of the correlation of the log envelopes decides, good to about a millisecond.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

#: A peak this high (of 1) is the waveform's own; unrelated speech stays below 0.2.
TRUSTED_CORRELATION: Final = 0.4
MAX_SHIFT_S: Final = 0.5
ENVELOPE_SMOOTHING_S: Final = 0.008


@dataclass(frozen=True)
class Alignment:
    """`shift_samples` by which the decoded signal is late (negative: early), and how that was found.

    `inverted` says that its polarity is reversed; `correlation` (0..1) is the height of the peak; `by` is "waveform",
    exact to the sample, or "envelope", good to about a millisecond.
    """

    shift_samples: int
    inverted: bool
    correlation: float
    by: str


def align(
    reference: NDArray[np.float32], decoded: NDArray[np.float32], rate_hz: int, max_shift_s: float = MAX_SHIFT_S
) -> Alignment:
    """Find where `decoded` lies against `reference`, both float32 [samples] at `rate_hz`, within +-`max_shift_s`.

    Silence on either side aligns at 0 with correlation 0.
    """
    most = min(round(max_shift_s * rate_hz), max(len(reference), len(decoded)) - 1)
    shift, peak = _peak(reference, decoded, most, either_sign=True)
    if abs(peak) >= TRUSTED_CORRELATION:
        return Alignment(shift, peak < 0, abs(peak), "waveform")
    said, heard = _log_envelope(reference, rate_hz), _log_envelope(decoded, rate_hz)
    shift, peak = _peak(said, heard, most, either_sign=False)
    return Alignment(shift, False, max(0.0, peak), "envelope")


def apply(
    alignment: Alignment, reference: NDArray[np.float32], decoded: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The parts of both that belong together, of equal length, the decoded one with the reference's polarity."""
    shift = alignment.shift_samples
    reference, decoded = reference[max(0, -shift) :], decoded[max(0, shift) :]
    n = min(len(reference), len(decoded))
    return reference[:n], -decoded[:n] if alignment.inverted else decoded[:n]


def _peak(
    reference: NDArray[np.float32], decoded: NDArray[np.float32], most: int, *, either_sign: bool
) -> tuple[int, float]:
    """Shift within +-most with the largest normalised cross-correlation, and that correlation."""
    size = 1 << (len(reference) + len(decoded) - 1).bit_length()
    spectrum = np.fft.rfft(decoded, size) * np.conj(np.fft.rfft(reference, size))
    correlation = np.fft.irfft(spectrum, size)
    near = np.concatenate([correlation[size - most :], correlation[: most + 1]])  # shifts -most .. most
    energy = float(np.sqrt(np.square(reference, dtype=np.float64).sum() * np.square(decoded, dtype=np.float64).sum()))
    if energy == 0:
        return 0, 0.0
    # The smallest of equal shifts, so that silence and repetition do not wander off.
    height = np.abs(near) if either_sign else near
    ties = np.flatnonzero(height >= height.max() * (1 - 1e-9))
    at = int(ties[np.argmin(np.abs(ties - most))])
    return at - most, float(near[at]) / energy


def _log_envelope(signal: NDArray[np.float32], rate_hz: int) -> NDArray[np.float32]:
    """Log of the smoothed magnitude, without its mean; as long as the signal."""
    width = max(1, round(ENVELOPE_SMOOTHING_S * rate_hz))
    window = np.hanning(width + 2)[1:-1]
    smooth = np.convolve(np.abs(signal), window / window.sum(), mode="same")[: len(signal)]
    floor = max(1e-6, float(smooth.max(initial=0)) * 1e-3)
    level = np.log(np.maximum(smooth, floor) / floor)  # 0 in silence, which correlates with nothing
    return np.asarray(level - level.mean(), np.float32)
