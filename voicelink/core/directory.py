"""Names and where they are: the server's table of registrations, and its answers to clients."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Final

from voicelink.core.buckets import network_of
from voicelink.core.events import EndReason
from voicelink.core.relay import Relay
from voicelink.secure.identity import Identity
from voicelink.secure.possession import claim, is_proven
from voicelink.settings import Address, ServerSettings
from voicelink.units import NS_PER_S
from voicelink.wire.rendezvous import (
    ClientMessage,
    Denied,
    Placed,
    Register,
    Registered,
    Release,
    Ring,
    ServerMessage,
    Unregister,
)
from voicelink.wire.schema import clip

#: Names of one address (or IPv6 /64): a household, an office behind one NAT.
MAX_NAMES_OF_SOURCE: Final = 64


@dataclass(slots=True)
class DirectoryCounts:
    """What the directory did since it was made."""

    registers: int = 0
    rings: int = 0
    denied: int = 0


@dataclass(slots=True)
class _Entry:
    """A name: whose it is, and where its owner is while `expires_ns` lies ahead."""

    key: bytes
    address: Address
    expires_ns: int
    last_id: int


class Directory:
    """Registrations by name. Only addresses that have shown a cookie get here.

    A name belongs to the key that first registered it, for `name_hold_s` after it was last there. Expired names make
    room, the oldest first, where the table is full.
    """

    def __init__(self, settings: ServerSettings, relay: Relay, identity: Identity) -> None:
        self.counts = DirectoryCounts()
        self._settings = settings
        self._relay = relay
        self._identity = identity
        self._entries: dict[str, _Entry] = {}
        self._here: set[str] = set()
        self._by_source: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._here)

    @property
    def names_kept(self) -> int:
        """Names registered now, and names kept for owners who are away."""
        return len(self._entries)

    def handle(self, message: ClientMessage, cookie: bytes, source: Address, now_ns: int) -> ServerMessage | None:
        """The reply to a client's message, or None where it has none."""
        reply: ServerMessage | None = None
        match message:
            case Register():
                reply = self._register(message, cookie, source, now_ns)
            case Ring():
                reply = self._ring(message, source, now_ns)
            case Release():
                self._relay.release(message.call, source)
            case Unregister():
                self._unregister(message, cookie, now_ns)
        self.counts.denied += isinstance(reply, Denied)
        return reply

    def expire(self, now_ns: int) -> None:
        """Note who is away, and forget names that were not used for long."""
        for name in [n for n in self._here if self._entries[n].expires_ns <= now_ns]:
            self._leave(name)
        if len(self._entries) > len(self._here):
            gone_ns = now_ns - self._settings.name_hold_s * NS_PER_S
            for name in [n for n, e in self._entries.items() if n not in self._here and e.expires_ns <= gone_ns]:
                del self._entries[name]

    def _register(self, message: Register, cookie: bytes, source: Address, now_ns: int) -> ServerMessage:
        self.counts.registers += 1
        entry = self._entries.get(message.name)
        if not message.name:
            return Denied(0, message.id, EndReason.SERVER, "a name is needed")
        request = claim("register", message.name, message.id, cookie)
        if not is_proven(self._identity, message.key, request, message.proof):
            return Denied(0, message.id, EndReason.SERVER, "the client does not hold the key that it names")
        if entry is not None and entry.key != message.key:
            detail = f"the name {message.name} belongs to another key; take another name"
            return Denied(0, message.id, EndReason.SERVER, detail)
        if message.name not in self._here:
            if full := self._full(entry is None, source):
                return Denied(0, message.id, EndReason.SERVER, full)
        else:
            self._leave(message.name)
        self._arrive(message, source, now_ns)
        return Registered(0, message.id, self._settings.registration_lifetime_s, source)

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

    def _arrive(self, message: Register, source: Address, now_ns: int) -> None:
        expires_ns = now_ns + self._settings.registration_lifetime_s * NS_PER_S
        self._entries[message.name] = _Entry(message.key, source, expires_ns, message.id)
        self._here.add(message.name)
        self._by_source[network_of(source)] += 1

    def _leave(self, name: str) -> None:
        """The owner of a name is away; the name stays its own."""
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

    def _ring(self, message: Ring, source: Address, now_ns: int) -> ServerMessage:
        self.counts.rings += 1
        entry = self._entries.get(message.name)
        if entry is None or entry.expires_ns <= now_ns:
            return Denied(0, message.id, EndReason.OFFLINE, f"{clip(message.name)} is not registered here")
        if entry.address == source:
            return Denied(0, message.id, EndReason.SERVER, "a client cannot call itself")
        call = self._relay.bind(source, entry.address, message.id, now_ns)
        if call is None:
            return Denied(0, message.id, EndReason.SERVER, "the server relays as many calls as it may")
        return Placed(0, message.id, call, source)
