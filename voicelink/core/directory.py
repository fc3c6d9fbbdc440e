"""Names and where they are: the server's table of registrations, and its answers to clients."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

from voicelink.core.events import EndReason
from voicelink.core.relay import Relay
from voicelink.settings import Address, ServerSettings
from voicelink.units import NS_PER_S
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
)
from voicelink.wire.schema import clip

#: Keyed hash of the server's own, for cookies: at least 16 bytes for any input.
Mac: TypeAlias = Callable[[bytes], bytes]

COOKIE_BYTES: Final = 16
#: A cookie is good for one to two of these.
COOKIE_EPOCH_NS: Final = 60 * NS_PER_S


@dataclass(slots=True)
class DirectoryCounts:
    """What the directory did since it was made."""

    registers: int = 0
    rings: int = 0
    retries: int = 0
    denied: int = 0


@dataclass(slots=True)
class _Entry:
    address: Address
    token: bytes
    expires_ns: int


def _same_holder(entry: _Entry, message: Register, source: Address) -> bool:
    """By the token after a change of address; by the address (which a cookie has proved) after a restart."""
    return entry.token == message.token or entry.address == source


class Directory:
    """Registrations by name. No state is made for an address that has not shown a cookie of ours."""

    def __init__(self, settings: ServerSettings, relay: Relay, mac: Mac) -> None:
        self.counts = DirectoryCounts()
        self._settings = settings
        self._relay = relay
        self._mac = mac
        self._entries: dict[str, _Entry] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def handle(self, message: ClientMessage, source: Address, now_ns: int) -> ServerMessage | None:
        """The reply to a client's message, or None where it has none."""
        if isinstance(message, (Register, Ring)):
            if message.cookie not in self._cookies(source, now_ns):
                self.counts.retries += 1
                return Retry(0, message.id, self._cookies(source, now_ns)[0])
            reply = self._answer(message, source, now_ns)
            self.counts.denied += isinstance(reply, Denied)
            return reply
        if isinstance(message, Release):
            self._relay.release(message.call, source)
        elif (entry := self._entries.get(message.name)) and entry.token == message.token:
            del self._entries[message.name]
        return None

    def expire(self, now_ns: int) -> None:
        """Forget names that were not refreshed."""
        self._entries = {n: e for n, e in self._entries.items() if e.expires_ns > now_ns}

    def _answer(self, message: Register | Ring, source: Address, now_ns: int) -> ServerMessage:
        if isinstance(message, Register):
            return self._register(message, source, now_ns)
        return self._ring(message, source, now_ns)

    def _register(self, message: Register, source: Address, now_ns: int) -> ServerMessage:
        self.counts.registers += 1
        entry = self._entries.get(message.name)
        if not message.name:
            return Denied(0, message.id, EndReason.SERVER, "a name is needed")
        if entry is not None and entry.expires_ns > now_ns and not _same_holder(entry, message, source):
            left_s = -(-(entry.expires_ns - now_ns) // NS_PER_S)
            detail = f"the name {message.name} is in use; take another, or try again in {left_s} s if it was yours"
            return Denied(0, message.id, EndReason.SERVER, detail)
        if entry is None and len(self._entries) >= self._settings.max_registrations:
            return Denied(0, message.id, EndReason.SERVER, "the server holds as many names as it may")
        lifetime_s = self._settings.registration_lifetime_s
        self._entries[message.name] = _Entry(source, message.token, now_ns + lifetime_s * NS_PER_S)
        return Registered(0, message.id, lifetime_s, source)

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

    def _cookies(self, source: Address, now_ns: int) -> tuple[bytes, bytes]:
        """The cookies that `source` may show now; the first is the newer one."""
        epoch = now_ns // COOKIE_EPOCH_NS
        now, before = (self._mac(f"{source[0]} {source[1]} {e}".encode()) for e in (epoch, epoch - 1))
        return now[:COOKIE_BYTES], before[:COOKIE_BYTES]
