"""The server as one machine: a front door, and behind it directory and relay, at one socket.

The front door reads a header and a cookie and nothing else. An address without a good cookie gets one, in a reply
shorter than its request, as long as the bucket for strangers has tokens; one with a good cookie has its own bucket.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final

from voicelink.core.buckets import SourceBuckets, TokenBucket
from voicelink.core.directory import Directory
from voicelink.core.relay import Relay
from voicelink.errors import ControlError, PacketError
from voicelink.secure.cookies import Cookies
from voicelink.secure.identity import Identity
from voicelink.settings import Address, ServerSettings
from voicelink.units import NS_PER_S
from voicelink.wire.handshake import NO_COOKIE
from voicelink.wire.packet import HEADER_BYTES, MAX_DATAGRAM_BYTES, VERSION, Header, Kind, join
from voicelink.wire.rendezvous import Retry, cookie_of, encode_reply, parse_request

SWEEP_NS: Final = NS_PER_S
#: A burst is so many seconds' worth.
BURST_S: Final = 2

_HEAD = struct.Struct(">BI")
_SERVER: Final = Kind.SERVER << 4 | VERSION
_RELAYED: Final = (Kind.MEDIA, Kind.CONTROL, Kind.HANDSHAKE)


class Switchboard:
    """Datagrams of clients in, replies and relayed datagrams out. `entropy(n)` returns n random bytes."""

    def __init__(self, settings: ServerSettings, *, entropy: Callable[[int], bytes]) -> None:
        self.relay = Relay(settings.max_calls, settings.call_idle_s * NS_PER_S, entropy)
        self._identity = Identity.generate(entropy)
        self.directory = Directory(settings, self.relay, self._identity)
        self.datagrams_received = 0
        self.datagrams_invalid = 0
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

    def handle_datagram(self, data: bytes, source: Address, now_ns: int) -> None:
        """Take one datagram. Never raises for what is in it."""
        self.datagrams_received += 1
        try:
            if not HEADER_BYTES <= len(data) <= MAX_DATAGRAM_BYTES:
                raise PacketError(f"datagram of {len(data)} bytes")
            first, connection_id = _HEAD.unpack_from(data)
            if first == _SERVER:
                self._on_request(connection_id, data, source, now_ns)
                return
            if first >> 4 & 7 not in _RELAYED:
                raise PacketError("a datagram of an unknown kind")
        except (PacketError, ControlError):
            self.datagrams_invalid += 1
            return
        to = self.relay.forward(connection_id, source, len(data), now_ns)
        if to is not None:
            self._outbox.append((data, to))

    def handle_timer(self, now_ns: int) -> None:
        """Forget what is old."""
        if self._sweep_ns is None or now_ns < self._sweep_ns:
            return
        self.directory.expire(now_ns)
        self.relay.expire(now_ns)
        busy = self.directory.names_kept or len(self.relay)
        self._sweep_ns = now_ns + SWEEP_NS if busy else None

    def datagrams_to_send(self, now_ns: int) -> list[tuple[bytes, Address]]:
        """Datagrams to send now, in order."""
        out, self._outbox = self._outbox, []
        return out

    def next_timer_ns(self) -> int | None:
        """When `handle_timer` wants to be called, or None."""
        return self._sweep_ns

    def _on_request(self, request_id: int, data: bytes, source: Address, now_ns: int) -> None:
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
        if reply is not None:
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
            self._outbox.append((join(Header(Kind.SERVER, 0, 0), body), to))
