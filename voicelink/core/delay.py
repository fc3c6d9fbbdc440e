"""How much playout delay a path needs: the delay at which a wanted share of frames, and no more, comes too late.

The *transit* of a frame is its arrival (of the earliest copy, redundant or not) less its media time; the clocks of the
two ends differ, so it means nothing by itself. Its *relative delay* is its transit less that of the fastest frame of
the last 2 s (NetEq's reference, which also follows clock drift). The target is a quantile of the relative delays of
the last 20 s, kept in order, so it is exact and no grid of buckets limits it from below.

Which quantile: the one that leaves `target_late_rate` of the frames late. Spikes and trends make a past quantile miss
that rate, so the level follows what came of it, one small step a frame (adaptive conformal inference: Gibbs and
Candes, NeurIPS 2021): late frames lower it, frames in time raise it, and in the long run the asked rate is met on any
path. Frames that never come are lost, not late, and enter nowhere.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections import deque
from typing import Final

from voicelink.core.minimum import RecentMinimum
from voicelink.units import NS_PER_MS, NS_PER_S, frames_to_ns, ns_to_frames

#: The fastest frame is looked for in so much time.
BASE_NS: Final = 2 * NS_PER_S
#: Relative delays kept: 20 s.
WINDOW_FRAMES: Final = ns_to_frames(20 * NS_PER_S)
#: The target before anything is known; it gives way over the first 2 s.
START_NS: Final = 40 * NS_PER_MS
START_FRAMES: Final = ns_to_frames(2 * NS_PER_S)
#: Between two frames no more time than this passes for the window of the fastest one: a pause of the talker
#: does not make it forget.
PAUSE_NS: Final = 100 * NS_PER_MS
#: Where the fastest of the last 2 s is slower by so much than the one before, the path has changed for good.
STEP_NS: Final = 10 * NS_PER_MS
#: Bounds of the level, as multiples of the asked rate, and its step a frame: 1/500.
LEAST_SHARE, MOST_SHARE, STEP_DIVISOR = 8, 4, 500  # so the level stays under 1: an asked rate is 0.2 at most
RECENT_FRAMES: Final = 16
_PPB: Final = 1_000_000_000


class DelayEstimator:
    """Takes the transit of each frame when it first comes; `target_ns` is the delay to play at.

    `target_late_rate` is the user's one knob (small: safe, large: quick); `min_ns` and `max_ns` bound the target and
    may be changed at any time, with effect at once. Integers only: equal on every machine.
    """

    def __init__(self, target_late_rate: float, min_ns: int = 0, max_ns: int = 2 * NS_PER_S) -> None:
        self._min_ns, self._max_ns = min_ns, max(min_ns, max_ns)
        self._asked_ppb = round(target_late_rate * _PPB)
        self._level_ppb = self._asked_ppb
        self._samples: deque[tuple[int, int, int]] = deque()  # active time, transit, relative delay
        self._sorted: list[int] = []
        self._fastest = RecentMinimum(BASE_NS)  # of transits, by active time
        self._active_ns = 0
        self._last_ns: int | None = None
        self._wanted_ns = START_NS
        self._late_ppb = 0
        self._seen = 0
        self.base_ns: int | None = None
        """Transit of the fastest frame of the last 2 s; None before the first frame."""
        self.relative_ns = 0
        """Relative delay of the last frame."""
        self.target_ns = self._clamped()
        """Delay after the fastest frame at which to play."""

    @property
    def late_rate(self) -> float:
        """Share of the last frames (about 6 s of them) that came later than the target of their time."""
        return self._late_ppb / _PPB

    @property
    def is_starting(self) -> bool:
        """Whether so little is known that the target still gives way by itself."""
        return self._seen < START_FRAMES

    @property
    def bounds_ns(self) -> tuple[int, int]:
        """Least and most target."""
        return self._min_ns, self._max_ns

    @bounds_ns.setter
    def bounds_ns(self, bounds: tuple[int, int]) -> None:
        self._min_ns, self._max_ns = bounds[0], max(bounds)
        self.target_ns = self._clamped()

    @property
    def target_late_rate(self) -> float:
        """The asked share of late frames."""
        return self._asked_ppb / _PPB

    @target_late_rate.setter
    def target_late_rate(self, rate: float) -> None:
        self._asked_ppb = self._level_ppb = round(rate * _PPB)
        self._wanted_ns = self._quantile()
        self.target_ns = self._clamped()

    @property
    def recent_ns(self) -> int:
        """The largest relative delay of the last 0.2 s: a path that has just become slow is not to be played faster."""
        samples = self._samples
        return max((samples[-k][2] for k in range(1, min(RECENT_FRAMES, len(samples)) + 1)), default=0)

    def add(self, transit_ns: int, now_ns: int) -> None:
        """Book the first copy of a frame."""
        if self._last_ns is not None and now_ns > self._last_ns:
            self._active_ns += now_ns - self._last_ns if now_ns - self._last_ns < PAUSE_NS else PAUSE_NS
        self._last_ns = now_ns
        relative_ns = self.relative_ns = transit_ns - self._follow_base(transit_ns)
        self._learn(relative_ns > self.target_ns)
        samples, ordered = self._samples, self._sorted
        samples.append((self._active_ns, transit_ns, relative_ns))
        gone_ns = samples.popleft()[2] if len(samples) > WINDOW_FRAMES else None
        if gone_ns != relative_ns:  # else one goes as it comes
            insort(ordered, relative_ns)
            if gone_ns is not None:
                del ordered[bisect_left(ordered, gone_ns)]
        wanted_ns = self._quantile()
        self._wanted_ns = wanted_ns
        self.target_ns = wanted_ns if self._min_ns <= wanted_ns <= self._max_ns else self._clamped()

    def restart(self) -> None:
        """The sender's media time has jumped: transits from now on do not compare with those before."""
        self._fastest.clear()
        self.base_ns = None
        self._samples = deque((-BASE_NS - 1, 0, relative_ns) for _, _, relative_ns in self._samples)

    def late_share(self, delay_ns: int) -> float:
        """Share of the last 20 s' frames that a buffer of fixed `delay_ns` would have had too late."""
        late = len(self._sorted) - bisect_right(self._sorted, delay_ns)
        return late / len(self._sorted) if self._sorted else 0.0

    def curve(self, frames: int = 32) -> list[tuple[int, float]]:
        """Shadow buffers: late share against delay, at 0, 1 ... frames of delay; (ns, share)."""
        return [(delay_ns, self.late_share(delay_ns)) for delay_ns in map(frames_to_ns, range(frames + 1))]

    # ---- helpers ---------------------------------------------------------------------------------
    def _follow_base(self, transit_ns: int) -> int:
        """The fastest transit of the last 2 s, this one included."""
        base_ns = self._fastest.add(transit_ns, self._active_ns)
        if self.base_ns is not None and base_ns - self.base_ns > STEP_NS:
            self._judge_anew(base_ns)
        self.base_ns = base_ns
        return base_ns

    def _judge_anew(self, base_ns: int) -> None:
        """The path became slower: what came since was measured against a path that is gone."""
        kept = []
        while self._samples and self._samples[-1][0] >= self._active_ns - BASE_NS:
            active_ns, transit_ns, relative_ns = self._samples.pop()
            del self._sorted[bisect_left(self._sorted, relative_ns)]
            relative_ns = min(relative_ns, max(0, transit_ns - base_ns))
            insort(self._sorted, relative_ns)
            kept.append((active_ns, transit_ns, relative_ns))
        self._samples.extend(reversed(kept))

    def _learn(self, late: bool) -> None:
        """Move the level toward what makes the asked rate come true; not where the bounds decide."""
        self._seen += 1
        miss_ppb = _PPB if late else 0
        self._late_ppb += (miss_ppb - self._late_ppb) // (512 if self._seen > 512 else self._seen)
        if self._seen <= START_FRAMES or self.target_ns != self._wanted_ns:
            return
        asked_ppb = self._asked_ppb
        level_ppb = self._level_ppb + (asked_ppb - miss_ppb) // STEP_DIVISOR
        if level_ppb < asked_ppb // LEAST_SHARE:
            level_ppb = asked_ppb // LEAST_SHARE
        elif level_ppb > asked_ppb * MOST_SHARE:
            level_ppb = asked_ppb * MOST_SHARE
        self._level_ppb = level_ppb

    def _quantile(self) -> int:
        count = len(self._sorted)
        if not count:
            return START_NS
        wanted_ns = self._sorted[count - 1 - count * self._level_ppb // _PPB]
        if self._seen < START_FRAMES:
            return max(wanted_ns, START_NS * (START_FRAMES - self._seen) // START_FRAMES)
        return wanted_ns

    def _clamped(self) -> int:
        return min(max(self._wanted_ns, self._min_ns), self._max_ns)
