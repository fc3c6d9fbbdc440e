"""The E-model's transmission rating R (ITU-T G.107), for delay and packet loss.

    R = 93.2 - Idd(delay) - Ie_eff(loss),    Ie_eff = Ie + (95 - Ie) * Ppl / (Ppl / BurstR + Bpl)

All other impairments are at G.107's defaults (Ro - Is = 93.2, A = 0). No Ie and Bpl are published for neural codecs:
`fit` finds them from an objective MOS measured over packet loss, so an R computed with them is a fit to that judge
and no planning value of the ITU. Whoever shows it has to say so.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log2
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

R_BASE: Final = 93.2
IE_WORST: Final = 95.0
#: Least and largest MOS that R 0..100 stands for.
MOS_LEAST: Final = 1.0
#: Where the fit looks for Bpl.
LEAST_BPL, MOST_BPL = 0.1, 200.0
_R_GRID: Final = np.linspace(6.53, 100.0, 4001)  # below 6.53 G.107's cubic falls under 1


@dataclass(frozen=True)
class Codec:
    """Equipment impairment `ie` and loss robustness `bpl`, and the RMS error of the fit in R."""

    ie: float
    bpl: float
    rms_error: float = 0.0
    bounded: bool = False
    """Whether the fit ended at the largest `bpl` it may find: more loss did not lower the MOS."""


def delay_impairment(delay_ms: float) -> float:
    """Idd for an absolute one-way delay from mouth to ear (G.107, equations 7-27 and 7-28; none to 100 ms)."""
    if delay_ms <= 100:
        return 0.0
    x = log2(delay_ms / 100)
    return float(25 * ((1 + x**6) ** (1 / 6) - 3 * (1 + (x / 3) ** 6) ** (1 / 6) + 2))


def loss_impairment(loss_percent: ArrayLike, codec: Codec, burst_ratio: float = 1.0) -> NDArray[np.float64]:
    """Ie_eff for `loss_percent` (0..100) of frames lost, after redundancy and lateness.

    `burst_ratio`: mean length of loss bursts over that of independent losses at the same rate (1: independent).
    """
    lost = np.asarray(loss_percent, np.float64)
    impaired: NDArray[np.float64] = codec.ie + (IE_WORST - codec.ie) * lost / (lost / burst_ratio + codec.bpl)
    return impaired


def rating(delay_ms: float, loss_percent: float, codec: Codec, burst_ratio: float = 1.0) -> float:
    """R of a call, at most 93.2 and at least 0."""
    impaired = float(loss_impairment(loss_percent, codec, burst_ratio))
    return max(0.0, R_BASE - delay_impairment(delay_ms) - impaired)


def mos_of(r: ArrayLike) -> NDArray[np.float64]:
    """MOS-CQE of a rating (G.107, annex B)."""
    r = np.clip(np.asarray(r, np.float64), 0.0, 100.0)
    mos: NDArray[np.float64] = 1 + 0.035 * r + 7e-6 * r * (r - 60) * (100 - r)
    return np.maximum(mos, MOS_LEAST)


def rating_of(mos: ArrayLike) -> NDArray[np.float64]:
    """The rating of a MOS: the inverse of `mos_of`, for 1..4.5; beyond it, the nearest."""
    ratings: NDArray[np.float64] = np.interp(np.asarray(mos, np.float64), mos_of(_R_GRID), _R_GRID)
    return ratings


def fit(loss_percent: ArrayLike, mos: ArrayLike) -> Codec:
    """Ie and Bpl for which Ie_eff of `loss_percent` comes nearest, in R, to the MOS measured there.

    Raises ValueError for fewer than three points or fewer than two loss rates.
    """
    from scipy.optimize import least_squares  # noqa: PLC0415

    lost, target = np.asarray(loss_percent, np.float64), rating_of(mos)
    if len(lost) < 3 or len(np.unique(lost)) < 2:
        raise ValueError("Ie and Bpl need three points at two loss rates or more")
    wanted = R_BASE - target

    def error(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return loss_impairment(lost, Codec(float(values[0]), float(values[1]))) - wanted

    start = (float(np.clip(wanted[lost == lost.min()].mean(), 0, 90)), 10.0)
    found = least_squares(error, start, bounds=([0.0, LEAST_BPL], [IE_WORST - 0.1, MOST_BPL]))
    ie, bpl = (float(value) for value in found.x)
    return Codec(ie, bpl, float(np.sqrt(np.mean(np.square(found.fun)))), bpl > 0.99 * MOST_BPL)
