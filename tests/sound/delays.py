"""Mouth to ear from a recording of both sides: band envelopes correlated, since a vocoder keeps no phases."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from voicelink_client.measure import estoi

from voicelink.audio.resampler import resample
from voicelink.units import SAMPLE_RATE_HZ

HOP_MS = 1
WINDOW_MS = 16
BANDS_HZ = (150, 300, 500, 800, 1_200, 1_800, 2_600, 3_600, 5_000)
PART_S, STEP_S = 1.5, 0.25
MAX_DELAY_MS = 600
#: A window's delay counts where the two sides are alike enough there: silence has no delay.
MIN_LIKENESS = 0.5


def delays_ms(said: np.ndarray, heard: np.ndarray, rate_hz: int) -> np.ndarray:
    """Delay of `heard` behind `said` in each part of 1.5 s that holds speech, ms."""
    a, b = _envelopes(said, rate_hz), _envelopes(heard, rate_hz)
    length, step = round(PART_S * 1000), round(STEP_S * 1000)
    found = []
    for at in range(0, min(len(a), len(b)) - length - MAX_DELAY_MS, step):
        one = _normed(a[at : at + length])
        if one is None:
            continue
        scores = _likeness(one, b[at : at + length + MAX_DELAY_MS - 1])
        best = int(np.argmax(scores))
        if scores[best] >= MIN_LIKENESS:
            found.append(best)
    return np.array(found, float)


def understood(said: np.ndarray, heard: np.ndarray, rate_hz: int, delay_ms: float) -> float:
    """ESTOI of `heard`, shifted by its delay, against `said`."""
    shift = round(delay_ms * rate_hz / 1000)
    count = min(len(said), len(heard) - shift)
    pair = (resample(x.astype(np.float32), rate_hz, SAMPLE_RATE_HZ) for x in (said[:count], heard[shift:][:count]))
    found = estoi(*pair)
    assert found is not None
    return found


def _envelopes(sound: np.ndarray, rate_hz: int) -> np.ndarray:
    """Log power in 8 bands every millisecond, [n, 8]."""
    hop, size = rate_hz * HOP_MS // 1000, rate_hz * WINDOW_MS // 1000
    count = max(0, (len(sound) - size) // hop)
    edges = [round(f * size / rate_hz) for f in BANDS_HZ]
    window = np.hanning(size)
    bands = np.empty((count, len(edges) - 1))
    for at in range(0, count, 4_096):
        rows = np.arange(at, min(count, at + 4_096))
        power = np.abs(np.fft.rfft(sound[rows[:, None] * hop + np.arange(size)] * window)) ** 2
        bands[rows] = np.stack([power[:, i:j].mean(axis=1) for i, j in pairwise(edges)], axis=1)
    return np.log10(bands + 1e-4)


def _normed(part: np.ndarray) -> np.ndarray | None:
    centred = part - part.mean(axis=0)
    size = np.linalg.norm(centred)
    return centred / size if size > 0.2 * np.sqrt(part.size) else None


def _likeness(one: np.ndarray, part: np.ndarray) -> np.ndarray:
    """Correlation coefficient of `one` [n, 8], centred and of norm 1, with `part` [n + m, 8] at each of m + 1 lags."""
    n, size = len(one), len(one) + len(part)
    spectrum = np.conj(np.fft.rfft(one, size, axis=0)) * np.fft.rfft(part, size, axis=0)
    products = np.fft.irfft(spectrum, size, axis=0).sum(axis=1)[: len(part) - n + 1]
    sums, squares = (np.cumsum(np.pad(part**k, ((1, 0), (0, 0))), axis=0) for k in (1, 2))
    energy = squares[n:] - squares[:-n] - (sums[n:] - sums[:-n]) ** 2 / n
    return np.asarray(products / np.sqrt(np.maximum(1e-9, energy.sum(axis=1))))
