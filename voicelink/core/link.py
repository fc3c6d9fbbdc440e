"""One call's way to the peer: counters, requests sent again, and the choice of path."""

from __future__ import annotations

from typing import Final

from voicelink.core.channel import Channel
from voicelink.core.exchange import Exchange
from voicelink.core.paths import Paths
from voicelink.core.stats import Stats
from voicelink.settings import Address
from voicelink.wire.control import ControlMessage, Probe, encode_control
from voicelink.wire.packet import Kind

#: Probes whose answer is still awaited; older ones are forgotten.
MAX_PROBES: Final = 64


class CallLink:
    """Datagrams of one call collect in `outbox`; `primary` is the peer, or the relay where `relayed`."""

    def __init__(self, connection_id: int, primary: Address, stats: Stats, *, relayed: bool) -> None:
        self.outbox: list[tuple[bytes, Address]] = []
        self.channel = Channel(connection_id)
        self.exchange: Exchange[ControlMessage] = Exchange()
        self.paths = Paths(primary, relayed=relayed)
        self._stats = stats
        self._probes: dict[int, Address] = {}

    @property
    def connection_id(self) -> int:
        """The call's id on the wire."""
        return self.channel.connection_id

    def request(self, message: ControlMessage, now_ns: int, timeout_ns: int) -> None:
        """Send a request, and again until `exchange.answered` takes it or `timeout_ns` is over."""
        to = self.paths.current
        self.exchange.start(message, to, now_ns, timeout_ns)
        self.send(message, to)

    def send(self, message: ControlMessage, to: Address) -> None:
        """Send a control message once."""
        self._stats.control_packets_sent += 1
        self.outbox.append((self.channel.wrap(Kind.CONTROL, encode_control(message)), to))

    def send_media(self, body: bytes) -> None:
        """Send a media body over the current path."""
        self.outbox.append((self.channel.wrap(Kind.MEDIA, body), self.paths.current))

    def probe_answered(self, probe_id: int, source: Address, now_ns: int) -> bool:
        """An Ok for one of our probes came from `source`; True where the path changes with it."""
        if self._probes.get(probe_id) != source:
            return False
        del self._probes[probe_id]
        return self.paths.validated(source, now_ns)

    def handle_timer(self, now_ns: int) -> list[ControlMessage]:
        """Send again and probe what is due; the requests that were given up."""
        again, over = self.exchange.due(now_ns)
        for message, to in again:
            self.send(message, to)
        for address in self.paths.to_probe(now_ns):
            self._probe(address)
        return over

    def next_due_ns(self) -> int | None:
        """When something is due next."""
        due = (self.exchange.next_due_ns(), self.paths.next_due_ns())
        return min((d for d in due if d is not None), default=None)

    def _probe(self, address: Address) -> None:
        probe = Probe(self.exchange.next_id())
        self._probes[probe.id] = address
        while len(self._probes) > MAX_PROBES:
            del self._probes[next(iter(self._probes))]
        self.send(probe, address)
