"""The server as one machine: directory and relay behind one socket."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from voicelink.core.directory import Directory, Mac
from voicelink.core.relay import Relay
from voicelink.errors import ControlError, PacketError
from voicelink.settings import Address, ServerSettings
from voicelink.units import NS_PER_S
from voicelink.wire.packet import Header, Kind, join, split
from voicelink.wire.rendezvous import encode_rendezvous, parse_client_message

SWEEP_NS: Final = NS_PER_S


class Switchboard:
    """Datagrams of clients in, replies and relayed datagrams out.

    `entropy(n)` returns n random bytes; `mac` is a hash with a secret key of this server's.
    """

    def __init__(self, settings: ServerSettings, *, entropy: Callable[[int], bytes], mac: Mac) -> None:
        self.relay = Relay(settings.max_calls, settings.call_idle_s * NS_PER_S, entropy)
        self.directory = Directory(settings, self.relay, mac)
        self.datagrams_received = 0
        self.datagrams_invalid = 0
        self._outbox: list[tuple[bytes, Address]] = []
        self._sweep_ns: int | None = None

    def handle_datagram(self, data: bytes, source: Address, now_ns: int) -> None:
        """Take one datagram. Never raises for what is in it."""
        self.datagrams_received += 1
        try:
            header, body = split(data)
            if header.kind is Kind.SERVER:
                self._on_request(header, body, source, now_ns)
                return
        except (PacketError, ControlError):
            self.datagrams_invalid += 1
            return
        to = self.relay.forward(header.connection_id, source, len(data), now_ns)
        if to is not None:
            self._outbox.append((data, to))

    def handle_timer(self, now_ns: int) -> None:
        """Forget what is old."""
        if self._sweep_ns is None or now_ns < self._sweep_ns:
            return
        self.directory.expire(now_ns)
        self.relay.expire(now_ns)
        busy = len(self.directory) or len(self.relay)
        self._sweep_ns = now_ns + SWEEP_NS if busy else None

    def datagrams_to_send(self, now_ns: int) -> list[tuple[bytes, Address]]:
        """Datagrams to send now, in order."""
        out, self._outbox = self._outbox, []
        return out

    def next_timer_ns(self) -> int | None:
        """When `handle_timer` wants to be called, or None."""
        return self._sweep_ns

    def _on_request(self, header: Header, body: bytes, source: Address, now_ns: int) -> None:
        reply = self.directory.handle(parse_client_message(body), source, now_ns)
        if self._sweep_ns is None:
            self._sweep_ns = now_ns + SWEEP_NS
        if reply is None:
            return
        reply_body = encode_rendezvous(reply)
        if len(reply_body) <= len(body):  # never more out than in, so that nobody can be flooded through us
            self._outbox.append((join(Header(Kind.SERVER, 0, header.counter), reply_body), source))
