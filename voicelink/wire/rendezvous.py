"""Control messages between a client and the rendezvous server.

A client's body starts with a cookie of 16 bytes, in a fixed place, so that the server can tell an address that has
shown one before it reads anything else; the connection id in the header repeats the request's id. A request without a
good cookie gets a `retry` with one and leaves no state; the client sends it again. Requests are padded so that no reply
is longer.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, TypeAlias, TypeVar

from voicelink.errors import PacketError
from voicelink.settings import Address
from voicelink.wire.control import MAX_NAME_BYTES, MAX_U32, TICKET_BYTES, encode_message, parse_message
from voicelink.wire.handshake import COOKIE_BYTES, NO_COOKIE, PUBLIC_BYTES
from voicelink.wire.schema import Taker, address, blob, integer, optional, part, text

PROOF_BYTES: Final = 16
#: The body of every request is at least so long, hence no reply of the server is longer than its request.
REQUEST_BYTES: Final = 400

_U32 = integer(0, MAX_U32)
_NAME = text(MAX_NAME_BYTES)
_COOKIE = blob(COOKIE_BYTES)
_KEY = blob(PUBLIC_BYTES)
_PROOF = blob(PROOF_BYTES)
_PAD = blob(REQUEST_BYTES)
_ADDRESS = address
_TICKET = blob(TICKET_BYTES)
_CALL = integer(1, MAX_U32)


def _maybe(take: Taker) -> Taker:
    """What `take` takes, or nothing."""
    return lambda value: None if value is None else take(value)


@dataclass(frozen=True, slots=True)
class Register:
    """Client: hold `name` for me; sent again before its lifetime ends."""

    id: int = part(_U32)
    name: str = part(_NAME)
    key: bytes = part(_KEY)
    """The client's public identity key: a name belongs to the first key that it was registered with."""
    proof: bytes = part(_PROOF)
    """That the client holds the private key (`secure/possession.py`)."""
    pad: bytes = part(_PAD)


@dataclass(frozen=True, slots=True)
class Unregister:
    """Client: forget `name`. No reply."""

    id: int = part(_U32)
    name: str = part(_NAME)
    key: bytes = part(_KEY)
    proof: bytes = part(_PROOF)


@dataclass(frozen=True, slots=True)
class Ring:
    """Client: connect me with who is registered as `name`."""

    id: int = part(_U32)
    name: str = part(_NAME)
    pad: bytes = part(_PAD)


@dataclass(frozen=True, slots=True)
class Release:
    """Client: the call with connection id `call` is over. No reply."""

    id: int = part(_U32)
    call: int = part(_U32)


@dataclass(frozen=True, slots=True)
class Join:
    """Client: relay the call `call` between me and who else shows its ticket, from where I am now.

    The caller is side 0, the callee side 1. Sent where nothing is heard of the peer (the relay may have been restarted,
    or our address may have changed), and at first to a relay that is not the server asked.
    """

    id: int = part(_U32)
    call: int = part(_CALL)
    side: int = part(integer(0, 1))
    ticket: bytes = part(_TICKET)
    pad: bytes = part(_PAD)


@dataclass(frozen=True, slots=True)
class Retry:
    """Server: send request `to` again with this cookie."""

    id: int = part(_U32)
    to: int = part(_U32)
    cookie: bytes = part(_COOKIE)
    key: bytes = part(_KEY)
    """The server's public key, for proofs of possession."""


@dataclass(frozen=True, slots=True)
class Registered:
    """Server, reply to register: the name is yours for `lifetime_s`."""

    id: int = part(_U32)
    to: int = part(_U32)
    lifetime_s: int = part(integer(1, 86_400))
    you: Address = part(_ADDRESS)  # noqa: RUF009 (makes a field)
    """The client's address as the server sees it."""
    secret: bytes = optional(_TICKET, b"")
    """What later invitations to this client bear, so that nobody else can invite it."""


@dataclass(frozen=True, slots=True)
class Placed:
    """Server, reply to ring: datagrams with connection id `call` are now relayed between the two.

    Where `relay` names another server, that one does so, once both have joined there.
    """

    id: int = part(_U32)
    to: int = part(_U32)
    call: int = part(_CALL)
    you: Address = part(_ADDRESS)  # noqa: RUF009 (makes a field)
    ticket: bytes = optional(_TICKET, b"")
    relay: Address | None = optional(_maybe(address), None)  # noqa: RUF009 (makes a field)


@dataclass(frozen=True, slots=True)
class Joined:
    """Server, reply to join."""

    id: int = part(_U32)
    to: int = part(_U32)
    you: Address = part(_ADDRESS)  # noqa: RUF009 (makes a field)


@dataclass(frozen=True, slots=True)
class Invite:
    """Server, unasked, to a registered client: somebody calls through `relay`; join there. `to` is the call."""

    id: int = part(_U32)
    to: int = part(_CALL)
    secret: bytes = part(_TICKET)
    ticket: bytes = part(_TICKET)
    relay: Address = part(_ADDRESS)  # noqa: RUF009 (makes a field)


@dataclass(frozen=True, slots=True)
class Closing:
    """Server, unasked, to both ends of a call it relays: it stops within `in_s`. `to` is the call."""

    id: int = part(_U32)
    to: int = part(_CALL)
    in_s: int = part(integer(0, 86_400))


@dataclass(frozen=True, slots=True)
class Denied:
    """Server, reply to register, ring or join: no. `reason` is an EndReason's text."""

    id: int = part(_U32)
    to: int = part(_U32)
    reason: str = part(text(32))
    detail: str = part(text())


Request: TypeAlias = Register | Ring | Join
ClientMessage: TypeAlias = Register | Unregister | Ring | Release | Join
ServerMessage: TypeAlias = Retry | Registered | Placed | Joined | Invite | Closing | Denied
R = TypeVar("R", bound=Request)

_FROM_CLIENT: Final[dict[str, type[ClientMessage]]] = {
    cls.__name__.lower(): cls for cls in (Register, Unregister, Ring, Release, Join)
}
_FROM_SERVER: Final[dict[str, type[ServerMessage]]] = {
    cls.__name__.lower(): cls for cls in (Retry, Registered, Placed, Joined, Invite, Closing, Denied)
}


def encode_request(message: ClientMessage, cookie: bytes) -> bytes:
    """The body of a client's datagram."""
    return cookie + encode_message(message)


def encode_reply(message: ServerMessage) -> bytes:
    """The body of a server's datagram."""
    return encode_message(message)


def cookie_of(body: bytes) -> bytes:
    """The cookie in a client's body. Raises PacketError for a body that is too short for one."""
    if len(body) <= COOKIE_BYTES:
        raise PacketError(f"a request of {len(body)} bytes")
    return body[:COOKIE_BYTES]


def parse_request(body: bytes) -> ClientMessage:
    """What a client sent, apart from the cookie. Raises ControlError."""
    message: ClientMessage = parse_message(body[COOKIE_BYTES:], _FROM_CLIENT)
    return message


def parse_reply(body: bytes) -> ServerMessage:
    """What a server sent. Raises ControlError."""
    message: ServerMessage = parse_message(body, _FROM_SERVER)
    return message


def padded(request: R) -> R:
    """`request` with its pad set so that its body has REQUEST_BYTES bytes, give or take two."""
    bare = len(encode_request(replace(request, pad=b""), NO_COOKIE))
    return replace(request, pad=bytes(max(0, REQUEST_BYTES - bare)))
