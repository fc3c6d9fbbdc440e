"""Forwarding between the two sides of a call: a bounded table, and never to anybody else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from voicelink.core.buckets import network_of
from voicelink.settings import Address
from voicelink.units import NS_PER_S

#: Both directions together; a call at one frame a packet makes 172, its setup some more.
MAX_DATAGRAMS_PER_S: Final = 1_000
#: Calls that one address (or IPv6 /64) may have placed, so that nobody fills the table alone.
MAX_CALLS_OF_SOURCE: Final = 64


@dataclass(slots=True)
class RelayCounts:
    """What the relay did since it was made."""

    calls_total: int = 0
    datagrams_forwarded: int = 0
    bytes_forwarded: int = 0
    dropped_stranger: int = 0
    """Unknown call, or not from one of its two sides."""
    dropped_rate: int = 0


@dataclass(slots=True)
class _Call:
    caller: Address
    callee: Address
    key: tuple[Address, int]
    heard_ns: int
    second: int = 0
    in_second: int = 0


class Relay:
    """Calls by connection id. A call not heard of for `idle_ns` is forgotten."""

    def __init__(self, max_calls: int, idle_ns: int, entropy: Callable[[int], bytes]) -> None:
        self.counts = RelayCounts()
        self._max_calls = max_calls
        self._idle_ns = idle_ns
        self._entropy = entropy
        self._calls: dict[int, _Call] = {}
        self._by_request: dict[tuple[Address, int], int] = {}
        self._by_source: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._calls)

    def bind(self, caller: Address, callee: Address, request_id: int, now_ns: int) -> int | None:
        """The connection id of a new call; the same for the same request; None where there is no room.

        Both addresses must have shown that they receive what is sent to them.
        """
        key = (caller, request_id)
        known = self._by_request.get(key)
        if known is not None:
            return known
        network = network_of(caller)
        if len(self._calls) >= self._max_calls or self._by_source[network] >= MAX_CALLS_OF_SOURCE:
            return None
        connection_id = self._free_id()
        self._calls[connection_id] = _Call(caller, callee, key, now_ns)
        self._by_request[key] = connection_id
        self._by_source[network] += 1
        self.counts.calls_total += 1
        return connection_id

    def forward(self, connection_id: int, source: Address, size_bytes: int, now_ns: int) -> Address | None:
        """Where a datagram of a call goes; None where it is dropped."""
        call = self._calls.get(connection_id)
        if call is None or source not in (call.caller, call.callee):
            self.counts.dropped_stranger += 1
            return None
        call.heard_ns = now_ns
        second = now_ns // NS_PER_S
        if second != call.second:
            call.second, call.in_second = second, 0
        call.in_second += 1
        if call.in_second > MAX_DATAGRAMS_PER_S:
            self.counts.dropped_rate += 1
            return None
        self.counts.datagrams_forwarded += 1
        self.counts.bytes_forwarded += size_bytes
        return call.callee if source == call.caller else call.caller

    def release(self, connection_id: int, source: Address) -> None:
        """Forget a call, on the word of one of its sides."""
        call = self._calls.get(connection_id)
        if call is not None and source in (call.caller, call.callee):
            self._forget(connection_id)

    def expire(self, now_ns: int) -> None:
        """Forget idle calls."""
        idle = [i for i, call in self._calls.items() if now_ns - call.heard_ns >= self._idle_ns]
        for connection_id in idle:
            self._forget(connection_id)

    def _forget(self, connection_id: int) -> None:
        call = self._calls.pop(connection_id)
        del self._by_request[call.key]
        network = network_of(call.caller)
        self._by_source[network] -= 1
        if not self._by_source[network]:
            del self._by_source[network]

    def _free_id(self) -> int:
        while True:
            connection_id = int.from_bytes(self._entropy(4), "big")
            if connection_id and connection_id not in self._calls:
                return connection_id
