"""The sender's budget against a path that is simulated in a few lines."""

from __future__ import annotations

from collections.abc import Callable

from voicelink.core.rate import SILENT_NS, TRIAL_EVERY_NS, RateControl, Verdict
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
            self.rate.on_feedback(told, lost, due, sent_bps, PACKET, int(1000 * loss(sent_bps)), self.now_ns)
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
    rate.on_feedback(Feedback(0, 0, 0, 0, 0, 0, 0, 200), 0, 4, 20_000, PACKET, 0, 10 * NS_PER_S)
    assert (rate.budget_bps, rate.verdict) == (40_000, Verdict.CLEAR)
