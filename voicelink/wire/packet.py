"""The header that every datagram starts with. Media bodies are `media.py`'s, control messages `control.py`'s.

Media and control bodies are sealed with the header as associated data (`secure/seal.py`).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from voicelink.errors import PacketError

VERSION: Final = 3
HEADER_BYTES: Final = 7
#: What sealing adds to a body: the authentication tag.
MEDIA_TAG_BYTES: Final = 8
CONTROL_TAG_BYTES: Final = 16
#: What a media datagram has beside its body.
MEDIA_OVERHEAD_BYTES: Final = HEADER_BYTES + MEDIA_TAG_BYTES
#: No datagram of ours is longer: it fits every path that IPv6 allows (RFC 8200 section 5) with headers.
MAX_DATAGRAM_BYTES: Final = 1200

#: Bit 7 of the first byte: the parity of the key epoch in which a media or control datagram was sealed.
PHASE_BIT: Final = 0x80

_HEADER = struct.Struct(">BIH")


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
