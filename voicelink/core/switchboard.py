"""The server as one machine: a front door, and behind it directory and relay, at one socket.

The front door reads a header and a cookie and nothing else. An address without a good cookie gets one, in a reply
shorter than its request, as long as the bucket for strangers has tokens; one with a good cookie has its own bucket.
"""

from __future__ import annotations

import heapq
import struct
from collections.abc import Callable, Sequence
from typing import Final

from voicelink.core.buckets import SourceBuckets, TokenBucket
from voicelink.core.directory import Asking, Directory
from voicelink.core.relay import Desk, Relay
from voicelink.core.rooms import Rooms
from voicelink.errors import ControlError, PacketError
from voicelink.secure.cookies import Cookies
from voicelink.secure.identity import Identity
from voicelink.settings import Address, ServerSettings
from voicelink.units import NS_PER_MS, NS_PER_S
from voicelink.wire.handshake import NO_COOKIE
from voicelink.wire.packet import HEADER_BYTES, MAX_DATAGRAM_BYTES, VERSION, Header, Kind, join
from voicelink.wire.rendezvous import Closing, Retry, ServerMessage, cookie_of, encode_reply, parse_request

SWEEP_NS: Final = NS_PER_S
#: A burst is so many seconds' worth.
BURST_S: Final = 2
#: What is said unasked gets no reply, and is said so often, so far apart.
REPEATS: Final = 3
REPEAT_NS: Final = 300 * NS_PER_MS
#: Requests that wait for what other servers know; more than a flood of names that nobody has is worth.
MAX_WAITING: Final = 1_000

_HEAD = struct.Struct(">BI")
_SERVER: Final = Kind.SERVER << 4 | VERSION
_RELAYED: Final = frozenset(
    phase | kind << 4 | version
    for kind in (Kind.MEDIA, Kind.CONTROL, Kind.HANDSHAKE)
    for phase in (0, 0x80)
    for version in range(16)
)


class Forwarder:
    """The half of the machine that every process of a server has: datagrams of calls go to the other side."""

    def __init__(self, settings: ServerSettings) -> None:
        self.relay = Relay(settings)
        self.datagrams_received = 0
        self.datagrams_invalid = 0

    def forward(self, data: bytes, source: Address, now_ns: int) -> Address | None:
        """Where a datagram goes unchanged; None where it does not."""
        self.datagrams_received += 1
        if HEADER_BYTES <= len(data) <= MAX_DATAGRAM_BYTES:
            first, connection_id = _HEAD.unpack_from(data)
            if first in _RELAYED:
                return self.relay.forward(connection_id, source, len(data), now_ns)
            if first == _SERVER:
                self.on_request(connection_id, data, source, now_ns)
                return None
        self.datagrams_invalid += 1
        return None

    def on_request(self, request_id: int, data: bytes, source: Address, now_ns: int) -> None:
        """A request came; a machine that only forwards takes none."""
        self.datagrams_invalid += 1


class Switchboard(Forwarder):
    """Datagrams of clients in, replies and relayed datagrams out. `entropy(n)` returns n random bytes.

    `desks` forward the calls, each those whose connection id modulo their number leads to it; by default this machine
    forwards them all itself. Where there are several, `desks[0]` is to be `relay` of this machine.
    """

    def __init__(
        self, settings: ServerSettings, *, entropy: Callable[[int], bytes], desks: Sequence[Desk] = ()
    ) -> None:
        super().__init__(settings)
        self.rooms = Rooms(settings.max_calls, [self.relay, *desks], entropy)
        self._identity = Identity.generate(entropy)
        self.directory = Directory(settings, self.rooms, self._identity, entropy)
        self.cookies_sent = 0
        self.dropped_strangers = 0
        """Requests without a good cookie beyond what is answered."""
        self.dropped_requests = 0
        """Requests of an address over its rate."""
        self._cookies = Cookies(entropy)
        self._strangers = TokenBucket(settings.strangers_per_s, BURST_S * settings.strangers_per_s)
        self._sources = SourceBuckets(settings.requests_per_s, BURST_S * settings.requests_per_s)
        self._outbox: list[tuple[bytes, Address]] = []
        self._sweep_ns: int | None = None
        self._later: list[tuple[int, bytes, Address]] = []
        self._waiting: list[tuple[bytes, Address]] = []

    def handle_datagram(self, data: bytes, source: Address, now_ns: int) -> None:
        """Take one datagram. Never raises for what is in it."""
        to = self.forward(data, source, now_ns)
        if to is not None:
            self._outbox.append((data, to))

    def handle_timer(self, now_ns: int) -> None:
        """Forget what is old, and say again what gets no reply."""
        while self._later and self._later[0][0] <= now_ns:
            _, data, to = heapq.heappop(self._later)
            self._outbox.append((data, to))
        if self._sweep_ns is None or now_ns < self._sweep_ns:
            return
        self.directory.expire(now_ns)
        for call in self.relay.expire(now_ns):
            self.rooms.forget(call)
        busy = self.directory.names_kept or len(self.rooms)
        self._sweep_ns = now_ns + SWEEP_NS if busy else None

    def datagrams_to_send(self, now_ns: int) -> list[tuple[bytes, Address]]:
        """Datagrams to send now, in order."""
        out, self._outbox = self._outbox, []
        return out

    def next_timer_ns(self) -> int | None:
        """When `handle_timer` wants to be called, or None."""
        if not self._later:
            return self._sweep_ns
        return self._later[0][0] if self._sweep_ns is None else min(self._later[0][0], self._sweep_ns)

    def on_request(self, request_id: int, data: bytes, source: Address, now_ns: int) -> None:
        """Answer a request."""
        try:
            self._answer(request_id, data, source, now_ns)
        except (PacketError, ControlError):
            self.datagrams_invalid += 1

    def answered(self, now_ns: int) -> None:
        """The other servers have answered something: handle again what waits for that."""
        waiting, self._waiting = self._waiting, []
        for data, source in waiting:
            self.on_request(_HEAD.unpack_from(data)[1], data, source, now_ns)

    def invite(self, name: str, call: int, ticket: bytes, relay: Address, now_ns: int) -> None:
        """Tell a client of ours that it is called through another server."""
        invitation = self.directory.invitation(name, call, ticket, relay, now_ns)
        if invitation is not None:
            self._say(*invitation, now_ns)

    def close(self, in_s: int, now_ns: int) -> None:
        """Set up no more calls, and tell both ends of every call that it is relayed for `in_s` more at most."""
        self.directory.closing = True
        for call, side in self.rooms.everybody():
            self._say(Closing(0, call, in_s), side, now_ns)

    def _answer(self, request_id: int, data: bytes, source: Address, now_ns: int) -> None:
        body = data[HEADER_BYTES:]
        cookie = cookie_of(body)
        if cookie == NO_COOKIE or not self._cookies.is_good(cookie, source, now_ns):
            self._on_stranger(request_id, len(data), source, now_ns)
            return
        if not self._sources.take(source, now_ns):
            self.dropped_requests += 1
            return
        reply = self.directory.handle(parse_request(body), cookie, source, now_ns)
        if self._sweep_ns is None:
            self._sweep_ns = now_ns + SWEEP_NS
        if isinstance(reply, Asking):
            if len(self._waiting) < MAX_WAITING:
                self._waiting.append((data, source))
        elif reply is not None:
            self._send(encode_reply(reply), len(data), source)

    def _on_stranger(self, request_id: int, size_bytes: int, source: Address, now_ns: int) -> None:
        """An address that has not shown that it receives what is sent to it."""
        if not self._strangers.take(now_ns):
            self.dropped_strangers += 1
            return
        self.cookies_sent += 1
        retry = Retry(0, request_id, self._cookies.make(source, now_ns), self._identity.public)
        self._send(encode_reply(retry), size_bytes, source)

    def _send(self, body: bytes, request_bytes: int, to: Address) -> None:
        """Never more out than in, so that nobody can be flooded through us."""
        if HEADER_BYTES + len(body) <= request_bytes:
            self._outbox.append((_datagram(body), to))

    def _say(self, message: ServerMessage, to: Address, now_ns: int) -> None:
        """Unasked, to an address that has shown that it receives; some times over."""
        data = _datagram(encode_reply(message))
        for i in range(REPEATS):
            heapq.heappush(self._later, (now_ns + i * REPEAT_NS, data, to))


def _datagram(body: bytes) -> bytes:
    return join(Header(Kind.SERVER, 0, 0), body)
