"""Bodies of handshake datagrams: the envelope around the Noise messages, cookies and refusals.

Fixed sizes throughout. `Init` is the longest that travels to an address which has not answered yet, and no reply to
it is longer, so that nobody can be flooded through us.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar, Final, TypeAlias

from voicelink.errors import PacketError

COOKIE_BYTES: Final = 16
NO_COOKIE: Final = bytes(COOKIE_BYTES)
PUBLIC_BYTES: Final = 32
ECHO_BYTES: Final = 16
#: Every Init has this size; a Reply, the longest answer, has 97 bytes.
INIT_BYTES: Final = 100
INIT_NOISE_BYTES: Final = INIT_BYTES - 2 - COOKIE_BYTES
REPLY_NOISE_BYTES: Final = 96
#: Ephemeral, sealed static key, and the tag of an empty payload.
FINAL_NOISE_MIN_BYTES: Final = 64


class Pattern(IntEnum):
    """Which handshake a caller begins."""

    XX = 0
    XXPSK3 = 1  # with a passphrase


class RefusalCode(IntEnum):
    """Why a handshake is refused."""

    VERSION = 1  # the protocol's version
    BUSY = 2  # in another call
    NO_PASSPHRASE = 3  # the caller uses a passphrase, the callee none
    NEEDS_PASSPHRASE = 4  # the callee wants one
    WRONG_PASSPHRASE = 5
    TAMPERED = 6  # what arrived is not what the caller sent


@dataclass(frozen=True, slots=True)
class Init:
    """Caller to callee, first: the Noise message `-> e`, after a cookie where the callee asked for one."""

    type: ClassVar[int] = 1
    pattern: Pattern
    cookie: bytes
    noise: bytes

    def __bytes__(self) -> bytes:
        return bytes([self.type, self.pattern]) + self.cookie + self.noise

    @property
    def echo(self) -> bytes:
        """What a reply repeats to show that it answers this message: the start of the caller's ephemeral key."""
        return self.noise[:ECHO_BYTES]


@dataclass(frozen=True, slots=True)
class Reply:
    """Callee to caller: the Noise message `<- e, ee, s, es`."""

    type: ClassVar[int] = 2
    noise: bytes

    def __bytes__(self) -> bytes:
        return bytes([self.type]) + self.noise


@dataclass(frozen=True, slots=True)
class Finish:
    """Caller to callee: the Noise message `-> s, se` (and psk); its payload holds the hello."""

    type: ClassVar[int] = 3
    noise: bytes

    def __bytes__(self) -> bytes:
        return bytes([self.type]) + self.noise


@dataclass(frozen=True, slots=True)
class Cookie:
    """Callee to caller: send your Init again with this cookie."""

    type: ClassVar[int] = 4
    echo: bytes
    cookie: bytes

    def __bytes__(self) -> bytes:
        return bytes([self.type]) + self.echo + self.cookie


@dataclass(frozen=True, slots=True)
class Refusal:
    """Callee to caller: no. `proof` shows that it comes from whom the handshake is with.

    In reply to an Init that is its echo; in reply to a Finish a tag under a key that only the two ends have.
    """

    type: ClassVar[int] = 5
    code: RefusalCode
    proof: bytes

    def __bytes__(self) -> bytes:
        return bytes([self.type, self.code]) + self.proof


HandshakeMessage: TypeAlias = Init | Reply | Finish | Cookie | Refusal


def parse_handshake(body: bytes) -> HandshakeMessage:
    """The message in `body`; `bytes(message)` is the inverse. Raises PacketError."""
    kind = body[0] if body else 0
    if kind == Finish.type and len(body) > FINAL_NOISE_MIN_BYTES:
        return Finish(body[1:])
    if len(body) != _SIZES.get(kind):
        raise PacketError(f"handshake message {kind} of {len(body)} bytes")
    try:
        if kind == Init.type:
            return Init(Pattern(body[1]), body[2 : 2 + COOKIE_BYTES], body[2 + COOKIE_BYTES :])
        if kind == Refusal.type:
            return Refusal(RefusalCode(body[1]), body[2:])
    except ValueError as error:
        raise PacketError(f"handshake message {kind}: {error}") from None
    if kind == Reply.type:
        return Reply(body[1:])
    return Cookie(body[1 : 1 + ECHO_BYTES], body[1 + ECHO_BYTES :])


_SIZES: Final = {
    Init.type: INIT_BYTES,
    Reply.type: 1 + REPLY_NOISE_BYTES,
    Cookie.type: 1 + ECHO_BYTES + COOKIE_BYTES,
    Refusal.type: 2 + ECHO_BYTES,
}
