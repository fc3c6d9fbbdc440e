"""Sample-rate conversion: whole signals through soxr, streams through a short filter of our own.

soxr's stream object holds back 20 to 80 ms (measured with soxr 1.1: 48 000 -> 22 050 Hz "HQ" 38 ms, "VHQ"
79 ms, 22 050 -> 48 000 Hz "HQ" 42 ms), since it filters in long FFT blocks: more than the codec's whole
latency. A call therefore uses `StreamResampler`: a windowed-sinc polyphase filter (Kaiser window; Smith and
Gossett, "A flexible sampling-rate conversion method", ICASSP 1984) that holds back 1.5 ms at 22 050 Hz.
"""

from __future__ import annotations

from math import gcd
from typing import Final

import numpy as np
import soxr
from numpy.typing import NDArray

#: Zero crossings of the sinc on either side: the filter's delay in samples of the lower rate.
ZERO_CROSSINGS: Final = 32
#: 80 dB stop band; with 32 zero crossings the transition is 0.157 of the lower rate's band.
KAISER_BETA: Final = 7.857
#: Middle of the transition, such that it ends at the lower rate's band edge.
CUTOFF: Final = 0.9216
#: Inputs filtered at once: a whole signal in one block would need some kilobytes for each of its samples.
PIECE_SAMPLES: Final = 1 << 15


def resample(speech: NDArray[np.float32], from_hz: int, to_hz: int) -> NDArray[np.float32]:
    """A whole signal at another rate, float32 [about n * to_hz / from_hz], without delay."""
    if from_hz == to_hz or not len(speech):
        return speech
    out: NDArray[np.float32] = soxr.resample(speech, from_hz, to_hz, quality="HQ").astype(np.float32)
    return out


class StreamResampler:
    """One stream at another rate. The output does not depend, to the bit, on how the input is cut in blocks.

    Output sample n stands for the time n / to_hz, as in the input; it comes `delay_samples` input samples
    later. Equal rates pass through.
    """

    def __init__(self, from_hz: int, to_hz: int) -> None:
        common = gcd(from_hz, to_hz)
        self._up, self._down = to_hz // common, from_hz // common
        self._same = from_hz == to_hz
        self._half = 0 if self._same else int(np.ceil(ZERO_CROSSINGS * max(1.0, from_hz / to_hz)))
        if not self._same:
            self._filters = _filter_bank(self._up, self._half, min(1.0, to_hz / from_hz))
        self._held = np.zeros(max(0, self._half - 1), np.float32)
        self._first = 1 - self._half  # index of _held[0] in the input stream
        self._taken = 0
        self._given = 0

    @property
    def delay_samples(self) -> int:
        """Input samples held back."""
        return self._half

    def push(self, block: NDArray[np.float32]) -> NDArray[np.float32]:
        """Give float32 [n], any n; returns float32 [m] that is ready now."""
        if self._same:
            return block
        if len(block) > PIECE_SAMPLES:
            starts = range(0, len(block), PIECE_SAMPLES)
            return np.concatenate([self.push(block[start : start + PIECE_SAMPLES]) for start in starts])
        self._taken += len(block)
        return self._advance(block, (max(0, self._taken - self._half) * self._up - 1) // self._down + 1)

    def flush(self) -> NDArray[np.float32]:
        """End of stream: the rest, so that ceil(taken * to_hz / from_hz) samples were given in all."""
        if self._same:
            return np.zeros(0, np.float32)
        total = -(-self._taken * self._up // self._down)
        return self._advance(np.zeros(self._half + 1, np.float32), total)

    def _advance(self, block: NDArray[np.float32], until: int) -> NDArray[np.float32]:
        """Outputs `_given` .. `until`-1. Output n needs inputs floor(n down / up) - half + 1 .. + half."""
        held = np.concatenate((self._held, block))
        position = np.arange(self._given, max(self._given, until), dtype=np.int64) * self._down
        starts = position // self._up - self._half + 1 - self._first
        taps = held[starts[:, None] + np.arange(2 * self._half)]
        out: NDArray[np.float32] = (taps * self._filters[position % self._up]).sum(axis=1, dtype=np.float32)
        self._given += len(out)
        drop = min(len(held), self._given * self._down // self._up - self._half + 1 - self._first)
        self._held, self._first = held[drop:], self._first + drop
        return out


def _filter_bank(phases: int, half: int, band: float) -> NDArray[np.float32]:
    """Filters [phases, 2 half] for an output at p / phases behind input `half` - 1; each sums to 1."""
    offset = np.arange(phases)[:, None] / phases + half - 1 - np.arange(2 * half)
    window = np.i0(KAISER_BETA * np.sqrt(np.maximum(0.0, 1 - (offset / half) ** 2)))
    filters = np.sinc(offset * band * CUTOFF) * window
    return np.asarray(filters / filters.sum(axis=1, keepdims=True), dtype=np.float32)
