"""One call's way to the peer: keys and counters, requests sent again, and the choice of path."""

from __future__ import annotations

from typing import Final

from voicelink.core.exchange import FIRST_INTERVAL_NS, Exchange
from voicelink.core.opening import Opening
from voicelink.core.paths import Paths
from voicelink.core.slots import Slots
from voicelink.core.stats import Stats
from voicelink.secure.handshake import Secrets
from voicelink.secure.seal import Opener, Protection, Sealer
from voicelink.settings import Address
from voicelink.units import earliest
from voicelink.wire.control import ControlMessage, End, Hello, Probe, Refuse, Report, encode_bundle, encode_control
from voicelink.wire.handshake import HandshakeMessage
from voicelink.wire.packet import Header, Kind, join

#: Probes whose answer is still awaited; older ones are forgotten.
MAX_PROBES: Final = 64


class CallLink:
    """Datagrams of one call collect in `outbox`; `primary` is the peer, or the relay where `relayed`.

    The caller's link has an `opening`, which carries the hello. `secure` gives it keys; until then nothing can be
    sealed or opened.
    """

    def __init__(
        self,
        connection_id: int,
        primary: Address,
        stats: Stats,
        *,
        relayed: bool,
        opening: Opening | None = None,
    ) -> None:
        self.connection_id = connection_id
        self.outbox: list[tuple[bytes, Address]] = []
        self.opening = opening
        self.opener: Opener | None = None
        self.secrets: Secrets | None = None
        # A call's setup takes three round trips: on a bad path, steady repetition gets through in time.
        self.exchange: Exchange[ControlMessage] = Exchange(longest_ns=FIRST_INTERVAL_NS)
        self.paths = Paths(primary, relayed=relayed)
        self.slots: Slots | None = None
        """Where control messages wait while all is to leave at even times; None sends them at once."""
        self._sealer: Sealer | None = None
        self._stats = stats
        self._probes: dict[int, Address] = {}

    @property
    def exhausted(self) -> bool:
        """Whether the call must end because its packet counters do."""
        return self._sealer is not None and self._sealer.exhausted

    def secure(self, secrets: Secrets, protection: Protection) -> None:
        """Seal and open with `secrets` from now on."""
        self.secrets = secrets
        self._sealer = Sealer(self.connection_id, secrets.send, protection)
        self.opener = Opener(secrets.receive, protection)

    def request(self, message: ControlMessage, now_ns: int, timeout_ns: int) -> None:
        """Send a request, and again until `exchange.answered` takes it or `timeout_ns` is over."""
        to = self.paths.current
        self.exchange.start(message, to, now_ns, timeout_ns)
        self.send(message, to, now_ns)

    def send(self, message: ControlMessage, to: Address, now_ns: int) -> None:
        """Send a control message once, or let it wait for its slot; a hello as the handshake message that is next."""
        if isinstance(message, (End, Refuse)):
            self.slots = None  # the last thing that is said
        if isinstance(message, Hello):
            assert self.opening is not None, "only a caller says hello"
            self.send_handshake(self.opening.message, to)
        elif self.slots is not None:
            self.slots.put(message, to)
        else:
            assert self._sealer is not None, "there are no keys yet"
            self._stats.control_packets_sent += 1
            self.outbox.append((self._sealer.seal(Kind.CONTROL, encode_control(message), now_ns), to))

    def send_slot(self, report: Report, now_ns: int) -> None:
        """A slot's time has come."""
        assert self._sealer is not None, "there are no keys yet"
        assert self.slots is not None, "nothing waits for slots"
        bundle, to = self.slots.take(report, self.paths.current)
        self._stats.control_packets_sent += 1
        self.outbox.append((self._sealer.seal(Kind.CONTROL, encode_bundle(bundle), now_ns), to))

    def send_handshake(self, message: HandshakeMessage, to: Address) -> None:
        """Send a handshake message once."""
        self._stats.control_packets_sent += 1
        self.outbox.append((join(Header(Kind.HANDSHAKE, self.connection_id, 0), bytes(message)), to))

    def send_media(self, body: bytes, now_ns: int) -> None:
        """Send a media body over the current path."""
        assert self._sealer is not None, "there are no keys yet"
        self.outbox.append((self._sealer.seal(Kind.MEDIA, body, now_ns), self.paths.current))

    def probe_answered(self, probe_id: int, source: Address, now_ns: int) -> bool:
        """An Ok for one of our probes came from `source`; True where the path changes with it."""
        if self._probes.get(probe_id) != source:
            return False
        del self._probes[probe_id]
        return self._is_news(self.paths.validated(source, now_ns))

    def fall_back(self, now_ns: int) -> bool:
        """Back to the relay where the direct path is dead; True where that changes the path."""
        return self._is_news(self.paths.fall_back(now_ns))

    def give_up_direct(self, now_ns: int) -> bool:
        """Back to the relay at once; True where that changes the path."""
        return self._is_news(self.paths.give_up_direct(now_ns))

    def handle_timer(self, now_ns: int) -> list[ControlMessage]:
        """Send again and probe what is due; the requests that were given up."""
        again, over = self.exchange.due(now_ns)
        for message, to in again:
            self.send(message, to, now_ns)
        for address in self.paths.to_probe(now_ns):
            self._probe(address, now_ns)
        return over

    def next_due_ns(self) -> int | None:
        """When something is due next."""
        return earliest(self.exchange.next_due_ns(), self.paths.next_due_ns())

    def _is_news(self, changed: bool) -> bool:
        """Whether the path changed; requests take the new one."""
        if changed:
            self.exchange.redirect(self.paths.current)
        return changed

    def _probe(self, address: Address, now_ns: int) -> None:
        probe = Probe(self.exchange.next_id())
        self._probes[probe.id] = address
        while len(self._probes) > MAX_PROBES:
            del self._probes[next(iter(self._probes))]
        self.send(probe, address, now_ns)
