"""Who an end is: its long-term X25519 key, the passphrase's key, and the keys under which others are known."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from voicelink.secure.noise import KEY_BYTES, KeyPair

_SALT: Final = b"voicelink passphrase, version 2"


class Identity:
    """An X25519 key pair. Its text forms show the public key only."""

    __slots__ = ("_pair", "_private", "public")

    def __init__(self, private: bytes) -> None:
        if len(private) != KEY_BYTES:
            raise ValueError(f"a private key has {KEY_BYTES} bytes")
        self._private, self._pair = private, KeyPair(private)
        self.public = self._pair.public

    @classmethod
    def generate(cls, entropy: Callable[[int], bytes]) -> Identity:
        """A new one from `entropy(n)`, which returns n random bytes."""
        return cls(entropy(KEY_BYTES))

    @property
    def private(self) -> bytes:
        """The secret half: for the handshake and the key file only."""
        return self._private

    def agree(self, other_public: bytes) -> bytes:
        """The secret (32 bytes) shared with the owner of `other_public`. Raises NoiseError."""
        return self._pair.agree(other_public)

    def __repr__(self) -> str:
        return f"Identity({fingerprint(self.public)})"


class Trust(Enum):
    """What we know of a peer's key."""

    NEW = "new"  # never seen under this label; to be remembered
    KNOWN = "known"  # the one remembered
    CHANGED = "changed"  # another one than remembered: the call is refused
    UNNAMED = "unnamed"  # the peer gave no name, so there is nothing to compare with


@dataclass(frozen=True)
class Credentials:
    """What a session proves itself with and checks its peer against."""

    identity: Identity
    psk: bytes | None = field(default=None, repr=False)
    """From `psk_of`; None without a passphrase."""
    known: Mapping[str, bytes] = field(default_factory=dict)
    """Public keys by label (see `trust`)."""

    def trust(self, label: str, peer_public: bytes) -> Trust:
        """What `known` says of a peer: "NAME@SERVER", "HOST:PORT", or the name that a direct caller gives."""
        if not label:
            return Trust.UNNAMED
        known = self.known.get(label)
        if known is None:
            return Trust.NEW
        return Trust.KNOWN if known == peer_public else Trust.CHANGED


def psk_of(passphrase: str) -> bytes:
    """The pre-shared key (32 bytes) of a passphrase: scrypt (RFC 7914) with 32 MiB, some tenths of a second.

    Slow on purpose: an impostor who answers a call can then try guesses on what the caller sends.
    """
    return Scrypt(salt=_SALT, length=KEY_BYTES, n=1 << 15, r=8, p=1).derive(passphrase.encode())


def fingerprint(public: bytes) -> str:
    """A key for people: the first 100 bits of its SHA-256 in base 32, in groups of four."""
    text = base64.b32encode(hashlib.sha256(public).digest())[:20].decode().lower()
    return "-".join(text[i : i + 4] for i in range(0, len(text), 4))
