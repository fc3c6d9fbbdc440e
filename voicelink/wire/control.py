"""Control messages between the two ends of a call: msgpack maps with kind `t` and id `id`; reports as plain numbers.

Requests (hello, answer, refuse, end, probe, moved, status) are sent again until a message with `to` = their id comes
back; their receiver may see them more than once. Reports need no reply.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, fields, replace
from typing import Any, Final, TypeAlias

from voicelink.errors import ControlError
from voicelink.settings import MAX_FRAMES_PER_PACKET, Address
from voicelink.units import MAX_BITS_PER_FRAME
from voicelink.wire.media import FEEDBACK_BYTES, Feedback
from voicelink.wire.schema import (
    address,
    blob,
    decode,
    encode,
    flag,
    from_map,
    integer,
    many,
    optional,
    part,
    record,
    text,
    to_map,
)

MAX_NAME_BYTES: Final = 64
MAX_CANDIDATES: Final = 8
MAX_MODELS: Final = 8
MAX_U32: Final = 0xFFFF_FFFF
#: What a server gives to both ends of a call, so that they find their place at a relay again.
TICKET_BYTES: Final = 16

_U32 = integer(0, MAX_U32)
_NAME = text(MAX_NAME_BYTES)
_CANDIDATES = many(address, MAX_CANDIDATES)
_TICKET = blob(TICKET_BYTES)


@dataclass(frozen=True, slots=True)
class Offer:
    """What one end can do. Raises ValueError where a range is empty."""

    models: tuple[str, ...] = part(many(_NAME, MAX_MODELS))
    """Best first."""
    bits_min: int = part(integer(1, MAX_BITS_PER_FRAME))
    bits_max: int = part(integer(1, MAX_BITS_PER_FRAME))
    frames: int = part(integer(1, MAX_FRAMES_PER_PACKET))
    """Frames a packet wanted, within frames_min..frames_max."""
    frames_min: int = part(integer(1, MAX_FRAMES_PER_PACKET))
    frames_max: int = part(integer(1, MAX_FRAMES_PER_PACKET))
    feedback: bool = optional(flag, False)
    """Whether this end wants to be told how its media arrives: its rate follows that."""

    def __post_init__(self) -> None:
        if self.bits_min > self.bits_max:
            raise ValueError(f"bits {self.bits_min}..{self.bits_max} is an empty range")
        if not self.frames_min <= self.frames <= self.frames_max:
            raise ValueError(f"{self.frames} frames a packet is not in {self.frames_min}..{self.frames_max}")


_OFFER = record(Offer)


@dataclass(frozen=True, slots=True)
class Hello:
    """Caller to callee: a call."""

    id: int = part(_U32)
    name: str = part(_NAME)
    offer: Offer = part(_OFFER)  # noqa: RUF009 (makes a field)
    candidates: tuple[Address, ...] = part(_CANDIDATES)
    ticket: bytes = optional(_TICKET, b"")
    """The call's ticket at its relay, for the callee."""


@dataclass(frozen=True, slots=True)
class Ringing:
    """Callee to caller, reply to hello: the user is being asked."""

    id: int = part(_U32)
    to: int = part(_U32)


@dataclass(frozen=True, slots=True)
class Answer:
    """Callee to caller: accepted. Both ends now negotiate from the two offers."""

    id: int = part(_U32)
    name: str = part(_NAME)
    offer: Offer = part(_OFFER)  # noqa: RUF009 (makes a field)
    candidates: tuple[Address, ...] = part(_CANDIDATES)


@dataclass(frozen=True, slots=True)
class Refuse:
    """Callee to caller: no call. `reason` is an EndReason's text."""

    id: int = part(_U32)
    reason: str = part(text(32))
    detail: str = part(text())


@dataclass(frozen=True, slots=True)
class End:
    """Either end: the call is over. `reason` is an EndReason's text."""

    id: int = part(_U32)
    reason: str = part(text(32))
    detail: str = part(text())


@dataclass(frozen=True, slots=True)
class Probe:
    """Does this path work? Answered by Ok over the same path."""

    id: int = part(_U32)


@dataclass(frozen=True, slots=True)
class Moved:
    """Either end: my addresses are these now. Answered by Ok."""

    id: int = part(_U32)
    candidates: tuple[Address, ...] = part(_CANDIDATES)


@dataclass(frozen=True, slots=True)
class Status:
    """Either end: how I take part in the call from now on. Answered by Ok; of several the highest id counts."""

    id: int = part(_U32)
    muted: bool = part(flag)
    holding: bool = part(flag)
    deaf: bool = part(flag)
    """The sender does not listen."""
    silent: bool = part(flag)
    """The sender sends no media from `frame` on, whatever the reason."""
    frame: int = part(integer(0, 0xFFFF))
    """The 16 low bits of the index of its next frame."""
    bits: int = part(integer(1, MAX_BITS_PER_FRAME))
    """Most bits a frame that the sender of this wants to be sent."""


@dataclass(frozen=True, slots=True)
class Ok:
    """Reply to answer, refuse, end, probe, moved or status."""

    id: int = part(_U32)
    to: int = part(_U32)


@dataclass(frozen=True, slots=True)
class Report:
    """Receiver report, once an interval: ten 32-bit numbers. Times in us, modulo 2^32; as RFC 3550 section 6.4.1."""

    id: int
    sent_us: int
    """The sender's clock when this left."""
    echo_us: int
    """`sent_us` of the last report received; meaningless where `held_us` is MAX_U32."""
    held_us: int
    """How long ago that was; MAX_U32 where none came yet."""
    received: int
    lost: int
    late: int
    concealed: int
    jitter_us: int
    buffer_us: int
    feedback: Feedback | None = None
    """The same as in media, for an end that sends none."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """Some messages in one datagram, whose body has `size` bytes whatever they are. Not one of themselves."""

    messages: tuple[ControlMessage, ...]
    size: int


ControlMessage: TypeAlias = Hello | Ringing | Answer | Refuse | End | Probe | Moved | Status | Ok | Report

_CLASSES: Final[dict[str, type[ControlMessage]]] = {
    cls.__name__.lower(): cls for cls in (Hello, Ringing, Answer, Refuse, End, Probe, Moved, Status, Ok)
}


#: A report's first byte, which begins no map, and its numbers: they are always there, and always as long. A bundle's.
_REPORT_BYTE: Final = 1
_BUNDLE_BYTE: Final = 2
MAX_BUNDLED: Final = 4
_REPORT: Final = struct.Struct(">B10I")


def encode_control(message: ControlMessage) -> bytes:
    """The body of a control datagram."""
    if isinstance(message, Report):
        numbers = (getattr(message, f.name) for f in fields(message) if f.name != "feedback")
        told = b"" if message.feedback is None else bytes(message.feedback)
        return _REPORT.pack(_REPORT_BYTE, *numbers) + told
    return encode_message(message)


def parse_control(body: bytes) -> ControlMessage:
    """The message in `body`; `parse_control(encode_control(m)) == m`. Raises ControlError."""
    if body[:1] == bytes([_REPORT_BYTE]):
        told = body[_REPORT.size :]
        if len(body) < _REPORT.size or len(told) not in (0, FEEDBACK_BYTES):
            raise ControlError(f"a report of {len(body)} bytes; it has {_REPORT.size}, with feedback 12 more")
        numbers = _REPORT.unpack_from(body)[1:]
        report = Report(*numbers)
        return replace(report, feedback=Feedback.parse(told)) if told else report
    message: ControlMessage = parse_message(body, _CLASSES)
    return message


def encode_bundle(bundle: Bundle) -> bytes:
    """The body of a control datagram with several messages, filled up with zeros. Raises ValueError where they are more
    than it holds.
    """
    parts = [encode_control(message) for message in bundle.messages]
    body = bytes([_BUNDLE_BYTE]) + b"".join(bytes([len(part)]) + part for part in parts)
    if len(body) > bundle.size or not 1 <= len(parts) <= MAX_BUNDLED:
        raise ValueError(f"{len(parts)} messages of {len(body)} bytes do not fit a body of {bundle.size}")
    return body + bytes(bundle.size - len(body))


def parse_body(body: bytes) -> tuple[ControlMessage, ...]:
    """The messages of a control datagram: one, or those of a bundle. Raises ControlError."""
    if body[:1] != bytes([_BUNDLE_BYTE]):
        return (parse_control(body),)
    at, messages = 1, list[ControlMessage]()
    while at < len(body) and body[at] and len(messages) < MAX_BUNDLED:
        part = body[at + 1 : at + 1 + body[at]]
        if len(part) < body[at]:
            raise ControlError(f"a bundle ends within a message of {body[at]} bytes")
        messages.append(parse_control(part))
        at += 1 + body[at]
    if not messages or any(body[at:]):
        raise ControlError("a bundle without a message, with too many, or not filled with zeros")
    return tuple(messages)


def encode_message(message: Any) -> bytes:
    """Any message dataclass as msgpack, its class name in lower case under `t`."""
    return encode({"t": type(message).__name__.lower(), **to_map(message)})


def parse_message(body: bytes, classes: dict[str, Any]) -> Any:
    """The message in `body` as one of `classes`. Raises ControlError."""
    value = decode(body)
    if not isinstance(value, dict):
        raise ControlError("control message is not a map")
    kind = value.get("t")
    if not isinstance(kind, str) or kind not in classes:
        raise ControlError("control message of an unknown kind")
    return from_map(classes[kind], value)
