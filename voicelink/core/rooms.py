"""Which calls the server relays: rooms of two, opened when a name is rung, or by a ticket.

The two ends of a call share its ticket. With it an end takes its place from wherever it is now: after its address has
changed, after the relay was restarted and forgot everything, or at another server than the one that was asked.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from voicelink.core.buckets import network_of
from voicelink.core.relay import Desk, Sides
from voicelink.secure.possession import is_same
from voicelink.settings import Address
from voicelink.wire.control import TICKET_BYTES

log = logging.getLogger("voicelink.server.calls")

#: Calls that one address (or IPv6 /64) may have placed, so that nobody fills the table alone.
MAX_CALLS_OF_SOURCE: Final = 64


@dataclass(slots=True)
class _Room:
    sides: Sides
    ticket: bytes
    opener: str
    """The network that the room is counted for."""
    request: tuple[Address, int] | None = None


class Rooms:
    """Calls by connection id. A call is forwarded by the desk that its connection id leads to."""

    def __init__(self, max_calls: int, desks: Sequence[Desk], entropy: Callable[[int], bytes]) -> None:
        self.calls_total = 0
        self._max_calls = max_calls
        self._desks = desks
        self._entropy = entropy
        self._rooms: dict[int, _Room] = {}
        self._by_request: dict[tuple[Address, int], int] = {}
        self._by_source: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._rooms)

    def place(self, caller: Address, callee: Address, request_id: int, now_ns: int) -> tuple[int, bytes] | None:
        """Connection id and ticket of a new call, the same for the same request; None where there is no room.

        Both addresses must have shown that they receive what is sent to them.
        """
        request = (caller, request_id)
        known = self._by_request.get(request)
        if known is not None:
            return known, self._rooms[known].ticket
        network = network_of(caller)
        if self._is_full(network):
            return None
        call, ticket = self.draw()
        self._open(call, _Room((caller, callee), ticket, network, request), now_ns)
        self._by_request[request] = call
        return call, ticket

    def draw(self) -> tuple[int, bytes]:
        """A connection id that is free here, and a ticket."""
        while True:
            call = int.from_bytes(self._entropy(4), "big")
            if call and call not in self._rooms:
                return call, self._entropy(TICKET_BYTES)

    def join(self, call: int, side: int, ticket: bytes, source: Address, now_ns: int) -> str:
        """Let `source` take its side of a call; why not, or nothing. It must have shown that it receives."""
        if len(ticket) != TICKET_BYTES:
            return "no ticket to a call"
        room = self._rooms.get(call)
        if room is None:
            network = network_of(source)
            if self._is_full(network):
                return "the server relays as many calls as it may"
            self._open(call, _Room(_with((None, None), side, source), ticket, network), now_ns)
        elif not is_same(room.ticket, ticket):
            return "not a ticket to this call"
        else:
            room.sides = _with(room.sides, side, source)
            self._bind(call, room, now_ns)
        return ""

    def release(self, call: int, source: Address) -> None:
        """Forget a call, on the word of one of its sides."""
        room = self._rooms.get(call)
        if room is not None and source in room.sides:
            self._desk(call).drop(call)
            self.forget(call)

    def forget(self, call: int) -> None:
        """A desk has forgotten a call."""
        room = self._rooms.pop(call, None)
        if room is None:
            return
        log.info("a call is over", extra={"fields": {"call": f"{call:08x}"}})
        if room.request is not None:
            del self._by_request[room.request]
        self._by_source[room.opener] -= 1
        if not self._by_source[room.opener]:
            del self._by_source[room.opener]

    def restore(self, call: int, sides: Sides, ticket: bytes) -> None:
        """A desk knows a call that we do not: we were restarted, and it was not."""
        known = [side for side in sides if side is not None]
        if call not in self._rooms and known:
            self._note(call, _Room(sides, ticket, network_of(known[0])))

    def bind_again(self, desk: int, now_ns: int) -> None:
        """A desk was restarted: tell it its calls."""
        for call, room in self._rooms.items():
            if call % len(self._desks) == desk:
                self._bind(call, room, now_ns)

    def everybody(self) -> list[tuple[int, Address]]:
        """Connection id and address of all sides of all calls."""
        return [(call, side) for call, room in self._rooms.items() for side in room.sides if side is not None]

    def _open(self, call: int, room: _Room, now_ns: int) -> None:
        self.calls_total += 1
        log.info("a call is relayed", extra={"fields": {"call": f"{call:08x}"}, "who": {"sides": room.sides}})
        self._note(call, room)
        self._bind(call, room, now_ns)

    def _note(self, call: int, room: _Room) -> None:
        self._rooms[call] = room
        self._by_source[room.opener] += 1

    def _bind(self, call: int, room: _Room, now_ns: int) -> None:
        self._desk(call).bind(call, room.sides, room.ticket, now_ns)

    def _desk(self, call: int) -> Desk:
        return self._desks[call % len(self._desks)]

    def _is_full(self, network: str) -> bool:
        return len(self._rooms) >= self._max_calls or self._by_source[network] >= MAX_CALLS_OF_SOURCE


def _with(sides: Sides, side: int, address: Address) -> Sides:
    return (address, sides[1]) if side == 0 else (sides[0], address)
