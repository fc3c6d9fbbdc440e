"""The datagram header that every datagram starts with, and the body of a media datagram before it is sealed.

Media and control bodies are sealed with the header as associated data (`secure/seal.py`).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from voicelink.errors import PacketError
from voicelink.settings import MAX_FRAMES_PER_PACKET
from voicelink.units import MAX_BITS_PER_FRAME
from voicelink.wire.bits import pack, unpack

VERSION: Final = 2
HEADER_BYTES: Final = 7
#: What sealing adds to a body: the authentication tag.
MEDIA_TAG_BYTES: Final = 8
CONTROL_TAG_BYTES: Final = 16
#: What a media datagram has beside its body.
MEDIA_OVERHEAD_BYTES: Final = HEADER_BYTES + MEDIA_TAG_BYTES
#: No datagram of ours is longer: it fits every path that IPv6 allows (RFC 8200 section 5) with headers.
MAX_DATAGRAM_BYTES: Final = 1200
#: The four-bit field would hold 15; more than 8 old frames are of no use to any buffer.
MAX_REDUNDANT_FRAMES: Final = 8

#: Bit 7 of the first byte: the parity of the key epoch in which a media or control datagram was sealed.
PHASE_BIT: Final = 0x80

_HEADER = struct.Struct(">BIH")
_MEDIA = struct.Struct(">HBB")


class Kind(IntEnum):
    """What a datagram's body is."""

    MEDIA = 1  # frames, end to end
    CONTROL = 2  # control messages, end to end
    SERVER = 3  # control messages between a client and the server
    HANDSHAKE = 4  # messages that lead to the keys, end to end


@dataclass(frozen=True, slots=True)
class Header:
    """The first 7 bytes: key phase, kind and version, connection id, low bits of the packet counter.

    `counter` holds the 16 low bits of a 64-bit counter of its own per connection, direction and kind. `version` is
    another than ours only in a handshake datagram, so that a peer can be told.
    """

    kind: Kind
    connection_id: int
    counter: int
    phase: int = 0
    version: int = VERSION

    def __bytes__(self) -> bytes:
        first = self.phase << 7 | self.kind << 4 | self.version
        return _HEADER.pack(first, self.connection_id, self.counter & 0xFFFF)


@dataclass(frozen=True, slots=True)
class MediaPacket:
    """Frames of one media datagram.

    `first_index` is the low 16 bits of the first new frame's index; `frames` are consecutive from there,
    all of `bits` bits. `redundant` are the frames just before `first_index`, oldest first, all of
    `redundant_bits` bits (0 where there are none). Payloads are as in `Frame.payload`.
    Raises ValueError for values that have no encoding.
    """

    first_index: int
    bits: int
    frames: tuple[bytes, ...]
    redundant_bits: int = 0
    redundant: tuple[bytes, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.first_index <= 0xFFFF:
            raise ValueError(f"frame index {self.first_index} does not fit 16 bits")
        if not 1 <= len(self.frames) <= MAX_FRAMES_PER_PACKET:
            raise ValueError(f"{len(self.frames)} frames in a packet; 1..{MAX_FRAMES_PER_PACKET} can be")
        if len(self.redundant) > MAX_REDUNDANT_FRAMES:
            raise ValueError(f"{len(self.redundant)} redundant frames; at most {MAX_REDUNDANT_FRAMES} can be")
        if not 1 <= self.bits <= MAX_BITS_PER_FRAME:
            raise ValueError(f"{self.bits} bits a frame; 1..{MAX_BITS_PER_FRAME} can be")
        if bool(self.redundant) != (1 <= self.redundant_bits <= MAX_BITS_PER_FRAME):
            raise ValueError(f"{self.redundant_bits} bits for {len(self.redundant)} redundant frames")

    def __bytes__(self) -> bytes:
        counts = len(self.frames) << 4 | len(self.redundant)
        head = _MEDIA.pack(self.first_index, self.bits, counts)
        if self.redundant:
            head += bytes([self.redundant_bits])
        codes = [(p, self.redundant_bits) for p in self.redundant] + [(p, self.bits) for p in self.frames]
        return head + pack(codes)

    @classmethod
    def parse(cls, body: bytes) -> MediaPacket:
        """The packet that `body` encodes; the inverse of `bytes(packet)`. Raises PacketError."""
        if len(body) < _MEDIA.size:
            raise PacketError(f"media body of {len(body)} bytes; at least {_MEDIA.size} are needed")
        first_index, bits, counts = _MEDIA.unpack_from(body)
        new, old = counts >> 4, counts & 0xF
        codes_at, redundant_bits = _MEDIA.size, 0
        if old:
            if len(body) == _MEDIA.size:
                raise PacketError("media body ends before the redundant frames' bits")
            codes_at, redundant_bits = _MEDIA.size + 1, body[_MEDIA.size]
        if max(bits, redundant_bits) > MAX_BITS_PER_FRAME:
            raise PacketError(f"{max(bits, redundant_bits)} bits a frame; 1..{MAX_BITS_PER_FRAME} can be")
        codes = unpack(body[codes_at:], [redundant_bits] * old + [bits] * new)
        try:
            return cls(first_index, bits, tuple(codes[old:]), redundant_bits, tuple(codes[:old]))
        except ValueError as error:
            raise PacketError(str(error)) from None


def join(header: Header, body: bytes) -> bytes:
    """The datagram of `header` and `body`."""
    return bytes(header) + body


def split(datagram: bytes) -> tuple[Header, bytes]:
    """Header and body of any datagram of ours. Raises PacketError for any other bytes."""
    if not HEADER_BYTES <= len(datagram) <= MAX_DATAGRAM_BYTES:
        raise PacketError(f"datagram of {len(datagram)} bytes; {HEADER_BYTES}..{MAX_DATAGRAM_BYTES} can be")
    first, connection_id, counter = _HEADER.unpack_from(datagram)
    kind = _KINDS.get(first >> 4 & 7)
    if first & 0xF != VERSION and kind is not Kind.HANDSHAKE:
        raise PacketError(f"protocol version {first & 0xF}; this is version {VERSION}")
    if kind is None:
        raise PacketError(f"datagram kind {first >> 4 & 7} is unknown")
    if first & PHASE_BIT and kind not in _SEALED:
        raise PacketError("a key phase in a datagram that is not sealed")
    return Header(kind, connection_id, counter, first >> 7, first & 0xF), datagram[HEADER_BYTES:]


def is_media(datagram: bytes) -> bool:
    """Whether one of our own datagrams holds frames, from its first byte alone."""
    return datagram[0] >> 4 & 7 == Kind.MEDIA


_KINDS: Final = {int(kind): kind for kind in Kind}
_SEALED: Final = (Kind.MEDIA, Kind.CONTROL)
