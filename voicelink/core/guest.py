"""An end's place at a relay, and how it is taken again.

Nothing tells an end that its relay was restarted, or that its own address has changed: it hears nothing any more. So
while nothing is heard of the peer, it shows its ticket to the relay, again and again.
"""

from __future__ import annotations

from typing import Final

from voicelink.core.exchange import Exchange
from voicelink.settings import Address
from voicelink.units import NS_PER_MS, earliest
from voicelink.wire.packet import Header, Kind, join
from voicelink.wire.rendezvous import (
    ClientMessage,
    Denied,
    Join,
    Release,
    Retry,
    ServerMessage,
    encode_request,
    padded,
)

#: A request is made anew so long after the last one was answered, or given up.
AGAIN_NS: Final = 500 * NS_PER_MS
#: A relay that denies us has its reasons, which may pass.
DENIED_REST_NS: Final = 5_000 * NS_PER_MS
#: One request is repeated for so long; a cookie of a relay that was restarted meanwhile is of no use.
REQUEST_NS: Final = 500 * NS_PER_MS
LONGEST_INTERVAL_NS: Final = 400 * NS_PER_MS


class Guest:
    """One end's place at `relay`, in call `call`. Datagrams for the relay collect in `outbox`.

    `start` is where the ids of requests begin, as in Registration; `cookie` one that the relay has given us, or zeros.
    """

    def __init__(self, relay: Address, call: int, side: int, ticket: bytes, start: bytes, cookie: bytes) -> None:
        self.relay = relay
        self.call = call
        self.ticket = ticket
        self.outbox: list[bytes] = []
        self._side = side
        self._exchange: Exchange[Join] = Exchange(int.from_bytes(start, "big") >> 1, LONGEST_INTERVAL_NS)
        self._cookie = cookie
        self._again_ns: int | None = None

    def seek(self, now_ns: int) -> None:
        """Take our place, until `rest`. Does nothing where that is under way, or without a ticket."""
        if self._again_ns is None and self.ticket:
            self._ask(now_ns)

    def rest(self) -> None:
        """We have our place."""
        self._again_ns = None
        self._exchange.clear()

    def leave(self) -> None:
        """The call is over. Sent once: the relay forgets it anyway."""
        self.rest()
        self._send(Release(self._exchange.next_id(), self.call))

    def handle(self, message: ServerMessage, now_ns: int) -> bool:
        """Take a message of the relay; False where it is no reply to us. A Joined means that we have our place."""
        if self._exchange.answered(message.to, self.relay) is None:
            return False
        match message:
            case Retry():
                self._cookie = message.cookie
                self._ask(now_ns)
            case Denied():
                self._again_ns = now_ns + DENIED_REST_NS
        return True

    def handle_timer(self, now_ns: int) -> None:
        """Ask again what is due."""
        for message, _ in self._exchange.due(now_ns)[0]:
            self._send(message)
        if self._again_ns is not None and self._again_ns <= now_ns:
            self._ask(now_ns)

    def next_due_ns(self) -> int | None:
        """When `handle_timer` has something to do next."""
        due = (self._exchange.next_due_ns(), self._again_ns)
        return earliest(*due)

    def _ask(self, now_ns: int) -> None:
        self._exchange.clear()
        request = padded(Join(self._exchange.next_id(), self.call, self._side, self.ticket, b""))
        self._exchange.start(request, self.relay, now_ns, REQUEST_NS)
        self._again_ns = now_ns + AGAIN_NS
        self._send(request)

    def _send(self, message: ClientMessage) -> None:
        self.outbox.append(join(Header(Kind.SERVER, message.id, 0), encode_request(message, self._cookie)))
