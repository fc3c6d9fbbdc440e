"""The sliding minimum is that of the window, whatever comes in."""

import random

from voicelink.core.minimum import RecentMinimum


def test_it_is_the_least_of_the_window() -> None:
    draw = random.Random(1)
    minimum, seen, now_ns = RecentMinimum(100), [], 0
    assert minimum.value is None
    for _ in range(3_000):
        now_ns += draw.randrange(30)
        seen.append((now_ns, draw.randrange(1_000)))
        least = min(value for at_ns, value in seen[-200:] if at_ns >= now_ns - 100)
        assert minimum.add(seen[-1][1], now_ns) == minimum.value == least
    minimum.clear()
    assert minimum.value is None
    assert minimum.add(7, now_ns) == 7
