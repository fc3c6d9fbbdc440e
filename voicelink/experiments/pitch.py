"""Pitch and voicing of decoded speech against its reference, by the WORLD analyser.

M. Morise, F. Yokomori and K. Ozawa, "WORLD: a vocoder-based high-quality speech synthesis system for real-time
applications", IEICE Trans. Inf. Syst. E99-D(7), 2016: DIO for candidates, StoneMask to refine them.
"""

from __future__ import annotations

import warnings
from typing import Final

import numpy as np
from numpy.typing import NDArray

from voicelink.experiments.models import require

FRAME_PERIOD_MS: Final = 10.0
F0_FLOOR_HZ: Final = 60.0
F0_CEIL_HZ: Final = 500.0


def f0_track(speech: NDArray[np.float32], rate_hz: int) -> NDArray[np.float64]:
    """F0 in Hz every 10 ms, 0 where unvoiced, float64 [frames]."""
    require("f0_rmse_semitones", "pyworld")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pyworld imports pkg_resources, which setuptools calls deprecated
        import pyworld  # noqa: PLC0415
    signal = np.ascontiguousarray(speech, np.float64)
    limits = {"f0_floor": F0_FLOOR_HZ, "f0_ceil": F0_CEIL_HZ, "frame_period": FRAME_PERIOD_MS}
    f0, times = pyworld.dio(signal, rate_hz, **limits)
    return np.asarray(pyworld.stonemask(signal, f0, times, rate_hz), np.float64)


def rmse_semitones(reference: NDArray[np.float64], decoded: NDArray[np.float64]) -> float:
    """Root mean square F0 error in semitones over the frames voiced in both tracks; NaN where there are none."""
    n = min(len(reference), len(decoded))
    both = (reference[:n] > 0) & (decoded[:n] > 0)
    if not both.any():
        return float("nan")
    semitones = 12 * np.log2(decoded[:n][both] / reference[:n][both])
    return float(np.sqrt(np.mean(np.square(semitones))))


def voicing_agreement(reference: NDArray[np.float64], decoded: NDArray[np.float64]) -> float:
    """Share, 0..1, of frames that both tracks call voiced or both unvoiced; NaN without frames."""
    n = min(len(reference), len(decoded))
    return float(np.mean((reference[:n] > 0) == (decoded[:n] > 0))) if n else float("nan")
