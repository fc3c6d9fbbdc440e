"""What to put into packets so that most speech arrives: bits, bundling and repetition for a loss and a rate.

A search over what can be sent. Each candidate is worth the intelligibility (ESTOI, in millionths) that may be expected
of it: that of its bits, times the shares of frames that come whole, as a copy or not at all; less what delay and rate
cost. Losses are taken to be Gilbert's (bursts of a mean length, in time): a copy is lost together with its frame the
more often the nearer it lies, so bursts ask for distance. Integers only, so that it decides alike everywhere.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from voicelink.core.plan import PACKET_BYTES, Plan, Repeat
from voicelink.units import FRAME_SAMPLES, SAMPLE_RATE_HZ
from voicelink.wire.media import BLOCK_BYTES, MAX_DISTANCE

MILLION: Final = 1_000_000
#: ESTOI of the default model by bits a frame (its model card; between them by hand).
_WORTH: Final = ((1, 300), (4, 600), (8, 735), (12, 780), (16, 806), (24, 832), (32, 849), (48, 860), (64, 868))
#: What a lost frame takes, of what it would have been worth: alone, and more for each frame that is missing around it.
LOST_ALONE, LOST_MORE = 450_000, 50_000
#: What a frame of delay and a kbit/s on the wire must bring.
DELAY_COST, RATE_COST = 900, 150
#: Packets back at which a copy may lie, and frames that the oldest one may be behind.
LAGS: Final = (1, 2, 3, 4, 5, 6, 8)
FARTHEST: Final = 36
#: Copies at fewer bits than the frame: quarters.
_QUARTERS: Final = (4, 3, 2)
_BUNDLES: Final = (1, 2, 3, 4, 5, 6, 8)


@dataclass(frozen=True, slots=True)
class Limits:
    """What the two ends agreed on."""

    bits_min: int
    bits_max: int
    frames_min: int
    frames_max: int


@dataclass(frozen=True, slots=True)
class Path:
    """What is known of the path: loss in millionths, the mean burst in half frames (0: losses are independent)."""

    loss: int = 0
    burst_half_frames: int = 0


@lru_cache(maxsize=4096)
def choose(budget_bps: int, path: Path, limits: Limits) -> Plan:
    """The plan worth most within `budget_bps` on the wire; the leanest of all where none fits."""
    best: Plan | None = None
    most = -MILLION
    for frames in _bundles(limits):
        for lag, copies, quarters in _shapes(frames, path):
            plan = _filled(budget_bps, limits, frames, lag, copies, quarters)
            if plan is not None:
                worth = expected(plan, path, lag)
                if worth > most:
                    best, most = plan, worth
    return best or leanest(limits)


def leanest(limits: Limits) -> Plan:
    """The least that may be sent."""
    return Plan(limits.bits_min, limits.frames_max)


def expected(plan: Plan, path: Path, lag: int) -> int:
    """What a plan is worth on a path, its copies `lag` packets apart."""
    lost, frames, copies = path.loss, plan.frames, len(plan.repeats)
    gap = _packets_lost(path, frames) * frames // MILLION  # frames missing together
    whole = worth_of(plan.bits)
    value = (MILLION - lost) * whole
    if copies:
        copy, again = worth_of(plan.repeats[0].bits), _lost_again(path, frames, lag)
        for _ in range(copies):
            value += lost * (MILLION - again) // MILLION * copy
            lost = lost * again // MILLION
        gap = frames
    kept = MILLION - min(MILLION, LOST_ALONE + LOST_MORE * gap)
    value += lost * kept // MILLION * whole
    delay = frames + (lag * frames * copies if copies else 0)
    return value // MILLION - DELAY_COST * delay - RATE_COST * plan.wire_bps // 1000


def worth_of(bits: int) -> int:
    """ESTOI of frames of `bits` bits, millionths."""
    at = bisect_right(_WORTH, (bits, MILLION))
    if at == len(_WORTH):
        return _WORTH[-1][1] * 1000
    (low, worth), (high, more) = _WORTH[at - 1], _WORTH[at]
    return worth * 1000 + (more - worth) * 1000 * (bits - low) // (high - low)


# ---- helpers -------------------------------------------------------------------------------------
def _bundles(limits: Limits) -> list[int]:
    return [n for n in _BUNDLES if limits.frames_min <= n <= limits.frames_max] or [limits.frames_max]


def _shapes(frames: int, path: Path) -> Iterator[tuple[int, int, int]]:
    """Lag in packets, copies, and quarters of a frame's bits that each has."""
    yield 1, 0, 4
    if not path.loss:
        return
    for copies in (1, 2):
        for lag in LAGS:
            if lag * frames * copies <= FARTHEST:
                for quarters in _QUARTERS:
                    yield lag, copies, quarters


def _filled(budget_bps: int, limits: Limits, frames: int, lag: int, copies: int, quarters: int) -> Plan | None:
    """The most bits that fit; None where the fewest do not."""
    packet_bytes = budget_bps * frames * FRAME_SAMPLES // (8 * SAMPLE_RATE_HZ)
    code_bits = 8 * (packet_bytes - PACKET_BYTES - BLOCK_BYTES * copies)
    bits = min(limits.bits_max, 4 * code_bits // (frames * (4 + copies * quarters)))
    if bits < limits.bits_min:
        return None
    copy_bits = max(1, (bits * quarters + 3) // 4)
    while frames * (bits + copies * copy_bits) > code_bits and copy_bits > 1:
        copy_bits -= 1
    repeats = tuple(
        Repeat((copy * lag - 1) * frames, frames, copy_bits)
        for copy in range(1, copies + 1)
        if (copy * lag - 1) * frames <= MAX_DISTANCE
    )
    return Plan(bits, frames, repeats)


def _packets_lost(path: Path, frames: int) -> int:
    """Mean length of a burst in packets of so many frames, millionths: at least what chance makes."""
    chance = MILLION * MILLION // max(MILLION - path.loss, MILLION // 10)
    return max(chance, path.burst_half_frames * MILLION // (2 * frames))


def _lost_again(path: Path, frames: int, lag: int) -> int:
    """Share of lost packets after which the one `lag` packets later is lost as well (Gilbert), millionths."""
    good = max(MILLION - path.loss, MILLION // 10)
    leave = MILLION * MILLION // _packets_lost(path, frames)
    stays = max(0, MILLION - leave * MILLION // good)
    power = MILLION
    for _ in range(lag):
        power = power * stays // MILLION
    return path.loss + good * power // MILLION
