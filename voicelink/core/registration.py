"""The client's side of the rendezvous server: holding a name, and asking for one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeAlias

from voicelink.core.events import EndReason
from voicelink.core.exchange import Exchange
from voicelink.secure.identity import Identity
from voicelink.secure.noise import NoiseError
from voicelink.secure.possession import claim, prove
from voicelink.settings import Address
from voicelink.units import NS_PER_S, earliest
from voicelink.wire.handshake import NO_COOKIE
from voicelink.wire.packet import Header, Kind, join
from voicelink.wire.rendezvous import (
    ClientMessage,
    Closing,
    Denied,
    Invite,
    Joined,
    Placed,
    Register,
    Registered,
    Retry,
    Ring,
    ServerMessage,
    Unregister,
    encode_request,
    padded,
)

#: A name is refreshed after this share of its lifetime, so that two refreshes may be lost.
REFRESH_DIVISOR: Final = 3
#: Cookies taken for one request. A server that asks for more sees another address of ours each time.
MAX_RETRIES: Final = 4
#: NAT bindings may close after 30 s (RFC 4787 section 4.3 asks for more; many do not keep to it).
LONGEST_REFRESH_NS: Final = 20 * NS_PER_S


@dataclass(frozen=True, slots=True)
class NoReply:
    """The server answered nothing."""

    request: Register | Ring


Outcome: TypeAlias = Registered | Placed | Denied | NoReply


class Registration:
    """Requests to one server, with their cookies and retransmissions.

    Datagrams collect in `outbox`; the owner sends them to `server`. `start` (4 random bytes) is where the ids of
    requests begin: nobody off the path can guess them, and a later session at the same port does not repeat them.
    """

    def __init__(self, server: Address, identity: Identity, start: bytes, timeout_ns: int) -> None:
        self.server = server
        self.outbox: list[bytes] = []
        self._identity = identity
        self._timeout_ns = timeout_ns
        self._exchange: Exchange[Register | Ring] = Exchange(int.from_bytes(start, "big") >> 1)
        self.cookie = NO_COOKIE
        """What the server takes from our address, as far as we know."""
        self.secret = b""
        """What an invitation must bear to come from our server."""
        self._server_key = b""
        self._name = ""
        self._refresh_ns: int | None = None
        self._retries = 0

    def register(self, name: str, now_ns: int) -> None:
        """Ask for `name`, and keep it from then on."""
        self._name = name
        request_id = self._exchange.next_id()
        proof = self._proof("register", request_id)
        self._request(Register(request_id, name, self._identity.public, proof, b""), now_ns)

    def refresh(self, now_ns: int) -> None:
        """Register again now: the server may have forgotten us, or know an address that is no longer ours."""
        if self._name and self._exchange.next_due_ns() is None:
            self.register(self._name, now_ns)

    def ring(self, name: str, now_ns: int) -> None:
        """Ask to be connected with `name`."""
        self._request(Ring(self._exchange.next_id(), name, b""), now_ns)

    def leave(self) -> None:
        """Give up the name, where there is one. Sent once: it expires anyway."""
        if self._name:
            request_id = self._exchange.next_id()
            proof = self._proof("unregister", request_id)
            self._send(Unregister(request_id, self._name, self._identity.public, proof))
        self._exchange.clear()
        self._name, self._refresh_ns = "", None

    def handle(self, message: ServerMessage, now_ns: int) -> Outcome | None:
        """Take a message of the server; what it means, or None where it means nothing (more)."""
        if isinstance(message, (Joined, Invite, Closing)):
            return None
        request = self._exchange.answered(message.to, self.server)
        if request is None:
            return None
        if isinstance(message, Retry):
            return self._retry(request, message, now_ns)
        self._retries = 0
        if isinstance(message, Registered):
            wait_ns = min(message.lifetime_s * NS_PER_S // REFRESH_DIVISOR, LONGEST_REFRESH_NS)
            self._refresh_ns = now_ns + wait_ns
            self.secret = message.secret
        return message

    def handle_timer(self, now_ns: int) -> list[Outcome]:
        """Send again what is due, refresh the name; the requests that got no reply."""
        again, over = self._exchange.due(now_ns)
        for message, _ in again:
            self._send(message)
        if self._refresh_ns is not None and self._refresh_ns <= now_ns:
            self._refresh_ns = None
            self.register(self._name, now_ns)
        return [NoReply(request) for request in over]

    def next_due_ns(self) -> int | None:
        """When `handle_timer` has something to do next."""
        due = (self._exchange.next_due_ns(), self._refresh_ns)
        return earliest(*due)

    def _retry(self, request: Register | Ring, retry: Retry, now_ns: int) -> Denied | None:
        """Make the request again with the server's cookie, unless that leads nowhere."""
        self._retries += 1
        if self._retries > MAX_RETRIES:
            self._retries = 0
            detail = "the server takes no cookie of ours: it sees another address of us each time"
            return Denied(0, request.id, EndReason.SERVER, detail)
        self.cookie, self._server_key = retry.cookie, retry.key
        if isinstance(request, Register):
            self.register(request.name, now_ns)
        else:
            self.ring(request.name, now_ns)
        return None

    def _proof(self, action: str, request_id: int) -> bytes:
        """That we hold our identity key, as far as the server's is known yet."""
        try:
            request = claim(action, self._name, request_id, self.cookie)
            return prove(self._identity, self._server_key, request) if self._server_key else b""
        except (NoiseError, ValueError):
            return b""  # a server with an impossible key: it will deny us

    def _request(self, request: Register | Ring, now_ns: int) -> None:
        ready = padded(request)
        self._exchange.start(ready, self.server, now_ns, self._timeout_ns)
        self._send(ready)

    def _send(self, message: ClientMessage) -> None:
        header = Header(Kind.SERVER, message.id, 0)
        self.outbox.append(join(header, encode_request(message, self.cookie)))
