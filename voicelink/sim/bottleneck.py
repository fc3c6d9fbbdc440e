"""The slowest hop of a path: it passes packets at a rate, and drops what does not fit into its queue (drop-tail)."""

from __future__ import annotations

from collections import deque

from voicelink.settings import LinkSettings
from voicelink.units import IP_UDP_HEADER_BYTES, NS_PER_MS, NS_PER_S


class Bottleneck:
    """One packet after another at `rate_kbps`, IPv4 and UDP headers counted.

    A packet that would wait more than `queue_ms` before its turn is dropped (tc tbf's `latency`); with `queue_packets`,
    one that finds so many waiting. A packet that finds the hop idle always passes.
    """

    def __init__(self, settings: LinkSettings) -> None:
        self._free_ns = 0
        self._turns: deque[int] = deque()  # when the packets in the queue begin to be sent
        self.configure(settings)

    def configure(self, settings: LinkSettings) -> None:
        """Take new limits; what is in the queue keeps its time."""
        self._rate_bps = round(settings.rate_kbps * 1000)
        self._queue_ns = round(settings.queue_ms * NS_PER_MS)
        self._queue_packets = settings.queue_packets

    def passed_ns(self, size_bytes: int, now_ns: int) -> int | None:
        """When a packet of `size_bytes` (UDP payload) that comes now has passed, or None where it is dropped."""
        if not self._rate_bps:
            return now_ns
        turn_ns = max(now_ns, self._free_ns)
        if self._queue_packets:
            while self._turns and self._turns[0] <= now_ns:
                self._turns.popleft()
            if len(self._turns) >= self._queue_packets:
                return None
            if turn_ns > now_ns:
                self._turns.append(turn_ns)
        elif turn_ns - now_ns > self._queue_ns:
            return None
        self._free_ns = turn_ns + (size_bytes + IP_UDP_HEADER_BYTES) * 8 * NS_PER_S // self._rate_bps
        return self._free_ns
