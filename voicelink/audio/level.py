"""How loud a stream is, for meters: RMS and peak in dB of full scale."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

FLOOR_DBFS: Final = -99.0
#: Fall of the peak display, dB a second (a programme meter's, IEC 60268-10 type I, falls 20 dB in 1.7 s).
PEAK_FALL_DB_PER_S: Final = 11.8


class LevelMeter:
    """RMS over about the last `window_s` seconds and a falling peak, of a stream at `rate_hz`.

    0 dBFS RMS is a full-scale square wave; a full-scale sine reads -3.0. One thread writes, any may read.
    """

    def __init__(self, rate_hz: int, window_s: float = 0.3) -> None:
        self._rate_hz, self._window_s = rate_hz, window_s
        self._mean_square = 0.0
        self.peak_dbfs = FLOOR_DBFS

    def push(self, block: NDArray[np.float32]) -> None:
        """Take float32 [n]."""
        if not len(block):
            return
        seconds = len(block) / self._rate_hz
        keep = math.exp(-seconds / self._window_s)
        self._mean_square = keep * self._mean_square + (1 - keep) * float(np.mean(np.square(block)))
        peak = to_dbfs(float(np.max(np.abs(block))))
        self.peak_dbfs = max(peak, self.peak_dbfs - PEAK_FALL_DB_PER_S * seconds)

    @property
    def rms_dbfs(self) -> float:
        """RMS level, dB of full scale, at least -99."""
        return to_dbfs(math.sqrt(self._mean_square))


def to_dbfs(amplitude: float) -> float:
    """Amplitude (1 = full scale) in dB, at least -99."""
    return max(FLOOR_DBFS, 20 * math.log10(amplitude)) if amplitude > 0 else FLOOR_DBFS
