"""Token buckets: so many a second, and a burst after a rest. In integers, by the clock that is given."""

from __future__ import annotations

from typing import Final

from voicelink.settings import Address
from voicelink.units import NS_PER_S

#: Sources whose bucket is remembered; beyond that the oldest is forgotten.
MAX_SOURCES: Final = 10_000


class TokenBucket:
    """At most `rate` a second in the long run, and `burst` at once."""

    __slots__ = ("_full_ns", "_stamp_ns", "_step_ns")

    def __init__(self, rate: int, burst: int) -> None:
        self._step_ns = NS_PER_S // rate
        self._full_ns = self._step_ns * burst
        self._stamp_ns: int | None = None  # when it would be empty, as in the generic cell rate algorithm

    def take(self, now_ns: int) -> bool:
        """Take a token; False where there is none."""
        stamp_ns = now_ns - self._full_ns
        if self._stamp_ns is not None and self._stamp_ns > stamp_ns:
            stamp_ns = self._stamp_ns
        if stamp_ns + self._step_ns > now_ns:
            return False
        self._stamp_ns = stamp_ns + self._step_ns
        return True


class SourceBuckets:
    """A bucket for each source: an IPv4 address, or the /64 network of an IPv6 one (what one customer has)."""

    def __init__(self, rate: int, burst: int) -> None:
        self._rate, self._burst = rate, burst
        self._buckets: dict[str, TokenBucket] = {}

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, source: Address, now_ns: int) -> bool:
        """Take a token of `source`; False where there is none."""
        key = network_of(source)
        bucket = self._buckets.get(key)
        if bucket is None:
            if len(self._buckets) >= MAX_SOURCES:
                del self._buckets[next(iter(self._buckets))]
            bucket = self._buckets[key] = TokenBucket(self._rate, self._burst)
        return bucket.take(now_ns)


def network_of(source: Address) -> str:
    """Whom an address is counted for."""
    host = source[0]
    if ":" not in host:
        return host
    head, gap, tail = host.partition("::")
    groups = head.split(":") if head else []
    if gap:
        rest = tail.split(":") if tail else []
        groups += ["0"] * (8 - len(groups) - len(rest)) + rest
    return ":".join(groups[:4])
