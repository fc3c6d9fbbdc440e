"""What a receiver tells of the path."""

from __future__ import annotations

from itertools import pairwise

from voicelink.core.arrivals import Arrivals
from voicelink.core.delay import DelayEstimator
from voicelink.core.feedback import INTERVAL_NS, LOSSY_INTERVAL_NS, URGENT_NS, PathWatch
from voicelink.core.jitter import JitterBuffer
from voicelink.core.stats import Stats
from voicelink.units import NS_PER_MS, NS_PER_S, frames_to_ns
from voicelink.wire.media import Feedback, MediaPacket

SIZE = 50


class Receiver:
    """Packets of two frames, each with a delay or lost; feedback whenever it is due."""

    def __init__(self) -> None:
        stats = Stats()
        self.arrivals = Arrivals(stats)
        self.watch = PathWatch(self.arrivals, JitterBuffer(DelayEstimator(0.01), stats))
        self.counter = 0
        self.told: list[tuple[int, Feedback]] = []

    def packet(self, delay_ms: float = 20.0, *, lost: bool = False, spurt: bool = False, skip: int = 0) -> None:
        self.counter += 1
        first = 2 * self.counter + skip
        now_ns = NS_PER_S + frames_to_ns(first + 2) + int(delay_ms * NS_PER_MS)
        if not lost:
            packet = MediaPacket(first & 0xFFFF, 8, (b"a", b"b"), spurt=spurt)
            self.arrivals.take(self.counter - 1, frames_to_ns(first), SIZE, now_ns)
            self.watch.packet(packet, first, self.counter - 1, SIZE, now_ns)
        if (told := self.watch.due(now_ns)) is not None:
            self.told.append((now_ns, told))


def test_feedback_comes_at_its_interval_and_counts_what_came() -> None:
    receiver = Receiver()
    for _ in range(430):  # 10 s
        receiver.packet()
    gaps = [b - a for (a, _), (b, _) in pairwise(receiver.told)]
    assert all(INTERVAL_NS <= gap < INTERVAL_NS + 50 * NS_PER_MS for gap in gaps)
    last = receiver.told[-1][1]
    assert last.received == last.expected > 400
    assert (last.burst_half_frames, last.queue_ms, last.trend_8ms_per_s) == (0, 0, 0)
    assert abs(last.rate_100bps - (SIZE + 28) * 8 * 43.07 / 100) < 20


def test_it_comes_more_often_where_it_is_asked_to() -> None:
    receiver = Receiver()
    receiver.watch.interval_ns = LOSSY_INTERVAL_NS
    for _ in range(430):
        receiver.packet()
    assert len(receiver.told) > 38


def test_bursts_are_told_in_frames() -> None:
    receiver = Receiver()
    for i in range(600):
        receiver.packet(lost=i % 20 in (3, 4, 5))
    last = receiver.told[-1][1]
    assert last.burst_half_frames == 12  # three packets of two frames
    assert abs((last.expected - last.received) / last.expected - 0.15) < 0.01


def test_frames_that_were_never_sent_are_no_burst() -> None:
    receiver = Receiver()
    for i in range(100):
        receiver.packet(spurt=i == 50, skip=200 if i >= 50 else 0)
    assert receiver.told[-1][1].burst_half_frames == 0


def test_a_queue_is_told_at_once_and_with_its_trend() -> None:
    receiver = Receiver()
    for _ in range(100):
        receiver.packet()
    before = len(receiver.told)
    for i in range(20):
        receiver.packet(20 + 15 * i)
    news = receiver.told[before:]
    assert len(news) > 3  # in 0.46 s
    assert all(b - a >= URGENT_NS for (a, _), (b, _) in pairwise(news))
    assert news[-1][1].queue_ms > 150
    assert news[-1][1].trend_8ms_per_s > 20


def test_a_sudden_loss_is_told_at_once() -> None:
    receiver = Receiver()
    for _ in range(100):
        receiver.packet()
    before = len(receiver.told)
    for i in range(15):  # 0.35 s
        receiver.packet(lost=i % 3 != 0)
    assert len(receiver.told) - before >= 2
    assert receiver.told[-1][1].expected > receiver.told[-1][1].received
