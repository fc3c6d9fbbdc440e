"""Names and where they are: the server's table of registrations, and its answers to clients.

A server may be one of several that share their names (`Others`). Then a name is rung at any of them, and which of them
relays a call is drawn for each call.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from voicelink.core.buckets import network_of
from voicelink.core.events import EndReason
from voicelink.core.rooms import Rooms
from voicelink.secure.identity import Identity
from voicelink.secure.possession import claim, is_proven
from voicelink.settings import Address, ServerSettings
from voicelink.units import NS_PER_S
from voicelink.wire.control import TICKET_BYTES
from voicelink.wire.rendezvous import (
    ClientMessage,
    Denied,
    Invite,
    Join,
    Joined,
    Placed,
    Register,
    Registered,
    Release,
    Ring,
    ServerMessage,
    Unregister,
)
from voicelink.wire.schema import clip

log = logging.getLogger("voicelink.server.calls")

#: Names of one address (or IPv6 /64): a household, an office behind one NAT.
MAX_NAMES_OF_SOURCE: Final = 64
#: Calls relayed elsewhere whose request may come again.
MAX_ELSEWHERE: Final = 1_000


class Asking:
    """The other servers are being asked; the request is to be handled again when they have answered."""


ASKING: Final = Asking()


class Others(Protocol):
    """What other servers know, as far as it is known here."""

    here: Address
    """Our own address, as clients and other servers know it."""

    def owner(self, name: str, key: bytes) -> bytes | Asking:
        """Whose `name` is, claimed for `key` where it is nobody's."""

    def keep(self, name: str) -> None:
        """`name` is registered here, from now on for its lifetime."""

    def leave(self, name: str) -> None:
        """`name` is not registered here any more."""

    def home(self, name: str) -> Address | Asking | None:
        """The server where `name` is registered now."""

    def relay_for(self, call: int) -> Address:
        """The server that relays `call`."""

    def invite(self, home: Address, name: str, call: int, ticket: bytes, relay: Address) -> None:
        """Have the server `home` tell `name` of a call."""


@dataclass(slots=True)
class DirectoryCounts:
    """What the directory did since it was made."""

    registers: int = 0
    rings: int = 0
    joins: int = 0
    denied: int = 0


@dataclass(slots=True)
class _Entry:
    """A name: whose it is, and where its owner is while `expires_ns` lies ahead."""

    key: bytes
    address: Address
    expires_ns: int
    last_id: int
    secret: bytes


class Directory:
    """Registrations by name. Only addresses that have shown a cookie get here.

    A name belongs to the key that first registered it, for `name_hold_s` after it was last there. Expired names make
    room, the oldest first, where the table is full.
    """

    def __init__(
        self, settings: ServerSettings, rooms: Rooms, identity: Identity, entropy: Callable[[int], bytes]
    ) -> None:
        self.counts = DirectoryCounts()
        self.others: Others | None = None
        self.closing = False
        """Whether no new calls are set up."""
        self._settings = settings
        self._rooms = rooms
        self._identity = identity
        self._entropy = entropy
        self._entries: dict[str, _Entry] = {}
        self._here: set[str] = set()
        self._by_source: Counter[str] = Counter()
        self._elsewhere: dict[tuple[Address, int], Placed] = {}

    def __len__(self) -> int:
        return len(self._here)

    @property
    def names_kept(self) -> int:
        """Names registered now, and names kept for owners who are away."""
        return len(self._entries)

    def handle(
        self, message: ClientMessage, cookie: bytes, source: Address, now_ns: int
    ) -> ServerMessage | Asking | None:
        """The reply to a client's message, or None where it has none; ASKING where it is to be handled again."""
        reply: ServerMessage | Asking | None = None
        match message:
            case Register():
                reply = self._register(message, cookie, source, now_ns)
            case Ring():
                reply = self._ring(message, source, now_ns)
            case Join():
                reply = self._join(message, source, now_ns)
            case Release():
                self._rooms.release(message.call, source)
            case Unregister():
                self._unregister(message, cookie, now_ns)
        if isinstance(reply, Denied):
            self.counts.denied += 1
            log.info("denied", extra={"fields": {"reason": str(reply.reason)}, "who": {"detail": reply.detail}})
        return reply

    def invitation(
        self, name: str, call: int, ticket: bytes, relay: Address, now_ns: int
    ) -> tuple[Invite, Address] | None:
        """What to tell `name` of a call through another server, and where; None where it is not here."""
        entry = self._entries.get(name)
        if entry is None or entry.expires_ns <= now_ns:
            return None
        return Invite(0, call, entry.secret, ticket, relay), entry.address

    def expire(self, now_ns: int) -> None:
        """Note who is away, and forget names that were not used for long."""
        for name in [n for n in self._here if self._entries[n].expires_ns <= now_ns]:
            self._leave(name)
        if len(self._entries) > len(self._here):
            gone_ns = now_ns - self._settings.name_hold_s * NS_PER_S
            for name in [n for n, e in self._entries.items() if n not in self._here and e.expires_ns <= gone_ns]:
                del self._entries[name]

    # ---- names -----------------------------------------------------------------------------------
    def _register(self, message: Register, cookie: bytes, source: Address, now_ns: int) -> ServerMessage | Asking:
        self.counts.registers += 1
        if not message.name:
            return _denied(message, EndReason.SERVER, "a name is needed")
        request = claim("register", message.name, message.id, cookie)
        if not is_proven(self._identity, message.key, request, message.proof):
            return _denied(message, EndReason.SERVER, "the client does not hold the key that it names")
        owner = self._owner(message)
        if isinstance(owner, Asking):
            return owner
        if owner != message.key:
            detail = f"the name {message.name} belongs to another key; take another name"
            return _denied(message, EndReason.SERVER, detail)
        if message.name not in self._here:
            if full := self._full(message.name not in self._entries, source):
                return _denied(message, EndReason.SERVER, full)
            log.info("a name is registered", extra={"who": {"name": message.name, "address": source}})
        else:
            self._note_away(message.name)
        secret = self._arrive(message, source, now_ns)
        return Registered(0, message.id, self._settings.registration_lifetime_s, source, secret)

    def _owner(self, message: Register) -> bytes | Asking:
        """The key that a name belongs to, from now on perhaps the one that asks for it."""
        entry = self._entries.get(message.name)
        if self.others is not None and (entry is None or message.name not in self._here):
            return self.others.owner(message.name, message.key)
        return entry.key if entry is not None else message.key

    def _full(self, is_new: bool, source: Address) -> str:
        """Why there is no room for one more name here, or nothing."""
        if self._by_source[network_of(source)] >= MAX_NAMES_OF_SOURCE:
            return "as many names as one address may have are registered from yours"
        if not is_new or len(self._entries) < self._settings.max_registrations:
            return ""
        away = min((n for n in self._entries if n not in self._here), default=None, key=self._expiry)
        if away is None:
            return "the server holds as many names as it may"
        del self._entries[away]
        return ""

    def _expiry(self, name: str) -> int:
        return self._entries[name].expires_ns

    def _arrive(self, message: Register, source: Address, now_ns: int) -> bytes:
        """Note where a name is; the secret of its invitations (none where there are no other servers)."""
        name = message.name
        expires_ns = now_ns + self._settings.registration_lifetime_s * NS_PER_S
        before = self._entries.get(name)
        secret = before.secret if before is not None else b""
        if self.others is not None:
            secret = secret or self._entropy(TICKET_BYTES)
            self.others.keep(name)
        self._entries[name] = _Entry(message.key, source, expires_ns, message.id, secret)
        self._here.add(name)
        self._by_source[network_of(source)] += 1
        return secret

    def _leave(self, name: str) -> None:
        """The owner of a name is away; the name stays its own."""
        self._note_away(name)
        if self.others is not None:
            self.others.leave(name)

    def _note_away(self, name: str) -> None:
        self._here.discard(name)
        network = network_of(self._entries[name].address)
        self._by_source[network] -= 1
        if not self._by_source[network]:
            del self._by_source[network]

    def _unregister(self, message: Unregister, cookie: bytes, now_ns: int) -> None:
        """Only by the owner, and not by an old message sent once more."""
        entry = self._entries.get(message.name)
        if entry is None or message.name not in self._here or message.key != entry.key or message.id <= entry.last_id:
            return
        if is_proven(self._identity, message.key, claim("unregister", message.name, message.id, cookie), message.proof):
            self._leave(message.name)
            entry.expires_ns = now_ns

    # ---- calls -----------------------------------------------------------------------------------
    def _ring(self, message: Ring, source: Address, now_ns: int) -> ServerMessage | Asking:
        self.counts.rings += 1
        if self.closing:
            return _denied(message, EndReason.SERVER, "the server is about to stop; call again in a minute")
        entry = self._entries.get(message.name)
        if entry is not None and entry.expires_ns > now_ns:
            if entry.address == source:
                return _denied(message, EndReason.SERVER, "a client cannot call itself")
            if self.others is None:
                return self._place(message, entry.address, source, now_ns)
            return self._place_among(self.others, message, self.others.here, source, now_ns)
        return self._ring_elsewhere(message, source, now_ns)

    def _ring_elsewhere(self, message: Ring, source: Address, now_ns: int) -> ServerMessage | Asking:
        home = self.others.home(message.name) if self.others is not None else None
        if isinstance(home, Asking):
            return home
        if self.others is None or home is None or home == self.others.here:
            return _denied(message, EndReason.OFFLINE, f"{clip(message.name)} is not registered here")
        return self._place_among(self.others, message, home, source, now_ns)

    def _place(self, message: Ring, callee: Address, source: Address, now_ns: int) -> ServerMessage:
        placed = self._rooms.place(source, callee, message.id, now_ns)
        if placed is None:
            return _denied(message, EndReason.SERVER, "the server relays as many calls as it may")
        call, ticket = placed
        return Placed(0, message.id, call, source, ticket)

    def _place_among(self, others: Others, message: Ring, home: Address, source: Address, now_ns: int) -> ServerMessage:
        """Have the call relayed by the server that its connection id leads to; this one or another one."""
        request = (source, message.id)
        placed = self._elsewhere.get(request)
        if placed is None:
            call, ticket = self._rooms.draw()
            relay = others.relay_for(call)
            callee = self._entries.get(message.name) if home == others.here else None
            if relay == others.here and callee is not None:
                return self._place(message, callee.address, source, now_ns)
            placed = Placed(0, message.id, call, source, ticket, relay)
            while len(self._elsewhere) >= MAX_ELSEWHERE:
                del self._elsewhere[next(iter(self._elsewhere))]
            self._elsewhere[request] = placed
        assert placed.relay is not None
        others.invite(home, message.name, placed.call, placed.ticket, placed.relay)
        return placed

    def _join(self, message: Join, source: Address, now_ns: int) -> ServerMessage:
        self.counts.joins += 1
        why_not = self._rooms.join(message.call, message.side, message.ticket, source, now_ns)
        return _denied(message, EndReason.SERVER, why_not) if why_not else Joined(0, message.id, source)


def _denied(message: Register | Ring | Join, reason: EndReason, detail: str) -> Denied:
    return Denied(0, message.id, reason, detail)
