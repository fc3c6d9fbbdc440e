"""How much may be sent: a budget on the wire that follows the path, from the receiver's feedback.

* A queue builds up (the fastest packets have become slower than the path can be, by more than a packet takes): the
  budget falls at once to a share of what still comes through, and again while that does not help. It stays for a while.
* Loss without a queue is mostly chance: redundancy is the answer, not a lower rate. A path that drops what is too much
  without ever queueing it shows when a lower rate loses less; so a high loss is put to that trial now and then.
* A long queue is left alone (nothing is sent) for as long as it still is by now: feedback may be old, since it waits in
  a queue of its own, so what was sent after the packet that it tells of counts as well.
* Delays that vary by themselves are no queue: the fastest of some packets must be slow, for the longer the more they
  vary.
* All is well: the budget rises in steps (probing). A step that failed makes the next one wait longer and be smaller.
* No feedback: the budget halves, again and again, until some comes.

Delay-based control with a hold and careful steps is Google Congestion Control's idea (draft-ietf-rmcat-gcc-02), halving
without feedback RFC 8083's. Integers only.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import Enum
from typing import Final

from voicelink.units import NS_PER_MS, NS_PER_S
from voicelink.wire.media import Feedback

#: A queue of more than this, and the time that one packet takes, is one.
QUEUE_MS: Final = 30
#: A quarter of that time will do where packets are lost as well, so many thousandths.
QUEUE_LOSS: Final = 80
#: The threshold grows with how much the fastest packets' delay varies by itself; a change counts for no more than this.
MOST_SPREAD_MS: Final = 100
#: Tenths of what was sent; where less comes through, it is not a path that stood still for a moment, and so long. Where
#: delays vary by themselves, so many times as long as they do on average.
CHOKED, STALL_NS = 8, 200 * NS_PER_MS
PATIENCE: Final = 8
#: What comes through is counted over so long, and over so many packets at least.
CAME_NS: Final = 400 * NS_PER_MS
CAME_PACKETS: Final = 4
#: A queue is what the fastest of so many packets met.
LEAST_PACKETS: Final = 8
#: Share of what comes through that is sent after a queue was seen, percent; less while a long one drains, or stands.
BACK_OFF, DRAIN, STANDS = 85, 55, 70
LONG_QUEUE_MS: Final = 150
#: A long queue is first left alone for as long as it is long, and no longer than this: nothing is sent.
LONGEST_HELD_MS: Final = 1_000
#: After a decrease nothing rises for so long, and nothing falls again for so long.
HOLD_NS: Final = 1_000 * NS_PER_MS
AGAIN_NS: Final = 350 * NS_PER_MS
#: Between two steps up, at first and at most; a step, percent, and one near a rate that was too much.
STEP_NS, LONGEST_STEP_NS = 500 * NS_PER_MS, 3 * NS_PER_S
STEP, MIDDLE_STEP, SMALL_STEP = 130, 112, 106
#: A rate that was too much is passed here, and left behind there (percent of it).
PAST, FAR = 105, 135
#: So close to a rate that was too much (percent) a step waits for this long after the last time that it was.
CLOSE, CLOSE_NS = 93, 6 * NS_PER_S
NEAR_STEP_NS: Final = 2 * NS_PER_S
#: Packets have become faster by so much (8 ms a second) though nothing was held back: the path has become wider.
WIDER: Final = -12
#: Feedback is missing when none came for so long; halving goes on at this pace.
SILENT_NS: Final = 1_200 * NS_PER_MS
#: Loss in thousandths that is put to a trial: a lower rate (percent) for so long; and the next one so much later.
TRIAL_LOSS: Final = 100
TRIAL, TRIAL_NS = 70, 1_600 * NS_PER_MS
TRIAL_EVERY_NS, LONGEST_TRIAL_EVERY_NS = 20 * NS_PER_S, 160 * NS_PER_S


class Verdict(Enum):
    """What the last feedback said of the path."""

    CLEAR = "clear"
    QUEUE = "queue"
    DRAINING = "draining"


@dataclass(frozen=True, slots=True)
class Sent:
    """What the sender sent."""

    bps: int
    """Since the feedback before, IP and UDP headers counted."""
    since_bits: int = 0
    """Since the newest packet that this feedback tells of."""
    since_ns: int = 0
    """How long ago that was sent."""


class RateControl:
    """`budget_bps`: what may be sent on the wire now, within floor and ceiling. It starts at the ceiling."""

    def __init__(self, floor_bps: int, ceiling_bps: int) -> None:
        self._floor_bps, self._ceiling_bps = floor_bps, max(floor_bps, ceiling_bps)
        self.budget_bps = self._ceiling_bps
        self.verdict = Verdict.CLEAR
        self.waits = False
        """Whether packets wait, if shortly: what is lost may be what a short queue dropped, and nothing should rise."""
        self._too_much_bps = 0  # a rate at which a queue was seen
        self._fell_ns: int | None = None
        self._rose_ns = 0
        self._step_ns = STEP_NS
        self._drains = False
        self._queue_ms = self._spread_x16 = 0
        self._over_ns: int | None = None
        self._held_until_ns = 0
        self._came_bps = 0
        self._came: deque[tuple[int, int]] = deque()  # time, bits
        self._fastest: deque[tuple[int, int]] = deque()  # packets, queue in ms
        self._heard_ns: int | None = None
        self._halved_ns = 0
        self._before_silence_bps = 0
        self._trial_ns: int | None = None  # when the one in progress began
        self._trial_loss = self._trial_lost = self._trial_due = 0
        self._trial_budget_bps = 0
        self._next_trial_ns: int | None = None
        self._trial_every_ns = TRIAL_EVERY_NS

    @property
    def is_limited(self) -> bool:
        """Whether the path holds the budget down."""
        return self.budget_bps < self._ceiling_bps

    def holds(self, now_ns: int) -> bool:
        """Whether nothing is to be sent at all, for a moment, so that a long queue drains."""
        return now_ns < self._held_until_ns

    def on_feedback(
        self, feedback: Feedback, lost: int, due: int, sent: Sent, packet_bytes: int, loss: int, now_ns: int
    ) -> None:
        """`lost` of `due` packets are missing since the feedback before, while `sent` was, in packets of about
        `packet_bytes` (with headers); `loss` is the path's over a longer time, thousandths."""
        elapsed_ns = now_ns - (self._heard_ns or 0)
        self.hear(now_ns)
        sent_bps = sent.bps
        came_bps = self._count(feedback.rate_100bps * 100, elapsed_ns, packet_bytes)
        if not feedback.rate_100bps:
            return  # nothing came, so it tells of no delay
        packet_ms = packet_bytes * 8_000 // max(came_bps, self._floor_bps // 2)
        losing = lost > 0 and 1000 * lost >= (QUEUE_LOSS + 2 * loss) * due
        choked = 10 * self._came_bps < CHOKED * sent_bps
        least_ms = self._least(feedback.queue_ms, due - lost)
        self.verdict = self._judge(feedback, least_ms, packet_ms, losing, choked, now_ns)
        stands_ms = self._stands_ms(feedback.queue_ms, sent, came_bps, lost > 0)
        if self.verdict is Verdict.QUEUE and stands_ms <= QUEUE_MS + packet_ms // 4:
            self.verdict = Verdict.DRAINING
        if self.verdict is not Verdict.CLEAR:
            self._hold(stands_ms - packet_ms, choked, now_ns)
        if self.verdict is Verdict.QUEUE:
            self._stop_trial()
            self._fall(came_bps, sent_bps, feedback.queue_ms - packet_ms, now_ns)
        elif self._trial_ns is not None:
            self._go_on_with_trial(lost, due, now_ns)
        elif self.verdict is Verdict.CLEAR:
            if self._drains:
                self._drains = False
                self._set(max(self.budget_bps, self._too_much_bps * BACK_OFF // 100))
            if self._is_wider(feedback, now_ns):
                self._too_much_bps, self._step_ns = 0, STEP_NS
            if not self._begin_trial(loss, sent_bps, now_ns) and not self.waits:
                self._rise(now_ns)

    def hear(self, now_ns: int) -> None:
        """Some feedback came."""
        if self._before_silence_bps:
            self.budget_bps, self._before_silence_bps = max(self.budget_bps, self._before_silence_bps), 0
            self._rose_ns = now_ns
        self._heard_ns = now_ns

    def handle_time(self, now_ns: int) -> None:
        """Notice that no feedback comes; to be called now and then while something is sent."""
        if self._heard_ns is None:
            self._heard_ns = now_ns
        if now_ns - self._heard_ns < SILENT_NS or now_ns - self._halved_ns < SILENT_NS // 2:
            return
        self._stop_trial()
        self._before_silence_bps = self._before_silence_bps or self.budget_bps
        self._halved_ns = now_ns
        self._set(self.budget_bps // 2)

    # ---- helpers ---------------------------------------------------------------------------------
    def _set(self, budget_bps: int) -> None:
        self.budget_bps = min(max(budget_bps, self._floor_bps), self._ceiling_bps)

    def _count(self, now_bps: int, elapsed_ns: int, packet_bytes: int) -> int:
        """What comes through, rather too little than too much; what few packets tell of that is not believed."""
        came = self._came
        came.append((elapsed_ns, now_bps * elapsed_ns))
        total_ns = sum(ns for ns, _ in came)
        while len(came) > 1 and total_ns - came[0][0] >= CAME_NS:
            total_ns -= came.popleft()[0]
        self._came_bps = sum(bits for _, bits in came) // max(total_ns, 1)
        if now_bps * elapsed_ns < CAME_PACKETS * packet_bytes * 8 * NS_PER_S:
            return self._came_bps
        return min(now_bps, self._came_bps)

    def _stands_ms(self, queue_ms: int, sent: Sent, came_bps: int, full: bool) -> int:
        """How long the queue is by now, if what came through still does: feedback tells of `sent.since_ns` ago.

        No more than twice what was told, since what does not fit a queue is dropped; where it is full, no more than it.
        """
        more_ms = (sent.since_bits * 1000 // max(came_bps, self._floor_bps // 2)) - sent.since_ns // NS_PER_MS
        return min(queue_ms + more_ms, queue_ms if full else 2 * queue_ms)

    def _hold(self, stands_ms: int, choked: bool, now_ns: int) -> None:
        """Leave a long queue alone until it is short. What feedback tells later of packets before that is no reason."""
        lasts = self._over_ns is not None and now_ns - self._over_ns >= 2 * STALL_NS
        long_ms = LONG_QUEUE_MS + 4 * (self._spread_x16 >> 4)
        if stands_ms > long_ms and now_ns >= self._held_until_ns and (choked or lasts):
            self._held_until_ns = now_ns + min(stands_ms - LONG_QUEUE_MS // 2, LONGEST_HELD_MS) * NS_PER_MS

    def _least(self, queue_ms: int, packets: int) -> int:
        """The queue as the fastest of the last LEAST_PACKETS tells it: one or two may be slow by chance."""
        fastest = self._fastest
        fastest.append((packets, queue_ms))
        total = sum(count for count, _ in fastest)
        while len(fastest) > 1 and total - fastest[0][0] >= LEAST_PACKETS:
            total -= fastest.popleft()[0]
        return min(ms for _, ms in fastest)

    def _judge(
        self, feedback: Feedback, least_ms: int, packet_ms: int, losing: bool, choked: bool, now_ns: int
    ) -> Verdict:
        """A short queue that is full never looks long; it shows in loss. A path that only stood still for a moment (as
        Wi-Fi does) lets all through then."""
        change_ms = min(abs(feedback.queue_ms - self._queue_ms), MOST_SPREAD_MS)
        self._queue_ms = feedback.queue_ms
        if not choked:
            self._spread_x16 += change_ms - (self._spread_x16 + 8 >> 4)
        spread_ms = 2 * (self._spread_x16 >> 4)
        self.waits = least_ms > QUEUE_MS + packet_ms // 4 + spread_ms
        if least_ms <= QUEUE_MS + packet_ms // (4 if losing else 1) + spread_ms:
            self._over_ns = None
            return Verdict.CLEAR
        if self._over_ns is None:
            self._over_ns = now_ns
        patience_ns = PATIENCE * (self._spread_x16 >> 4) * NS_PER_MS + (0 if losing or choked else STALL_NS)
        if now_ns - self._over_ns < patience_ns:
            return Verdict.CLEAR
        full = losing and choked  # such a queue goes up and down a little, and drains no more
        return Verdict.DRAINING if feedback.trend_8ms_per_s < -1 and not full else Verdict.QUEUE

    def _is_wider(self, feedback: Feedback, now_ns: int) -> bool:
        wider = feedback.trend_8ms_per_s <= WIDER and not feedback.queue_ms
        return wider and self._fell_ns is not None and now_ns - self._fell_ns > HOLD_NS

    def _fall(self, came_bps: int, sent_bps: int, queue_ms: int, now_ns: int) -> None:
        """Send less than comes through; still less where that was done already and the queue stands all the same."""
        again = self._fell_ns is not None and now_ns - self._fell_ns < HOLD_NS
        if self._fell_ns is not None and now_ns - self._fell_ns < AGAIN_NS:
            return
        if self._rose_ns and now_ns - self._rose_ns < 2 * HOLD_NS:  # it was our own step
            self._step_ns = min(2 * self._step_ns, LONGEST_STEP_NS)
        least_bps = min(came_bps, sent_bps) if sent_bps else came_bps
        self._drains = long = queue_ms > LONG_QUEUE_MS
        wanted_bps = min(least_bps * (DRAIN if long else BACK_OFF), self.budget_bps * (STANDS if again else 95)) // 100
        self._too_much_bps = max(min(self._came_bps, max(self.budget_bps, sent_bps)), wanted_bps)
        self._fell_ns, self._rose_ns = now_ns, 0
        self._set(wanted_bps)

    def _rise(self, now_ns: int) -> None:
        if not self.is_limited:
            self._too_much_bps = 0
            return
        if self._fell_ns is not None and now_ns - self._fell_ns < HOLD_NS:
            return
        near = self._too_much_bps * 80 < self.budget_bps * 100 < self._too_much_bps * PAST
        wait_ns = max(self._step_ns, NEAR_STEP_NS) if near else self._step_ns
        if now_ns - (self._rose_ns or self._fell_ns or 0) < wait_ns:
            return
        close = near and self.budget_bps * 106 > self._too_much_bps * CLOSE
        if close and self._fell_ns is not None and now_ns - self._fell_ns < CLOSE_NS:
            return
        if self._rose_ns and not near:  # the last step did no harm, so the next need not wait as long
            self._step_ns = max(STEP_NS, self._step_ns // 2)
        self._rose_ns = now_ns
        past = self.budget_bps * 100 < self._too_much_bps * FAR
        self._set(self.budget_bps * (SMALL_STEP if near else MIDDLE_STEP if past else STEP) // 100)

    def _begin_trial(self, loss: int, sent_bps: int, now_ns: int) -> bool:
        """Where much is lost, see whether a lower rate loses less."""
        if loss < TRIAL_LOSS:
            return False
        if self._next_trial_ns is None:
            self._next_trial_ns = now_ns + TRIAL_EVERY_NS // 4
        if now_ns < self._next_trial_ns:
            return False
        self._trial_ns, self._trial_budget_bps = now_ns, self.budget_bps
        self._trial_loss, self._trial_lost, self._trial_due = loss, 0, 0
        self._set(min(self.budget_bps, sent_bps or self.budget_bps) * TRIAL // 100)
        return True

    def _go_on_with_trial(self, lost: int, due: int, now_ns: int) -> None:
        assert self._trial_ns is not None
        if now_ns - self._trial_ns > TRIAL_NS // 4:  # before, it tells of what was sent before
            self._trial_lost += lost
            self._trial_due += due
        if now_ns - self._trial_ns < TRIAL_NS:
            return
        if self._trial_due and 3000 * self._trial_lost < self._trial_loss * self._trial_due:
            self._fell_ns, self._rose_ns, self._trial_ns = now_ns, 0, None  # so it was the rate: it stays down
            self._too_much_bps = self._trial_budget_bps
            self._next_trial_ns = now_ns + TRIAL_EVERY_NS // 4
            return
        self._trial_every_ns = min(2 * self._trial_every_ns, LONGEST_TRIAL_EVERY_NS)
        self._stop_trial()
        self._next_trial_ns = now_ns + self._trial_every_ns

    def _stop_trial(self) -> None:
        if self._trial_ns is not None:
            self._set(max(self.budget_bps, self._trial_budget_bps))
            self._trial_ns = None
