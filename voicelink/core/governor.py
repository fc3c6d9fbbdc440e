"""Ties the sender's choices together: feedback in, the plan of the next packets out."""

from __future__ import annotations

from collections import deque
from typing import Final

from voicelink.core.events import Agreed
from voicelink.core.feedback import INTERVAL_NS, LOSSY_INTERVAL_NS
from voicelink.core.plan import Plan, feedback_bps, fixed_plan
from voicelink.core.rate import RateControl, Sent, Verdict
from voicelink.core.redundancy import MILLION, Limits, Path, choose, leanest
from voicelink.core.stats import Stats
from voicelink.settings import SessionSettings
from voicelink.units import NS_PER_MS, NS_PER_S
from voicelink.wire.media import Feedback

#: Loss is learned in so long, and forgotten in so long: bursts are rare, and more than what they lose on average.
LEARN_NS: Final = 8 * NS_PER_S
FORGET_NS: Final = 16 * NS_PER_S
#: Steps in which loss (millionths) and bursts (half frames) count for a plan, so that it does not change all the time.
_LOSSES: Final = (0, 10_000, 20_000, 35_000, 50_000, 75_000, 100_000, 150_000, 200_000, 250_000, 300_000, 400_000)
_BURSTS: Final = (0, 8, 12, 16, 24, 32, 48, 64, 96)
#: What was sent is remembered at such times, the last so many.
MARK_NS: Final = 50 * NS_PER_MS
MOST_MARKS: Final = 64
#: So long after the talker was silent feedback is of no use for the rate: little was sent in the time that it tells of.
PAUSE_NS: Final = 2 * INTERVAL_NS
#: Budgets count in steps of so many bit/s.
_BUDGET_STEP: Final = 200
#: Under this budget reports come more rarely.
_THRIFTY_BPS: Final = 9_000
#: From this loss on (millionths) our own feedback to the other end comes more often.
LOSSY: Final = 90_000
#: Bursts longer than chance makes them, percent.
_BURSTY: Final = 140


class Governor:
    """`plan` is what to send now; it follows `on_feedback`."""

    def __init__(self, settings: SessionSettings, agreed: Agreed, stats: Stats) -> None:
        self._stats = stats
        self._limits = Limits(agreed.bits_min, agreed.bits_max, agreed.frames_per_packet, agreed.frames_max)
        asked = fixed_plan(settings, agreed)
        # Without a limit: more than two whole copies of all take.
        ceiling_bps = round(settings.wire_kbps * 1000) or 3 * asked.wire_bps
        self._rate = RateControl(leanest(self._limits).wire_bps + feedback_bps(INTERVAL_NS), ceiling_bps)
        self._asked_repeats = asked.repeats
        self._path = Path()
        self._lost_x: int = 0  # millionths
        self._known_ns = 1
        self._feedback: tuple[int, int] | None = None
        self._feedback_ns = 0
        self._paused_ns: int | None = None
        self._sent_bytes = 0
        self._marks: deque[tuple[int, int, int]] = deque([(0, 0, 0)], MOST_MARKS)  # packets, bytes sent, when
        self.plan = self._planned()

    @property
    def budget_bps(self) -> int:
        """What may be sent on the wire."""
        return self._rate.budget_bps

    @property
    def is_thrifty(self) -> bool:
        """Whether the path is so narrow that reports count."""
        return self._rate.budget_bps < _THRIFTY_BPS

    @property
    def loss_ppm(self) -> int:
        """Share of our packets that is lost on the way, of the last ones, millionths."""
        return self._lost_x

    @property
    def feedback_interval_ns(self) -> int:
        """Time between two feedbacks of ours."""
        return LOSSY_INTERVAL_NS if self._path.loss >= LOSSY else INTERVAL_NS

    def on_feedback(self, feedback: Feedback, now_ns: int) -> bool:
        """Take the other end's feedback; whether the plan is another now."""
        before, self._feedback = self._feedback, (feedback.received, feedback.expected)
        elapsed_ns, sent = now_ns - self._feedback_ns, self._stats.wire_bytes_sent
        if before is not None:
            due = (feedback.expected - before[1]) & 0xFFFF
            if due > 0x7FFF:  # an older one, overtaken
                self._feedback = before
                return False
            lost = min(due, max(0, due - ((feedback.received - before[0]) & 0xFFFF)))
            sent_bps = (sent - self._sent_bytes) * 8 * NS_PER_S // elapsed_ns if elapsed_ns else 0
            told = self._sent_since(feedback.expected, sent_bps, now_ns)
            if self._paused_ns is not None and now_ns - self._paused_ns < PAUSE_NS:
                self._rate.hear(now_ns)
            else:
                loss = self._lost_x // 1000
                self._rate.on_feedback(feedback, lost, due, told, self.plan.packet_bytes, loss, now_ns)
            if self._rate.verdict is Verdict.CLEAR and not self._rate.waits:
                self._learn(lost, due, feedback.burst_half_frames, elapsed_ns)
        self._feedback_ns, self._sent_bytes = now_ns, sent
        return self._plan_again()

    def pause(self, now_ns: int) -> None:
        """Nothing is said now: feedback that may tell of this time does not show what would come through."""
        self._paused_ns = now_ns

    def holds(self, now_ns: int) -> bool:
        """Whether packets are to be left out, for a moment, so that a long queue drains."""
        return self._rate.holds(now_ns)

    def handle_time(self, now_ns: int) -> bool:
        """To be called with every packet; whether the plan is another now."""
        before_bps = self._rate.budget_bps
        if now_ns - self._marks[-1][2] >= MARK_NS:
            self._marks.append((self._stats.packets_sent, self._stats.wire_bytes_sent, now_ns))
        self._rate.handle_time(now_ns)
        return self._rate.budget_bps != before_bps and self._plan_again()

    # ---- helpers ---------------------------------------------------------------------------------
    def _learn(self, lost: int, due: int, burst_half_frames: int, elapsed_ns: int) -> None:
        """Follow loss and bursts, and take another step of either where it is clearly another.

        What a queue drops is not the path's loss: less is to be sent, not more of it.
        """
        if not due:
            return
        change = lost * MILLION // due - self._lost_x
        self._known_ns = min(self._known_ns + elapsed_ns, FORGET_NS)
        memory_ns = min(self._known_ns, LEARN_NS) if change > 0 else self._known_ns
        self._lost_x += change * min(elapsed_ns, memory_ns) // memory_ns
        loss, burst = self._path.loss, self._path.burst_half_frames
        if not loss * 3 // 4 - 4_000 <= self._lost_x <= loss * 5 // 4 + 4_000:
            loss = _nearest(_LOSSES, self._lost_x)
        chance = 2 * self.plan.frames * MILLION // max(MILLION - self._lost_x, MILLION // 10)
        seen = burst_half_frames if burst_half_frames * 100 > chance * _BURSTY else 0
        if not burst * 3 // 4 <= seen <= burst * 5 // 4:
            burst = _nearest(_BURSTS, seen)
        self._path = Path(loss, burst if loss else 0)

    def _sent_since(self, expected: int, sent_bps: int, now_ns: int) -> Sent:
        """What was sent after the packet before `expected` (its 16 low bits), to about MARK_NS."""
        packets = self._stats.packets_sent
        counter = packets - ((packets - expected) & 0xFFFF)
        since = next((mark for mark in reversed(self._marks) if mark[0] <= counter), self._marks[0])
        return Sent(sent_bps, (self._stats.wire_bytes_sent - since[1]) * 8, now_ns - since[2])

    def _plan_again(self) -> bool:
        plan = self._planned()
        changed, self.plan = plan != self.plan, plan
        return changed

    def _planned(self) -> Plan:
        budget_bps = self._rate.budget_bps - feedback_bps(self.feedback_interval_ns)
        plan = choose(budget_bps // _BUDGET_STEP * _BUDGET_STEP, self._path, self._limits)
        if self._asked_repeats and not plan.repeats:  # asked for in any case, where there is room
            fuller = Plan(plan.bits, plan.frames, self._asked_repeats)
            return fuller if fuller.wire_bps <= budget_bps else plan
        return plan


def _nearest(steps: tuple[int, ...], value: int) -> int:
    return min(steps, key=lambda step: abs(step - value))
