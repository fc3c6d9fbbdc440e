"""Rules for the playout delay on the same arrivals: ours, others' restated, and the best that could be known later.

Delays are relative: to the fastest frame of the last 2 s, and by when a frame can first be played. The rules are
idealised (their target is taken to be reached at once), so what differs is the choice alone; "restated" means written
anew after their sources' constants, and is no claim about those programs.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from voicelink.core.delay import BASE_NS, DelayEstimator
from voicelink.sim.trace import Trace
from voicelink.units import NS_PER_MS, NS_PER_S, frames_to_ns

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

#: Length of a talk spurt for the offline optimum that may change its delay between two.
SPURT_S: Final = 1.0


@dataclass(frozen=True)
class Arrivals:
    """Packets as they came, in that order; every one holds `frames` frames."""

    came_ns: Ints
    first: Ints
    """Index of its first frame."""
    frames: int

    @classmethod
    def of(cls, trace: Trace, listener: int) -> Arrivals:
        """What end `listener` got; a call without redundancy and at one number of frames a packet."""
        sender = trace.ends[1 - listener]
        frames = int(trace.scenario["frames_per_packet"])
        there = np.flatnonzero(sender.packet_came_ns >= 0)
        order = there[np.argsort(sender.packet_came_ns[there], kind="stable")]
        first = sender.packet_frame[order].astype(np.int64) - frames + 1
        return cls(sender.packet_came_ns[order], first, frames)

    def relative_ns(self) -> Ints:
        """Of each packet, its delay against the fastest of the last 2 s."""
        fastest: deque[tuple[int, int]] = deque()
        found = np.zeros(len(self.came_ns), np.int64)
        for i, (came_ns, first) in enumerate(zip(self.came_ns.tolist(), self.first.tolist(), strict=True)):
            transit_ns = came_ns - frames_to_ns(first)
            while fastest and fastest[-1][1] >= transit_ns:
                fastest.pop()
            fastest.append((came_ns, transit_ns))
            while fastest[0][0] < came_ns - BASE_NS:
                fastest.popleft()
            found[i] = transit_ns - fastest[0][1]
        return found


@dataclass(frozen=True)
class Outcome:
    """What a rule made of the arrivals after the first `warm_up_s`."""

    late_rate: float
    delay_ms: float
    """Mean target after the fastest frame."""


def judge(arrivals: Arrivals, targets_ns: Ints, warm_up_s: float) -> Outcome:
    """Share of frames that came later than the target of their time, and the targets' mean.

    `targets_ns`: of each packet, the target when it came, after the fastest *packet*. A packet's last frame
    can be played a frame for each of those before it earlier, so after the fastest frame the delay is as much longer.
    """
    counted = arrivals.came_ns >= arrivals.came_ns[0] + round(warm_up_s * NS_PER_S)
    bundling_ns = frames_to_ns(arrivals.frames - 1)
    relative_ns, targets = arrivals.relative_ns()[counted], targets_ns[counted] + bundling_ns
    late = [(relative_ns + frames_to_ns(arrivals.frames - 1 - j)) > targets for j in range(arrivals.frames)]
    return Outcome(float(np.mean(late)), float(targets.mean()) / NS_PER_MS)


def ours(arrivals: Arrivals, late_rate: float) -> Ints:
    """`core.delay.DelayEstimator`, frame by frame, as `core.jitter` feeds it."""
    estimator, bundling_ns = DelayEstimator(late_rate), frames_to_ns(arrivals.frames - 1)
    targets = []
    for came_ns, first in zip(arrivals.came_ns.tolist(), arrivals.first.tolist(), strict=True):
        targets.append(estimator.target_ns - bundling_ns)
        for index in range(first, first + arrivals.frames):
            estimator.add(came_ns - frames_to_ns(index), came_ns)
    return np.array(targets, np.int64)


def neteq(arrivals: Arrivals) -> Ints:
    """WebRTC's underrun optimiser (neteq/underrun_optimizer.cc, histogram.cc).

    Of the largest relative delay of each 500 ms, the 95 % quantile over buckets of 20 ms, forgotten by 0.983 each.
    """
    histogram, target_ns, seen = np.zeros(100), 80 * NS_PER_MS, 0
    largest_ns, since_ns = 0, int(arrivals.came_ns[0])
    targets = np.zeros(len(arrivals.came_ns), np.int64)
    for i, (came_ns, relative_ns) in enumerate(
        zip(arrivals.came_ns.tolist(), arrivals.relative_ns().tolist(), strict=True)
    ):
        targets[i] = target_ns
        if came_ns - since_ns >= 500 * NS_PER_MS:
            seen, since_ns = seen + 1, came_ns
            forget = min(0.983, max(0.0, 1 - 2 / (seen + 1)))
            histogram *= forget
            histogram[min(99, largest_ns // (20 * NS_PER_MS))] += 1 - forget
            bucket = int(np.searchsorted(np.cumsum(histogram), 0.95 * histogram.sum()))
            target_ns, largest_ns = (1 + bucket) * 20 * NS_PER_MS, 0
        largest_ns = max(largest_ns, relative_ns)
    return targets


def speex(arrivals: Arrivals) -> Ints:
    """The cost rule of Speex (libspeex/jitter.c), as Mumble uses it.

    Over the last 1000 packets, the delay that minimises delay + (price of a late packet) x (late packets), the price a
    40th of the spread of the 40 latest ones; whole packets.
    """
    kept: deque[int] = deque()
    ordered: list[int] = []
    step_ns, target_ns = frames_to_ns(arrivals.frames), 0
    targets = np.zeros(len(arrivals.came_ns), np.int64)
    for i, relative_ns in enumerate(arrivals.relative_ns().tolist()):
        targets[i] = target_ns
        kept.append(relative_ns)
        insort(ordered, relative_ns)
        if len(kept) > 1000:
            del ordered[bisect_left(ordered, kept.popleft())]
        if len(kept) >= 40:
            latest = ordered[:-41:-1]
            price = (1 + (latest[0] - latest[-1]) / 40) * 1000 / len(kept)
            delays = [-(-ns // step_ns) * step_ns for ns in latest]
            target_ns = min((ns + price * late, ns) for late, ns in enumerate(delays))[1]
    return targets


def optimum_ms(arrivals: Arrivals, late_rate: float, warm_up_s: float) -> float:
    """The least constant delay after the fastest frame that leaves `late_rate` of the frames late, known afterwards."""
    return float(np.quantile(_frames_ns(arrivals, warm_up_s), 1 - late_rate)) / NS_PER_MS


def spurt_optimum_ms(arrivals: Arrivals, late_rate: float, warm_up_s: float) -> float:
    """The least mean delay that leaves `late_rate` of the frames late where each second may have a delay of its own.

    S. Moon, J. Kurose and D. Towsley, "Packet audio playout delay adjustment: performance bounds and algorithms",
    Multimedia Systems 6 (1998): dynamic programming over talk spurts; here all spurts are 1 s long.
    """
    relative_ns = _frames_ns(arrivals, warm_up_s)
    spurt = int(SPURT_S * NS_PER_S / frames_to_ns(1))
    budget = int(late_rate * len(relative_ns))
    best = np.full(budget + 1, np.inf)
    best[0] = 0.0
    for begin in range(0, len(relative_ns), spurt):
        ordered = np.sort(relative_ns[begin : begin + spurt])[::-1]
        most = min(budget + 1, len(ordered))
        costs = ordered[:most] * (len(ordered) - np.arange(most))
        following = np.full(budget + 1, np.inf)
        for late in range(most):
            following[late:] = np.minimum(following[late:], best[: budget + 1 - late] + costs[late])
        best = following
    return float(best.min()) / (len(relative_ns) - budget) / NS_PER_MS


def _frames_ns(arrivals: Arrivals, warm_up_s: float) -> Floats:
    """Relative delay of each frame, ns."""
    counted = arrivals.came_ns >= arrivals.came_ns[0] + round(warm_up_s * NS_PER_S)
    relative_ns = arrivals.relative_ns()[counted]
    of_packet = frames_to_ns(1) * np.arange(arrivals.frames - 1, -1, -1)
    found: Floats = (relative_ns[:, None] + of_packet).astype(np.float64).reshape(-1)
    return found
