"""The jitter buffer: frames in as the network brings them, one decision a slot out as the loudspeaker pulls.

Media time runs with the pulls: every slot asks for the next frame index, which is played or, where it has not
come, concealed. The *margin* of a packet is how long before its first frame's slot it arrived. The largest
margin of the last seconds is that of the fastest packet (NetEq's reference of relative delay), and the buffer
keeps it at the playout delay:

* off by more than one frame for a whole window (clock drift, a slowly changed path): one slot is skipped or
  inserted, then a new window begins;
* off by much more (the pulls stood still): the surplus is dropped at once;
* every packet late for a while (the sender stood still, the path became slower), or far ahead: the playout
  position is set anew from the packet at hand.

A frame that comes after its slot was concealed is late, not lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from voicelink.core.events import Conceal, Play, PlayoutDecision, Skip, Stretch, Wait
from voicelink.core.margin import MarginWindow
from voicelink.core.stats import INTERRUPTION_MS, Stats
from voicelink.frame import Frame
from voicelink.units import NS_PER_MS, frames_to_ns, ns_to_frames

FRAME_NS: Final = frames_to_ns(1)
#: Frames held at most, about 3 s; one that is further ahead than this sets the position anew.
CAPACITY_FRAMES: Final = 256
#: A surplus of so much is dropped at once, not frame by frame.
SURPLUS_NS: Final = 10 * FRAME_NS
#: All packets late for so long, and at least so many: the position is set anew.
ALL_LATE_NS: Final = 200 * NS_PER_MS
ALL_LATE_PACKETS: Final = 3
INTERRUPTION_FRAMES: Final = ns_to_frames(INTERRUPTION_MS * NS_PER_MS) + 1
CONCEALED_KEPT: Final = 1024


class JitterBuffer:
    """Playout with a fixed delay. `delay_ns` may be changed at any time; the buffer moves there."""

    def __init__(self, delay_ns: int, stats: Stats) -> None:
        self.delay_ns = delay_ns
        self._stats = stats
        self._held: dict[int, tuple[Frame, int]] = {}
        self._next: int | None = None
        self._start_ns = 0
        self._pulled_ns: int | None = None  # last slot of this run of playout
        self._played_once = False
        self._run = 0
        self._concealed: dict[int, None] = {}  # a set that knows its oldest item
        self._margins = MarginWindow()
        self._late_packets = 0
        self._late_since_ns = 0

    @property
    def frames_held(self) -> int:
        """Frames that wait for their slot."""
        return len(self._held)

    # ---- network side ----------------------------------------------------------------------------
    def insert(
        self, new: Sequence[Frame], old: Sequence[Frame], now_ns: int, *, talk_spurt_start: bool = False
    ) -> None:
        """Take a packet's new frames (at least one, consecutive) and its redundant ones (before them).

        `talk_spurt_start`: the sender was silent until now, and the frames between the newest one known and the
        first of these were never sent: they are neither lost nor late, and their slots are comfort noise.
        """
        first = new[0].index
        if self._next is None:
            self._anchor(first, now_ns)
        elif first >= self._next + CAPACITY_FRAMES or self._all_late(new[-1].index, now_ns):
            self._stats.resyncs += 1
            self._anchor(first, now_ns)
        self._note_margin(first, now_ns)
        for frame in old:
            self._stats.frames_recovered += self._hold(frame, now_ns)
        for frame in new:
            self._hold(frame, now_ns)

    def announce_silence(self, first_index: int, now_ns: int) -> None:
        """From frame `first_index` on nothing will be sent until a packet with `talk_spurt_start`.

        Slots from there on are comfort noise and not concealed. Where the announcement is lost, the slots are concealed
        (which fades to comfort noise as well) until the talk spurt starts. May be repeated.
        """

    def _hold(self, frame: Frame, now_ns: int) -> bool:
        """Keep a frame until its slot; True where this index was not known before."""
        assert self._next is not None
        if frame.index < self._next:
            if frame.index in self._concealed:
                del self._concealed[frame.index]  # a second copy is not late again
                self._stats.frames_late += 1
                self._stats.frames_received += 1
            return False
        known = self._held.get(frame.index)
        if known is None:
            self._held[frame.index] = (frame, now_ns)
            self._stats.frames_received += 1
        elif known[0].bits < frame.bits:
            self._held[frame.index] = (frame, known[1])
        return known is None

    def _all_late(self, newest: int, now_ns: int) -> bool:
        """Count packets that are late as a whole, one after another; True where it has been too many."""
        assert self._next is not None
        if newest >= self._next:
            self._late_packets = 0
            return False
        if not self._late_packets:
            self._late_since_ns = now_ns
        self._late_packets += 1
        return self._late_packets >= ALL_LATE_PACKETS and now_ns - self._late_since_ns >= ALL_LATE_NS

    def _anchor(self, index: int, now_ns: int) -> None:
        """Play `index` one playout delay from now, and forget what was held."""
        self._stats.frames_discarded += len(self._held)
        self._held.clear()
        self._concealed.clear()
        self._margins.reset(now_ns)
        self._next, self._start_ns, self._pulled_ns, self._late_packets = (
            index,
            now_ns + self.delay_ns,
            None,
            0,
        )

    def _note_margin(self, first: int, now_ns: int) -> None:
        """How long until the slot of frame `first`, judged from the last pull."""
        if self._pulled_ns is not None and self._next is not None:
            slot_ns = self._pulled_ns + frames_to_ns(first - self._next + 1)
            self._margins.add(slot_ns - now_ns, now_ns)

    # ---- loudspeaker side ------------------------------------------------------------------------
    def pull(self, now_ns: int) -> PlayoutDecision:
        """What fills the next slot (Skip fills none: pull again)."""
        if self._next is None or (now_ns < self._start_ns and not self._played_once):
            return Wait()
        if now_ns < self._start_ns:
            return self._conceal(self._next)
        largest = self._margins.largest
        if largest is not None and abs(largest - self.delay_ns) > FRAME_NS:
            self._drop_surplus(largest, now_ns)
            adjusted = self._adjust(now_ns)
            if adjusted is not None:
                return adjusted
        self._pulled_ns = now_ns
        return self._play_next(now_ns)

    def _play_next(self, now_ns: int) -> PlayoutDecision:
        assert self._next is not None
        index, self._next = self._next, self._next + 1
        held = self._held.pop(index, None)
        if held is None:
            self._concealed[index] = None
            if len(self._concealed) > CONCEALED_KEPT:
                del self._concealed[next(iter(self._concealed))]
            return self._conceal(index)
        frame, arrival_ns = held
        self._played_once, self._run = True, 0
        self._stats.frames_played += 1
        self._stats.buffer.add(now_ns - arrival_ns)
        return Play(frame)

    def _conceal(self, index: int) -> Conceal:
        self._run += 1
        self._stats.frames_concealed += 1
        self._stats.concealment_events += self._run == 1
        self._stats.interruption_count += self._run == INTERRUPTION_FRAMES
        return Conceal(index, self._run)

    def _drop_surplus(self, largest: int, now_ns: int) -> None:
        """Jump forward where even the slot now due is far too late for its packets."""
        assert self._next is not None
        if largest - self.delay_ns < SURPLUS_NS:
            return
        to = self._next + ns_to_frames(largest - self.delay_ns)
        gone = [i for i in self._held if i < to]
        for index in gone:
            del self._held[index]
        self._stats.frames_discarded += len(gone)
        self._stats.resyncs += 1
        self._next = to
        self._margins.reset(now_ns)

    def _adjust(self, now_ns: int) -> PlayoutDecision | None:
        """One frame less or more where the largest margin of a whole window is off by more than one."""
        assert self._next is not None
        largest = self._margins.settled
        if largest is None or abs(largest - self.delay_ns) <= FRAME_NS:
            return None
        self._margins.reset(now_ns)
        if largest < self.delay_ns:
            self._stats.frames_inserted += 1
            self._pulled_ns = now_ns
            return Stretch()
        self._stats.frames_skipped += 1
        held = self._held.pop(self._next, None)
        self._next += 1
        return Skip(held[0]) if held else None
