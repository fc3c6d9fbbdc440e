"""The client's side of the rendezvous server: holding a name, and asking for one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, TypeAlias

from voicelink.core.channel import Channel
from voicelink.core.events import EndReason
from voicelink.core.exchange import Exchange
from voicelink.settings import Address
from voicelink.units import NS_PER_S
from voicelink.wire.packet import Kind
from voicelink.wire.rendezvous import (
    ClientMessage,
    Denied,
    Placed,
    Register,
    Registered,
    Release,
    Retry,
    Ring,
    ServerMessage,
    Unregister,
    encode_rendezvous,
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

    Datagrams collect in `outbox`; the owner sends them to `server`.
    """

    def __init__(self, server: Address, token: bytes, timeout_ns: int) -> None:
        self.server = server
        self.outbox: list[bytes] = []
        self._token = token
        self._timeout_ns = timeout_ns
        self._channel = Channel(0)
        # Ids from a random start: a later session at the same port must not repeat this one's requests.
        self._exchange: Exchange[Register | Ring] = Exchange(int.from_bytes(token[:3], "big"))
        self._cookie = b""
        self._name = ""
        self._refresh_ns: int | None = None
        self._retries = 0

    def register(self, name: str, now_ns: int) -> None:
        """Ask for `name`, and keep it from then on."""
        self._name = name
        self._request(Register(self._exchange.next_id(), name, self._token, self._cookie, b""), now_ns)

    def ring(self, name: str, now_ns: int) -> None:
        """Ask to be connected with `name`."""
        self._request(Ring(self._exchange.next_id(), name, self._cookie, b""), now_ns)

    def leave(self, call: int | None) -> None:
        """Give up the name and the relayed `call`, where there are any. Sent once: both expire anyway."""
        if self._name:
            self._send(Unregister(self._exchange.next_id(), self._name, self._token))
        if call is not None:
            self._send(Release(self._exchange.next_id(), call))
        self._exchange.clear()
        self._name, self._refresh_ns = "", None

    def handle(self, message: ServerMessage, now_ns: int) -> Outcome | None:
        """Take a message of the server; what it means, or None where it means nothing (more)."""
        request = self._exchange.answered(message.to, self.server)
        if request is None:
            return None
        if isinstance(message, Retry):
            return self._retry(request, message.cookie, now_ns)
        self._retries = 0
        if isinstance(message, Registered):
            wait_ns = min(message.lifetime_s * NS_PER_S // REFRESH_DIVISOR, LONGEST_REFRESH_NS)
            self._refresh_ns = now_ns + wait_ns
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
        return min((d for d in due if d is not None), default=None)

    def _retry(self, request: Register | Ring, cookie: bytes, now_ns: int) -> Denied | None:
        """Send the request again with its cookie, unless that leads nowhere."""
        self._retries += 1
        if self._retries > MAX_RETRIES:
            self._retries = 0
            detail = "the server takes no cookie of ours: it sees another address of us each time"
            return Denied(0, request.id, EndReason.SERVER, detail)
        self._cookie = cookie
        self._request(replace(request, id=self._exchange.next_id(), cookie=cookie), now_ns)
        return None

    def _request(self, request: Register | Ring, now_ns: int) -> None:
        ready = padded(request)
        self._exchange.start(ready, self.server, now_ns, self._timeout_ns)
        self._send(ready)

    def _send(self, message: ClientMessage) -> None:
        self.outbox.append(self._channel.wrap(Kind.SERVER, encode_rendezvous(message)))
