"""What came in and what did not: lost, duplicated and reordered packets, and jitter."""

from __future__ import annotations

from typing import Final

from voicelink.core.stats import Stats

#: Packets further back than this are dropped as duplicates (the bitmap's length, as a replay window's).
WINDOW: Final = 1024
#: A counter so far ahead is taken only when the next one follows it (RFC 3550 appendix A.1, MAX_DROPOUT).
MAX_JUMP: Final = 3000


class Arrivals:
    """Books every media packet by its counter. Loss is expected less received (RFC 3550 appendix A.3)."""

    def __init__(self, stats: Stats) -> None:
        self._stats = stats
        self._base = 0  # a peer counts from 0, so packets lost before the first one count as well
        self._highest = -1
        self._seen = 0  # bit i: counter highest - i has come
        self._suspect = -1
        self._transit_ns: int | None = None
        self._jitter_x16_ns = 0

    @property
    def received(self) -> int:
        """Different packets that came."""
        return self._stats.packets_received

    @property
    def expected(self) -> int:
        """Packets that should have come, judged by the highest counter."""
        return self._highest - self._base + 1

    def take(self, counter: int, media_ns: int | None, size_bytes: int, now_ns: int) -> bool:
        """Book a packet whose first new frame is at `media_ns`, None for a pause; False where it is to be dropped."""
        if counter > self._highest + MAX_JUMP:
            if counter != self._suspect:
                self._suspect = counter + 1
                self._stats.packets_unexpected += 1
                return False
            self._base += counter - self._highest - 1
        stats = self._stats
        if not self._first_time(counter):
            stats.packets_duplicated += 1
            return False
        stats.packets_received += 1
        stats.bytes_received += size_bytes
        lost = self._highest - self._base + 1 - stats.packets_received
        stats.packets_lost = lost if lost > 0 else 0
        if media_ns is not None:
            self._update_jitter(media_ns, now_ns)
        return True

    def _first_time(self, counter: int) -> bool:
        ahead = counter - self._highest
        if ahead > 0:
            self._seen = ((self._seen << ahead) | 1) & ((1 << WINDOW) - 1)
            self._highest = counter
            return True
        if -ahead >= WINDOW or self._seen >> -ahead & 1:
            return False
        self._seen |= 1 << -ahead
        self._stats.packets_reordered += 1
        return True

    def _update_jitter(self, media_ns: int, now_ns: int) -> None:
        """RFC 3550 appendix A.8: J += (|D| - J) / 16, in integers."""
        transit = now_ns - media_ns
        if self._transit_ns is not None:
            change = abs(transit - self._transit_ns)
            self._jitter_x16_ns += change - ((self._jitter_x16_ns + 8) >> 4)
            self._stats.jitter_ns = self._jitter_x16_ns >> 4
        self._transit_ns = transit
