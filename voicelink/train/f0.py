"""Fundamental frequency of training speech, by Praat's forward cross-correlation method.

P. Boersma, "Accurate short-term analysis of the fundamental frequency", Proc. Inst. Phonetic Sciences 17 (1993), with
normalised cross-correlation in place of autocorrelation, through the `praat-parselmouth` package (GPL; only training
needs it). Driven by this track the shipped vocoder is judged more natural than by WORLD's DIO; docs/training.md has
the figures.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from voicelink.units import FRAME_SAMPLES, SAMPLE_RATE_HZ

F0_FLOOR_HZ = 60.0
F0_CEIL_HZ = 500.0
PIECE_FRAMES, MARGIN_FRAMES = 2000, 43
#: Praat wants a few periods of the lowest pitch.
LEAST_FRAMES = 8


def f0_track(speech: NDArray[np.float32]) -> NDArray[np.float32]:
    """F0 in Hz (0 = unvoiced) at samples 256 j, float32 [n // 256].

    In pieces of 23 s with half a second of margin, so that a level that Praat measures against is that of the place.
    """
    frames = len(speech) // FRAME_SAMPLES
    track = np.zeros(frames, np.float32)
    for first in range(0, frames, PIECE_FRAMES):
        begin, end = max(0, first - MARGIN_FRAMES), min(frames, first + PIECE_FRAMES + MARGIN_FRAMES)
        piece = _piece(speech[begin * FRAME_SAMPLES : end * FRAME_SAMPLES].astype(np.float64), end - begin)
        count = min(PIECE_FRAMES, frames - first)
        track[first : first + count] = piece[first - begin :][:count]
    return track


def _piece(signal: NDArray[np.float64], frames: int) -> NDArray[np.float64]:
    import parselmouth  # noqa: PLC0415  (in the worker only)

    if frames < LEAST_FRAMES or not signal.any():
        return np.zeros(frames)
    found = parselmouth.Sound(signal, SAMPLE_RATE_HZ).to_pitch_cc(
        time_step=FRAME_SAMPLES / SAMPLE_RATE_HZ, pitch_floor=F0_FLOOR_HZ, pitch_ceiling=F0_CEIL_HZ
    )
    times_s = np.arange(frames) * FRAME_SAMPLES / SAMPLE_RATE_HZ
    return _at(times_s, found.xs(), found.selected_array["frequency"])


def _at(wanted_s: NDArray[np.float64], times_s: NDArray[np.float64], f0_hz: NDArray[np.float64]) -> NDArray[np.float64]:
    """The track at other times; see `between`."""
    if len(times_s) < 2:
        return np.zeros(len(wanted_s))
    before = np.clip(np.searchsorted(times_s, wanted_s) - 1, 0, len(times_s) - 2)
    share = np.clip((wanted_s - times_s[before]) / (times_s[before + 1] - times_s[before]), 0.0, 1.0)
    return between(f0_hz[before], f0_hz[before + 1], share)


def between(left: NDArray[np.float64], right: NDArray[np.float64], share: NDArray[np.float64]) -> NDArray[np.float64]:
    """F0 at `share` of the way from `left` to `right` (0 = unvoiced); shapes as numpy broadcasts them.

    On a logarithmic line where both are voiced, else as the nearer one.
    """
    line = np.exp((1 - share) * np.log(np.maximum(left, 1e-9)) + share * np.log(np.maximum(right, 1e-9)))
    return np.where((left > 0) & (right > 0), line, np.where(share < 0.5, left, right))
