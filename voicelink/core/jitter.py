"""The jitter buffer: frames in as the network brings them, one decision a slot out as the loudspeaker pulls.

The *level* is how long after the fastest frame of the last seconds frames are played now; `DelayEstimator` says what
it should be, its *target*. Slots are whole frames of the loudspeaker's clock, so the level is kept from the target to
a frame above it, by playing 10 % faster or slower for a while (`TimeScale`); a frame that is missing, or silence, is
where it costs nothing. Where in a frame's time the slots begin is chosen once: until playout begins the loudspeaker
asks every half slot (`Wait`), and the half is taken that leaves less to wait on a path that is even.

When a frame is missing at its slot:

* where later ones are there, it was lost or overtaken: its slot is concealed, and media time goes on;
* where a silence that was announced begins later, too;
* where nothing is there, nobody can know. The slot is concealed and media time *waits*. If the frame comes after all it
  is played, and nothing of the speech is gone: the delay has grown, and is worked off. If a later one comes, the slots
  that waited stand for those lost before it.

A frame that comes after others were played past it heals the decoder's state (`Heal`). Late is not lost: frames
that never come do not move the target. Names and the rule of the waiting slots follow WebRTC's NetEq.

What holds at all times (tests/core/test_state_machine.py): no frame is played twice; played frames only go forward
until a resync; what is kept is bounded; no input raises.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final

from voicelink.core.delay import DelayEstimator
from voicelink.core.events import ComfortNoise, Conceal, Heal, Play, PlayoutDecision, Skip, Stretch, Wait
from voicelink.core.silence import Silence
from voicelink.core.stats import Stats
from voicelink.core.timescale import TimeScale
from voicelink.frame import Frame
from voicelink.units import HEAL_FRAMES, NS_PER_MS, frames_to_ns, ns_to_frames

FRAME_NS: Final = frames_to_ns(1)
#: Frames held at most, about 3 s; one that is further ahead than this sets the position anew.
CAPACITY_FRAMES: Final = 256
HALF_NS: Final = FRAME_NS // 2
#: A level under this is raised by a frame: what 1000 ppm of drift take while that is being done, and a little more.
GUARD_NS: Final = 160_000
#: A level above the target by more than this is lowered by a frame; and from here on already where it rises as drift
#: makes it, by no more than so much a slot.
HIGH_NS: Final = FRAME_NS + 2 * GUARD_NS
RISEN_NS: Final = FRAME_NS + 100_000
SLOW_NS: Final = 20_000
#: After that, and until it has risen further, it is raised only under this: not the one for the other's sake.
LOW_AFTER_NS: Final = 70_000
#: What an even path will be found to need beyond what its first frames did.
EVEN_NS: Final = NS_PER_MS // 2
#: From so much above the target on it is lowered fast, and from so much at once.
FAST_NS: Final = 10 * FRAME_NS
JUMP_NS: Final = 43 * FRAME_NS
#: A level under the target by less than this is good as long as the late rate is.
TOLERATED_NS: Final = FRAME_NS // 2
#: All packets late for so long while nothing can be played, and at least so many: the position is set anew.
ALL_LATE_NS: Final = 200 * NS_PER_MS
ALL_LATE_PACKETS: Final = 3
MISSING_KEPT: Final = 1024
#: Whole frames left out in one slot at most, where new bounds are to act at once.
MOST_SKIPS: Final = 3
#: Of quiet frames, whole ones are left out or put in, every so many slots.
QUIET_REST_SLOTS: Final = 2


class JitterBuffer:
    """Playout whose delay follows `estimator`."""

    def __init__(self, estimator: DelayEstimator, stats: Stats) -> None:
        self.estimator = estimator
        self._stats = stats
        self._held: dict[int, tuple[Frame, int]] = {}
        self._next: int | None = None  # the frame that the next slot is for
        self._newest = -1
        self._started = self._played = False
        self._skips = self._rest = 0
        self._waited = 0  # slots concealed for which media time has not gone on yet
        self._run = 0
        self._missing: dict[int, None] = {}  # passed over, and not come since: a set that knows its oldest item
        self._heals: deque[Frame] = deque()
        self._scale = TimeScale()
        self._silence = Silence()
        self._noise = b""
        self._hurry = False
        self._low_ns, self._before_ns = GUARD_NS, 0  # the level above the target in the slot before
        self._late_packets = 0
        self._late_since_ns = 0
        self.level_ns: int | None = None
        """Delay at which the last slot was played, after the fastest frame; None before playout."""

    @property
    def frames_held(self) -> int:
        """Frames that wait for their slot."""
        return len(self._held)

    @property
    def bounds_ns(self) -> tuple[int, int]:
        """Least and most delay, ns. New bounds act at once: whole frames are left out or put in until they hold."""
        return self.estimator.bounds_ns

    @bounds_ns.setter
    def bounds_ns(self, bounds: tuple[int, int]) -> None:
        self.estimator.bounds_ns = bounds
        self._hurry = True

    # ---- network side ----------------------------------------------------------------------------
    def insert(
        self, new: Sequence[Frame], old: Sequence[Frame], now_ns: int, *, talk_spurt_start: bool = False
    ) -> None:
        """Take a packet's new frames (at least one; consecutive, but for those of a pause) and its redundant ones.

        `talk_spurt_start`: the sender was silent until now, and the frames between the newest one known and the
        first of these were never sent: they are neither lost nor late, and their slots are comfort noise.
        """
        first = new[0].index
        if self._next is None:
            self._anchor(first)
        elif first >= self._next + self._waited + CAPACITY_FRAMES or self._all_late(new[-1].index, now_ns):
            self._stats.resyncs += 1
            self._anchor(first)
        if talk_spurt_start:
            self._start_spurt(first)
        else:
            self._silence.resume(first)
        for frame in old:
            self._stats.frames_recovered += self._hold(frame, now_ns)
        for frame in new:
            self._hold(frame, now_ns)
        self._newest = max(self._newest, new[-1].index)

    def announce_silence(self, first_index: int, now_ns: int, noise: bytes = b"") -> None:
        """From frame `first_index` on nothing will be sent until a packet with `talk_spurt_start`.

        Slots from there on are comfort noise (`noise`, where the sender told what it is like) and not concealed. Where
        the announcement is lost, the slots are concealed (which fades to comfort noise as well) until the talk spurt
        starts. May be repeated.
        """
        self._noise = noise
        if self._next is not None and first_index > self._newest:
            self._silence.begin(first_index)

    def _start_spurt(self, first: int) -> None:
        """Close the silence; where its slots ran past a talk spurt that came late, they begin it all the same."""
        assert self._next is not None
        self._silence.end(first, self._newest)
        if self._newest < first < self._next:
            self._next = back = max(first, self._newest + 1)
            for index in [index for index in self._missing if index >= back]:
                del self._missing[index]

    def _hold(self, frame: Frame, now_ns: int) -> bool:
        """Keep a frame until its slot, or to heal with; True where this index was not known before."""
        assert self._next is not None
        index = frame.index
        if index < self._next:
            if index in self._missing:
                del self._missing[index]  # a second copy is not late again
                self._take_late(frame, now_ns)
            return False
        known = self._held.get(index)
        if known is None:
            self._held[index] = (frame, now_ns)
            self._stats.frames_received += 1
            self.estimator.add(now_ns - frames_to_ns(index), now_ns)
        else:
            self._held[index] = (known[0].joined(frame), known[1])
        return known is None

    def _take_late(self, frame: Frame, now_ns: int) -> None:
        assert self._next is not None
        self._stats.frames_late += 1
        self._stats.frames_received += 1
        self.estimator.add(now_ns - frames_to_ns(frame.index), now_ns)
        if frame.index >= self._next - HEAL_FRAMES and len(self._heals) < HEAL_FRAMES:
            self._heals.append(frame)

    def _all_late(self, newest: int, now_ns: int) -> bool:
        """Count packets that are late as a whole, one after another; True where it has been too many."""
        assert self._next is not None
        if newest >= self._next or self._held:
            self._late_packets = 0
            return False
        if not self._late_packets:
            self._late_since_ns = now_ns
        self._late_packets += 1
        return self._late_packets >= ALL_LATE_PACKETS and now_ns - self._late_since_ns >= ALL_LATE_NS

    def _anchor(self, index: int) -> None:
        """Go on with `index`, one target after it came, and forget what was held."""
        self._stats.frames_discarded += len(self._held)
        for kept in (self._held, self._missing, self._heals, self._silence):
            kept.clear()
        self.estimator.restart()
        self._scale.reset()
        self._next, self._newest, self._started = index, index - 1, False
        self._waited = self._late_packets = 0

    # ---- loudspeaker side ------------------------------------------------------------------------
    def pull(self, now_ns: int, *, quiet: bool = False) -> PlayoutDecision:
        """What fills the next slot (Skip and Heal fill none: pull again).

        `quiet`: the frame heard last was quiet, so that one more or less would not be heard.
        """
        estimator, index = self.estimator, self._next
        base_ns = estimator.base_ns
        if index is None or base_ns is None:
            return Wait()
        if self._heals:
            self._stats.frames_healed += 1
            return Heal(self._heals.popleft())
        if self._waited and index not in self._held and (known := self._known_after(index)) is not None:
            index = self._charge(known - index)
        above_ns = now_ns - frames_to_ns(index) - base_ns - estimator.target_ns
        if not self._started:
            if above_ns < 0 or not (self._played or self._is_early_half(above_ns)):
                return self._conceal(index) if self._played else Wait()
            self._started = True
        if above_ns >= JUMP_NS:
            above_ns = self._jump(above_ns)
        self.level_ns = above_ns + estimator.target_ns
        if not self._skips:
            stats = self._stats
            stats.target_ns += estimator.target_ns
            stats.slots += 1
            self._rest += 1
        if GUARD_NS <= above_ns <= HIGH_NS:
            self._hurry = False
            self._low_ns = GUARD_NS
        decision = self._decide(above_ns, now_ns, quiet)
        self._before_ns = above_ns
        if type(decision) is Skip:
            self._skips += 1
        else:
            self._skips = 0
        return decision

    def _decide(self, above_ns: int, now_ns: int, quiet: bool) -> PlayoutDecision:
        assert self._next is not None
        index = self._next
        if index in self._held:
            if self._waited:
                self._stats.frames_late += self._waited  # they came, after the slots that waited for them
                self._waited = 0
            return self._play(index, above_ns, now_ns, quiet)
        if self._silence.left(index):
            return self._comfort(index, above_ns)
        self._scale.reset()
        if self._known_after(index) is None:
            self._waited += 1
            return self._conceal(index + self._waited - 1)
        if self._too_high(above_ns):  # a frame that is not there is the best one to leave out
            self._pass_over(index)
            self._lowered()
            return self._decide(above_ns - FRAME_NS, now_ns, quiet)
        if above_ns < self._low_ns and self._too_low(above_ns):
            self._stats.frames_inserted += 1
        else:
            self._pass_over(index)
        return self._conceal(index)

    def _known_after(self, index: int) -> int | None:
        """What is next of what is known to follow a missing frame: one that is held, or a silence; None for nothing."""
        if self._held:
            return min(self._held)
        begins = self._silence.open_from
        return begins if begins is not None and begins > index else None

    def _charge(self, gap: int) -> int:
        """Slots that waited stand for the `gap` frames missing before what is known to come next.

        One slot of a silence is left, so that the decoder hears of it. Returns the frame that is now due.
        """
        assert self._next is not None
        for _ in range(min(gap - bool(self._silence.left(self._next + gap - 1)), self._waited)):
            self._pass_over(self._next)
            self._waited -= 1
        return self._next

    def _pass_over(self, index: int) -> None:
        self._next = index + 1
        if not self._silence.left(index):
            self._missing[index] = None
            if len(self._missing) > MISSING_KEPT:
                del self._missing[next(iter(self._missing))]

    def _play(self, index: int, above_ns: int, now_ns: int, quiet: bool) -> PlayoutDecision:
        """Frame `index`, or something else first where the level is off."""
        scale = self._scale
        if scale.busy or not self._low_ns <= above_ns <= RISEN_NS:
            other = self._move(index, above_ns, quiet)
            if other is not None:
                return other
        frame, arrival_ns = self._held.pop(index)
        self._next = index + 1
        self._run, self._played = 0, True
        stats = self._stats
        stats.frames_played += 1
        stats.buffer.add(now_ns - arrival_ns)
        return Play(frame, scale.lag)

    def _move(self, index: int, above_ns: int, quiet: bool) -> PlayoutDecision | None:
        """Go on with what brings the level to where it should be; None where frame `index` is played all the same."""
        scale = self._scale
        if scale.busy:
            if above_ns > HIGH_NS:
                scale.turn()
            if scale.step():
                return self._put_in()
        elif self._too_high(above_ns) and self.estimator.recent_ns + FRAME_NS <= above_ns + self.estimator.target_ns:
            most = MOST_SKIPS if self._hurry else int(not quiet or self._rest >= QUIET_REST_SLOTS)
            if index + 1 in self._held and self._skips < most:
                return self._leave_out(index, above_ns, quiet)
        elif above_ns < self._low_ns and self._too_low(above_ns):
            if self._hurry or (quiet and self._rest >= QUIET_REST_SLOTS):
                return self._put_in()
            if not quiet:
                scale.slow_down()
                scale.step()
        return None

    def _put_in(self) -> Stretch:
        """Let this slot go by without a new frame."""
        self._rest = self._run = 0
        self._stats.frames_inserted += 1
        return Stretch()

    def _leave_out(self, index: int, above_ns: int, quiet: bool) -> PlayoutDecision:
        """Take two frames in this slot; the second one's Play follows, with a lag unless nobody would hear it."""
        if not (quiet or self._hurry):
            self._scale.speed_up(above_ns >= FAST_NS)
        self._rest = 0
        self._next = index + 1
        self._lowered()
        return Skip(self._held.pop(index)[0])

    def _lowered(self) -> None:
        self._stats.frames_skipped += 1
        self._low_ns = LOW_AFTER_NS

    def _is_early_half(self, above_ns: int) -> bool:
        """Whether slots that begin now leave less to wait than half a frame later, or that chance was not taken."""
        estimator = self.estimator
        least_ns, most_ns = estimator.bounds_ns
        lasting_ns = min(max(estimator.recent_ns + EVEN_NS, least_ns), most_ns)
        return (above_ns + estimator.target_ns - lasting_ns) % FRAME_NS < HALF_NS or above_ns >= HALF_NS

    def _too_high(self, above_ns: int) -> bool:
        """Whether the level is to be lowered."""
        if above_ns > HIGH_NS:
            return True
        slow = 0 < above_ns - self._before_ns <= SLOW_NS
        return slow and above_ns > RISEN_NS and not self.estimator.is_starting

    def _too_low(self, above_ns: int) -> bool:
        """Whether the level is so far under the target that the late rate suffers."""
        estimator = self.estimator
        if above_ns < -TOLERATED_NS or self._hurry:
            return True
        return estimator.late_share(above_ns - GUARD_NS + estimator.target_ns) > 1.5 * estimator.target_late_rate

    def _comfort(self, index: int, above_ns: int) -> ComfortNoise:
        """A slot of silence: here the level may be set right without anybody hearing it."""
        self._scale.reset()
        self._waited = 0
        most = min(self._held, default=index + self._silence.left(index)) - index - 1
        index += max(0, min(above_ns // FRAME_NS, self._silence.left(index) - 1, most))
        if above_ns >= self._low_ns or not self._too_low(above_ns):
            self._next = index + 1
        self._stats.frames_comfort += 1
        self._run = 0
        return ComfortNoise(index, self._noise)

    def _conceal(self, index: int) -> Conceal:
        self._run += 1
        self._stats.conceal(self._run)
        return Conceal(index, self._run)

    def _jump(self, above_ns: int) -> int:
        """Drop a surplus that would take too long to work off; returns what is left of it."""
        assert self._next is not None
        frames = min(ns_to_frames(above_ns), max(self._newest + 1 - self._next, 0))
        if not frames:
            return above_ns
        to = self._next + frames
        gone = [index for index in self._held if index < to]
        for index in gone:
            del self._held[index]
        self._stats.frames_discarded += len(gone)
        self._stats.resyncs += 1
        self._waited = 0
        self._scale.reset()
        self._next = to
        return above_ns - frames_to_ns(frames)
