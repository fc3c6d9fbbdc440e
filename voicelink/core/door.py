"""The callee's side of handshakes: who may come in, and how many may stand before the door at a time.

A handshake costs a callee five X25519 operations (about a millisecond in all) and a slot in a small table. Where more
come than a user can want, an address has to show a cookie first, as in WireGuard: then a forged source address gets
nothing but a cookie, which is shorter than what it sent.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from voicelink.core.buckets import SourceBuckets, TokenBucket
from voicelink.core.link import CallLink
from voicelink.secure.cookies import Cookies
from voicelink.secure.handshake import Callee, Secrets
from voicelink.secure.identity import Credentials
from voicelink.secure.noise import NoiseError
from voicelink.settings import Address
from voicelink.units import NS_PER_MS, NS_PER_S
from voicelink.wire.control import Refuse
from voicelink.wire.handshake import Cookie, Finish, HandshakeMessage, Init, Pattern, Refusal, RefusalCode

MAX_WAITING: Final = 16
#: From so many handshakes in progress on, or over this rate, a cookie is asked for.
BUSY_WAITING: Final = 4
FREE_PER_S: Final = 10
#: With a cookie, each address; the relay stands for all who call through it.
PROVEN_PER_S: Final = 10
LIFE_NS: Final = 10 * NS_PER_S
#: A Finish that does not open may be somebody else's; the caller repeats the true one for so long.
PATIENCE_NS: Final = 500 * NS_PER_MS


@dataclass(slots=True)
class Visitor:
    """A handshake in progress, or one whose caller was turned away."""

    source: Address
    init: Init
    callee: Callee
    began_ns: int
    spoiled_ns: int | None = None
    refused: RefusalCode | None = None
    finish: Finish | None = None
    """The caller's last message, once it proved true."""
    link: CallLink | None = None
    refuse: Refuse | None = None
    """What the caller is told, each time it asks again."""


@dataclass(frozen=True, slots=True)
class Entered:
    """A caller whose handshake is complete: its hello, still to be parsed, and the call's keys."""

    visitor: Visitor
    hello: bytes
    secrets: Secrets


class Door:
    """Handshakes by connection id and address."""

    def __init__(self, credentials: Credentials, entropy: Callable[[int], bytes]) -> None:
        self._credentials = credentials
        self._entropy = entropy
        self._cookies = Cookies(entropy)
        self._free = TokenBucket(FREE_PER_S, FREE_PER_S)
        self._proven = SourceBuckets(PROVEN_PER_S, PROVEN_PER_S)
        self._refusals = TokenBucket(FREE_PER_S, FREE_PER_S)
        self._visitors: dict[tuple[int, Address], Visitor] = {}

    def __len__(self) -> int:
        return len(self._visitors)

    def visitor(self, connection_id: int, source: Address) -> Visitor | None:
        """The handshake in progress with `source`."""
        return self._visitors.get((connection_id, source))

    def refuse(self, code: RefusalCode, echo: bytes, now_ns: int) -> Refusal | None:
        """A refusal of the Init with this echo, or None where there were too many already."""
        return Refusal(code, echo) if self._refusals.take(now_ns) else None

    def knock(self, connection_id: int, init: Init, source: Address, now_ns: int) -> HandshakeMessage | None:
        """What to reply to an Init, if anything."""
        self._expire(now_ns)
        known = self._visitors.get((connection_id, source))
        if known is not None:
            return known.callee.reply if known.init.noise == init.noise and known.finish is None else None
        if (init.pattern is Pattern.XXPSK3) != (self._credentials.psk is not None):
            has = init.pattern is Pattern.XXPSK3
            code = RefusalCode.NO_PASSPHRASE if has else RefusalCode.NEEDS_PASSPHRASE
            return self.refuse(code, init.echo, now_ns)
        proven = self._cookies.is_good(init.cookie, source, now_ns)
        if proven:
            if not self._proven.take(source, now_ns):
                return None
        elif len(self._visitors) >= BUSY_WAITING or not self._free.take(now_ns):
            return Cookie(init.echo, self._cookies.make(source, now_ns))
        return self._let_stand(connection_id, init, source, now_ns)

    def enter(self, connection_id: int, finish: Finish, source: Address, now_ns: int) -> Entered | Refusal | None:
        """Take a Finish: a caller who may enter, a refusal to be sent, or None where it is to be passed over."""
        visitor = self._visitors.get((connection_id, source))
        if visitor is None or visitor.finish is not None:
            return None
        if visitor.refused is not None:
            return visitor.callee.refusal(visitor.refused)
        try:
            hello, secrets = visitor.callee.read(finish)
        except NoiseError as error:
            return self._spoiled(visitor, error, now_ns)
        visitor.finish = finish
        return Entered(visitor, hello, secrets)

    def _let_stand(self, connection_id: int, init: Init, source: Address, now_ns: int) -> HandshakeMessage | None:
        try:
            callee = Callee(connection_id, init, self._credentials, self._entropy)
        except NoiseError:
            return self.refuse(RefusalCode.TAMPERED, init.echo, now_ns)
        if len(self._visitors) >= MAX_WAITING:
            del self._visitors[next(iter(self._visitors))]
        self._visitors[connection_id, source] = Visitor(source, init, callee, now_ns)
        return callee.reply

    def _spoiled(self, visitor: Visitor, error: NoiseError, now_ns: int) -> Refusal | None:
        """A Finish did not open: at once final where it is the caller's own, else when the true one stays away."""
        code = RefusalCode.TAMPERED
        if error.part == "payload" and self._credentials.psk is not None:
            code = RefusalCode.WRONG_PASSPHRASE
        elif error.part != "nonce":
            if visitor.spoiled_ns is None:
                visitor.spoiled_ns = now_ns
            if now_ns - visitor.spoiled_ns < PATIENCE_NS:
                return None
        visitor.refused = code
        return visitor.callee.refusal(code)

    def _expire(self, now_ns: int) -> None:
        old = [key for key, visitor in self._visitors.items() if now_ns - visitor.began_ns >= LIFE_NS]
        for key in old:
            del self._visitors[key]
