from __future__ import annotations

from voicelink.settings import LinkSettings
from voicelink.sim.link import Link
from voicelink.units import NS_PER_MS

STEP_NS = 5 * NS_PER_MS


def departures(settings: LinkSettings, count: int = 500) -> list[int | None]:
    link = Link(settings)
    return [next((due for due, _ in link.carry(bytes(40), i * STEP_NS)), None) for i in range(count)]


def test_delay_alone_is_exact() -> None:
    assert departures(LinkSettings(delay_ms=20), 5) == [i * STEP_NS + 20 * NS_PER_MS for i in range(5)]


def test_jitter_keeps_the_order_unless_told_otherwise() -> None:
    held = [d for d in departures(LinkSettings(jitter_ms=40, seed=3)) if d is not None]
    assert held == sorted(held)
    free = [d for d in departures(LinkSettings(jitter_ms=40, seed=3, reorder=True)) if d is not None]
    assert free != sorted(free)
    extra = [d - i * STEP_NS for i, d in enumerate(free)]
    assert min(extra) >= 0
    assert max(extra) <= 40 * NS_PER_MS
    assert max(extra) > 35 * NS_PER_MS


def test_loss_does_not_move_the_jitter_of_other_packets() -> None:
    clean = departures(LinkSettings(jitter_ms=40, seed=3, reorder=True))
    lossy = departures(LinkSettings(jitter_ms=40, seed=3, reorder=True, loss=0.2, burst=2))
    assert 50 < lossy.count(None) < 150
    assert all(x == y for x, y in zip(lossy, clean, strict=True) if x is not None)


def test_counts() -> None:
    link = Link(LinkSettings(loss=0.5, burst=2))
    came = [link.carry(bytes(40), i) for i in range(100)]
    assert (link.counts.sent, link.counts.lost) == (100, came.count([]))
