"""No protection at all, with the sizes of the real one: for simulations and speed tests, and for nothing else.

Given to `Session(..., protection=UNPROTECTED)` by a program. No setting, option or message of a peer leads here, and an
end that is protected takes nothing from one that is not.
"""

from __future__ import annotations

from typing import Final

from cryptography.exceptions import InvalidTag

from voicelink.secure.seal import Aead
from voicelink.wire.packet import CONTROL_TAG_BYTES, MEDIA_TAG_BYTES, Kind


class Unprotected:
    """Datagrams as they are, with zeros where the tag would be."""

    def aead(self, kind: Kind, key: bytes) -> Aead:
        """A cipher that does nothing."""
        return _ZERO_TAGS[kind]


UNPROTECTED: Final = Unprotected()


class _ZeroTag:
    def __init__(self, tag_bytes: int) -> None:
        self._tag = bytes(tag_bytes)

    def encrypt(self, nonce: bytes, data: bytes, associated_data: bytes | None, /) -> bytes:
        return data + self._tag

    def decrypt(self, nonce: bytes, data: bytes, associated_data: bytes | None, /) -> bytes:
        if not data.endswith(self._tag):
            raise InvalidTag
        return data[: -len(self._tag)]


_ZERO_TAGS: Final = {Kind.MEDIA: _ZeroTag(MEDIA_TAG_BYTES), Kind.CONTROL: _ZeroTag(CONTROL_TAG_BYTES)}
