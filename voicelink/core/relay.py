"""Forwarding between the two sides of a call: a bounded table, and never to anybody else.

Which calls there are is `rooms.py`'s. A server of several processes has one table in each, and a call is in the one
that its connection id leads to.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Final, Protocol, TypeAlias
from weakref import WeakValueDictionary

from voicelink.core.buckets import network_of
from voicelink.settings import Address, ServerSettings
from voicelink.units import NS_PER_S

#: Both directions together; a call at one frame a packet makes 172, its setup some more.
MAX_DATAGRAMS_PER_S: Final = 1_000

#: The addresses of caller and callee, as far as they are known.
Sides: TypeAlias = tuple[Address | None, Address | None]


class Desk(Protocol):
    """Where calls are forwarded: a Relay here, or one in another process."""

    def bind(self, call: int, sides: Sides, ticket: bytes, now_ns: int) -> None:
        """Forward datagrams of `call` between its sides from now on, a new call or one whose sides have changed."""

    def drop(self, call: int) -> None:
        """Forget a call."""


@dataclass(slots=True)
class RelayCounts:
    """What the relay did since it was made."""

    datagrams_forwarded: int = 0
    bytes_forwarded: int = 0
    dropped_stranger: int = 0
    """Unknown call, or not from one of its two sides."""
    dropped_rate: int = 0

    def add(self, other: RelayCounts) -> None:
        """Add the counts of another relay."""
        for each in fields(self):
            setattr(self, each.name, getattr(self, each.name) + getattr(other, each.name))


class _Meter:
    """Datagrams in the running second."""

    __slots__ = ("__weakref__", "count", "limit", "second")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.second = self.count = 0

    def over(self, second: int) -> bool:
        """Count one more; whether it is over the limit."""
        if second != self.second:
            self.second, self.count = second, 0
        self.count += 1
        return self.count > self.limit


class _Call:
    """The way between two sides. `meters` are those of the two sides' networks."""

    __slots__ = ("callee", "caller", "heard_ns", "meter", "meters", "ticket")

    def __init__(self, sides: Sides, ticket: bytes, meters: tuple[_Meter, _Meter], now_ns: int) -> None:
        self.caller, self.callee = sides
        self.ticket = ticket
        self.heard_ns = now_ns
        self.meter = _Meter(MAX_DATAGRAMS_PER_S)
        self.meters = meters


class Relay:
    """Calls by connection id. A call not heard of for `call_idle_s` is forgotten."""

    def __init__(self, settings: ServerSettings) -> None:
        self.counts = RelayCounts()
        self._idle_ns = settings.call_idle_s * NS_PER_S
        self._of_source = settings.packets_per_s_of_source
        self._all = _Meter(settings.packets_per_s)
        self._meters: WeakValueDictionary[str, _Meter] = WeakValueDictionary()
        self._calls: dict[int, _Call] = {}

    def __len__(self) -> int:
        return len(self._calls)

    def bind(self, call: int, sides: Sides, ticket: bytes, now_ns: int) -> None:
        """As Desk.bind. Both addresses must have shown that they receive what is sent to them."""
        meters = (self._meter(sides[0]), self._meter(sides[1]))
        known = self._calls.get(call)
        if known is None:
            self._calls[call] = _Call(sides, ticket, meters, now_ns)
        else:
            known.caller, known.callee = sides
            known.ticket, known.meters, known.heard_ns = ticket, meters, now_ns

    def drop(self, call: int) -> None:
        """As Desk.drop."""
        self._calls.pop(call, None)

    def forward(self, connection_id: int, source: Address, size_bytes: int, now_ns: int) -> Address | None:
        """Where a datagram of a call goes; None where it is dropped."""
        call = self._calls.get(connection_id)
        if call is None:
            to, meter = None, None
        elif source == call.caller:
            to, meter = call.callee, call.meters[0]
        elif source == call.callee:
            to, meter = call.caller, call.meters[1]
        else:
            to, meter = None, None
        counts = self.counts
        if call is None or to is None or meter is None:
            counts.dropped_stranger += 1
            return None
        call.heard_ns = now_ns
        second = now_ns // NS_PER_S
        if call.meter.over(second) or meter.over(second) or self._all.over(second):
            counts.dropped_rate += 1
            return None
        counts.datagrams_forwarded += 1
        counts.bytes_forwarded += size_bytes
        return to

    def expire(self, now_ns: int) -> list[int]:
        """Forget idle calls; which they were."""
        idle = [i for i, call in self._calls.items() if now_ns - call.heard_ns >= self._idle_ns]
        for connection_id in idle:
            del self._calls[connection_id]
        return idle

    def calls(self) -> list[tuple[int, Sides, bytes]]:
        """All calls: connection id, sides, ticket."""
        return [(number, (call.caller, call.callee), call.ticket) for number, call in self._calls.items()]

    def _meter(self, side: Address | None) -> _Meter:
        """The meter of an address's network, shared by all its calls here."""
        network = network_of(side) if side is not None else ""
        meter = self._meters.get(network)
        if meter is None:
            meter = self._meters[network] = _Meter(self._of_source)
        return meter
