"""The sender's budget against a path that is simulated in a few lines."""

from __future__ import annotations

from collections.abc import Callable

from voicelink.core.rate import SILENT_NS, TRIAL_EVERY_NS, RateControl, Sent, Verdict
from voicelink.units import NS_PER_MS, NS_PER_S
from voicelink.wire.media import Feedback

STEP_NS = 400 * NS_PER_MS
PACKET = 80


class Pipe:
    """A sender that uses its budget, and a bottleneck with a queue of at most `queue_ms`."""

    def __init__(self, ceiling_bps: int = 40_000, queue_ms: int = 1_000) -> None:
        self.rate = RateControl(5_000, ceiling_bps)
        self.now_ns, self.queue_bits, self.queue_ms, self.before_ms = 0, 0.0, queue_ms, 0
        self.budgets: list[int] = []

    def run(self, seconds: float, kbps: float, loss: Callable[[int], float] = lambda sent_bps: 0.0) -> None:
        for _ in range(int(seconds * NS_PER_S) // STEP_NS):
            self.now_ns += STEP_NS
            sent_bps = 0 if self.rate.holds(self.now_ns) else self.rate.budget_bps
            through = kbps * 1000
            sent, can = sent_bps * STEP_NS / NS_PER_S, through * STEP_NS / NS_PER_S
            gone = sent * loss(sent_bps)
            waiting = self.queue_bits + sent - gone
            out = min(waiting, can)
            self.queue_bits = min(waiting - out, through * self.queue_ms / 1000)
            dropped = waiting - out - self.queue_bits
            queue_ms = int(self.queue_bits / through * 1000)
            trend = int((queue_ms - self.before_ms) / (STEP_NS / NS_PER_S) / 8)
            self.before_ms = queue_ms
            told = Feedback(0, 0, 0, 0, queue_ms, trend, 0, int(out / (STEP_NS / NS_PER_S) / 100))
            due = round(sent / 8 / PACKET)
            lost = round((gone + dropped) / 8 / PACKET)
            self.rate.on_feedback(told, lost, due, Sent(sent_bps), PACKET, int(1000 * loss(sent_bps)), self.now_ns)
            self.budgets.append(self.rate.budget_bps)


def test_a_wide_path_leaves_the_budget_alone() -> None:
    pipe = Pipe()
    pipe.run(20, 64)
    assert set(pipe.budgets) == {40_000}


def test_a_narrow_path_is_followed_within_three_seconds_and_the_queue_drains() -> None:
    pipe = Pipe()
    pipe.run(5, 64)
    pipe.run(3, 10)
    assert pipe.rate.budget_bps <= 11_500  # a step beyond is a probe
    assert pipe.queue_bits / 10_000 < 0.3
    pipe.budgets.clear()
    pipe.run(40, 10)
    used = sorted(pipe.budgets)
    assert used[len(used) // 2] > 7_000  # it does not hide either
    assert used[-1] < 15_000


def test_a_short_queue_that_is_full_is_a_queue() -> None:
    pipe = Pipe(queue_ms=100)
    pipe.run(3, 10)
    assert pipe.rate.budget_bps <= 10_000


def test_a_path_that_becomes_wide_is_used_again() -> None:
    pipe = Pipe()
    pipe.run(30, 8)
    pipe.run(15, 64)
    assert pipe.rate.budget_bps == 40_000


def test_steps_that_failed_become_rarer() -> None:
    pipe = Pipe()
    pipe.run(60, 10)
    falls = sum(b < a for a, b in zip(pipe.budgets[25:], pipe.budgets[26:], strict=False))
    assert 0 < falls < 14


def test_loss_by_chance_lowers_nothing_for_long() -> None:
    pipe = Pipe()
    pipe.run(60, 64, lambda sent_bps: 0.3)
    assert sum(b == 40_000 for b in pipe.budgets) > 0.85 * len(pipe.budgets)
    assert min(pipe.budgets) < 40_000  # a trial there was


def test_loss_that_comes_of_the_rate_is_found_by_trial() -> None:
    pipe = Pipe()
    pipe.run(TRIAL_EVERY_NS / NS_PER_S, 64, lambda sent_bps: max(0.0, 1 - 30_000 / max(sent_bps, 1)))
    assert sum(pipe.budgets[-20:]) < 20 * 36_000  # of 40 000


def test_silence_halves_and_what_was_comes_back() -> None:
    rate = RateControl(5_000, 40_000)
    rate.handle_time(0)
    rate.handle_time(SILENT_NS - 1)
    assert rate.budget_bps == 40_000
    rate.handle_time(SILENT_NS)
    assert rate.budget_bps == 20_000
    for ms in range(0, 5_000, 10):
        rate.handle_time(SILENT_NS + ms * NS_PER_MS)
    assert rate.budget_bps == 5_000
    rate.on_feedback(Feedback(0, 0, 0, 0, 0, 0, 0, 200), 0, 4, Sent(20_000), PACKET, 0, 10 * NS_PER_S)
    assert (rate.budget_bps, rate.verdict) == (40_000, Verdict.CLEAR)


def told(queue_ms: int, trend: int = 0, kbps: float = 10) -> Feedback:
    return Feedback(0, 0, 0, 0, queue_ms, trend, 0, int(kbps * 10))


def long_queue(rate: RateControl, sent: Sent) -> int:
    """For how long nothing is sent after a second in which a long queue is told of, ns."""
    for ms in range(0, 1_000, 100):
        rate.on_feedback(told(500), 0, 8, sent, PACKET, 0, ms * NS_PER_MS)
    return sum(rate.holds(ms * NS_PER_MS) for ms in range(900, 3_000)) * NS_PER_MS


def test_a_long_queue_is_left_alone_for_as_long_as_it_still_is_by_now() -> None:
    stands = long_queue(RateControl(5_000, 40_000), Sent(20_000, 5_000, 500 * NS_PER_MS))
    grown = long_queue(RateControl(5_000, 40_000), Sent(20_000, 9_000, 500 * NS_PER_MS))
    gone = long_queue(RateControl(5_000, 40_000), Sent(20_000, 0, 500 * NS_PER_MS))
    assert 0 == gone < stands < grown <= 1_000 * NS_PER_MS


def test_feedback_of_a_time_in_which_nothing_came_tells_of_no_delay() -> None:
    one, other = RateControl(5_000, 40_000), RateControl(5_000, 40_000)
    for n in range(40):
        one.on_feedback(told(300), 0, 8, Sent(20_000, 10_000, 400 * NS_PER_MS), PACKET, 0, n * STEP_NS)
        other.on_feedback(told(300), 0, 8, Sent(20_000, 10_000, 400 * NS_PER_MS), PACKET, 0, n * STEP_NS)
        other.on_feedback(told(0, kbps=0), 0, 0, Sent(0), PACKET, 0, n * STEP_NS + NS_PER_MS)
        assert one.budget_bps == other.budget_bps
    assert one.budget_bps < 10_000


def test_one_slow_packet_among_fast_ones_is_no_queue_and_many_are() -> None:
    rate = RateControl(5_000, 40_000)
    for n in range(100):
        slow = n % 3 == 0
        rate.on_feedback(told(400 if slow else 5, kbps=20), 0, 3, Sent(20_000), PACKET, 0, n * 100 * NS_PER_MS)
    assert rate.budget_bps == 40_000
    for n in range(100, 130):
        rate.on_feedback(told(400, kbps=20), 0, 3, Sent(20_000, 8_000, 400 * NS_PER_MS), PACKET, 0, n * 100 * NS_PER_MS)
    assert rate.budget_bps < 20_000
