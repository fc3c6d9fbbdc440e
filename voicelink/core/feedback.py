"""What a receiver sees of the path and tells the sender: loss and its bursts, lateness, a queue building up, the rate.

Transit is arrival less media time; its least value since the last feedback, against the least of the last twenty
seconds, is what a queue on the way adds (as the one-way delay of LEDBAT, RFC 6817). Integers only.
"""

from __future__ import annotations

from typing import Final

from voicelink.core.arrivals import Arrivals
from voicelink.core.jitter import JitterBuffer
from voicelink.core.minimum import RecentMinimum
from voicelink.core.plan import FEEDBACK_NS
from voicelink.units import IP_UDP_HEADER_BYTES, NS_PER_MS, NS_PER_S, frames_to_ns
from voicelink.wire.media import Feedback, MediaPacket

#: Between two feedbacks; where many get lost; and where something has become bad, for so long. Twelve bytes each.
INTERVAL_NS: Final = FEEDBACK_NS
LOSSY_INTERVAL_NS: Final = INTERVAL_NS // 2
URGENT_NS: Final = 80 * NS_PER_MS
URGENT_FOR_NS: Final = 2 * NS_PER_S
#: The fastest packet is looked for in so much time.
BASE_NS: Final = 20 * NS_PER_S
#: A queue, or a share of packets lost at once, that is told at once.
URGENT_QUEUE_NS: Final = 60 * NS_PER_MS
_FALL: Final = 8


class PathWatch:
    """Watches the packets that come; `due` gives what to tell."""

    def __init__(self, arrivals: Arrivals, buffer: JitterBuffer) -> None:
        self._arrivals, self._buffer = arrivals, buffer
        self._bytes = self._count = 0
        self._fastest_ns: int | None = None
        self._before_ns: int | None = None  # the fastest of the interval before
        self._base = RecentMinimum(BASE_NS)  # of the fastest of each interval
        self._told_ns: int | None = None
        self._told = (0, 0)  # received and expected, as told last
        self._burst_x16 = 0  # half frames
        self._lossy = 0  # eighths: how much loss the last feedbacks told of
        self._next_counter = self._next_index = 0
        self._paused = False  # the packet before the next one was a pause
        self._urgent_until_ns = 0
        self.interval_ns = INTERVAL_NS
        """Time between two feedbacks; to be shorter where they get lost."""

    def packet(self, packet: MediaPacket, first: int, counter: int, size_bytes: int, now_ns: int) -> None:
        """A media packet came for the first time; its first new frame is `first`.

        One of a pause leaves when the frame before its index would have been coded, so that it tells of the path's
        delay as others do; frames that were never sent are no gap.
        """
        end = first + len(packet.frames)
        self._bytes += size_bytes + IP_UDP_HEADER_BYTES
        self._count += 1
        transit_ns = now_ns - frames_to_ns(end)
        if self._fastest_ns is None or transit_ns < self._fastest_ns:
            self._fastest_ns = transit_ns
        if counter >= self._next_counter:
            if counter > self._next_counter and not (packet.spurt or self._paused) and self._next_index:
                self._gap(first - self._next_index - (0 if packet.pause is None else packet.pause.since))
            self._paused = packet.pause is not None
            self._next_counter, self._next_index = counter + 1, end

    def due(self, now_ns: int) -> Feedback | None:
        """What to tell now; None where it is too early."""
        told_ns = self._told_ns
        if told_ns is None:
            self._told_ns = now_ns
            return None
        if now_ns - told_ns < URGENT_NS:
            return None
        if self._is_urgent():
            self._urgent_until_ns = now_ns + URGENT_FOR_NS
        if now_ns >= self._urgent_until_ns and now_ns - told_ns < self.interval_ns:
            return None
        return self.tell(now_ns)

    def overdue(self, now_ns: int) -> Feedback | None:
        """What to tell where `due` has not been asked for long."""
        if self._told_ns is not None and now_ns - self._told_ns < 2 * INTERVAL_NS:
            return None
        return self.tell(now_ns)

    def tell(self, now_ns: int) -> Feedback:
        """What there is to tell, early or not."""
        elapsed_ns = max(now_ns - (self._told_ns or 0), 1)
        fastest_ns, queue_ns, trend = self._fastest_ns, 0, 0
        if fastest_ns is not None:
            queue_ns = fastest_ns - self._base.add(fastest_ns, now_ns)
            if self._before_ns is not None:
                trend = (fastest_ns - self._before_ns) * NS_PER_S // elapsed_ns // (8 * NS_PER_MS)
            self._before_ns = fastest_ns
        received, expected = self._arrivals.received, self._arrivals.expected
        lost_now = self._lost_eighths(received, expected)
        self._lossy += (lost_now - self._lossy + 1) // 2
        feedback = Feedback(
            received,
            expected,
            (self._burst_x16 + 8) >> 4,
            int(self._buffer.estimator.late_rate * 1000),
            queue_ns // NS_PER_MS,
            trend,
            (self._buffer.level_ns or 0) // (4 * NS_PER_MS),
            self._bytes * 80_000_000 // elapsed_ns,
        )
        self._told, self._told_ns = (received, expected), now_ns
        self._bytes = self._count = 0
        self._fastest_ns = None
        return feedback

    # ---- helpers ---------------------------------------------------------------------------------
    def _gap(self, frames: int) -> None:
        """So many frames are missing in a row."""
        if 0 < frames < 256:
            half_x16 = 2 * frames << 4
            self._burst_x16 += (half_x16 - self._burst_x16) // _FALL if self._burst_x16 else half_x16

    def _lost_eighths(self, received: int, expected: int) -> int:
        due = expected - self._told[1]
        return 8 * max(0, due - (received - self._told[0])) // due if due > 2 else 0

    def _is_urgent(self) -> bool:
        """A queue has just built up, or much more is lost than before."""
        fastest_ns = self._fastest_ns
        if fastest_ns is not None and self._count > 1:
            base_ns = self._base.value if self._base.value is not None else fastest_ns
            before_ns = self._before_ns if self._before_ns is not None else base_ns
            if fastest_ns - max(base_ns, before_ns) > URGENT_QUEUE_NS:
                return True
        return self._lost_eighths(self._arrivals.received, self._arrivals.expected) > self._lossy + 1
