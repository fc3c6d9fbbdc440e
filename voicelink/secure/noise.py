"""The Noise protocol framework, revision 34, as far as a call needs it: patterns XX and XXpsk3.

Only X25519 and ChaCha20-Poly1305, with SHA-256 (which calls use) or BLAKE2s. Names and section numbers are those of
https://noiseprotocol.org/noise.html. Nothing here draws randomness: the ephemeral key is an argument.
"""

from __future__ import annotations

import copy
import hashlib
import hmac
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

KEY_BYTES: Final = 32
TAG_BYTES: Final = 16

#: Section 7.5 and, for psk3, section 9.4; the initiator sends the first message and every other one.
PATTERNS: Final[dict[str, tuple[tuple[str, ...], ...]]] = {
    "XX": (("e",), ("e", "ee", "s", "es"), ("s", "se")),
    "XXpsk3": (("e",), ("e", "ee", "s", "es"), ("s", "se", "psk")),
}
HASHES: Final = ("SHA256", "BLAKE2s")


class NoiseError(Exception):
    """A handshake message that does not fit: too short, or not from whom we think.

    `part` says what failed to open: "s" (the sender's static key), "payload", or "" for anything before.
    """

    def __init__(self, text: str, part: str = "") -> None:
        super().__init__(text)
        self.part = part


class KeyPair:
    """An X25519 key pair from a private key of 32 bytes."""

    __slots__ = ("_private", "public")

    def __init__(self, private: bytes) -> None:
        self._private = X25519PrivateKey.from_private_bytes(private)
        self.public = self._private.public_key().public_bytes_raw()

    def agree(self, public: bytes) -> bytes:
        """The secret (32 bytes) shared with the owner of `public`. Raises NoiseError for a key of low order."""
        try:
            return self._private.exchange(X25519PublicKey.from_public_bytes(public))
        except ValueError:
            raise NoiseError("a public key that leads to no secret") from None


class HandshakeState:
    """One side of a handshake: `write` and `read` in turn until `finished`, then `split`.

    `static` and `ephemeral` are private keys of 32 bytes; `psk` (32 bytes) is there exactly where the pattern has
    one. A message that fails to `read` raises NoiseError and leaves the state as it was, so that a forged datagram
    does not spoil the true one.
    """

    def __init__(
        self,
        pattern: str,
        *,
        initiator: bool,
        prologue: bytes,
        static: bytes,
        ephemeral: bytes,
        psk: bytes | None = None,
        hash_name: str = "SHA256",
    ) -> None:
        if ("psk" in pattern) != (psk is not None):
            raise ValueError(f"pattern {pattern} {'needs a' if psk is None else 'takes no'} pre-shared key")
        self._messages = PATTERNS[pattern]
        self._initiator = initiator
        self._static, self._ephemeral, self._psk = KeyPair(static), KeyPair(ephemeral), psk
        self._symmetric = _SymmetricState(f"Noise_{pattern}_25519_ChaChaPoly_{hash_name}".encode(), hash_name)
        self._symmetric.mix_hash(prologue)
        self._done = 0
        self._remote_ephemeral = b""
        self.remote_static = b""
        """The peer's public key, once a message brought it."""

    @property
    def finished(self) -> bool:
        """Whether all messages have been exchanged."""
        return self._done == len(self._messages)

    @property
    def handshake_hash(self) -> bytes:
        """`h`: what both sides have seen so far, 32 bytes."""
        return self._symmetric.h

    def export(self, label: bytes) -> bytes:
        """A key (32 bytes) that only the two sides of the handshake so far can compute."""
        return self._symmetric.hmac(self._symmetric.ck, label)

    def write(self, payload: bytes) -> bytes:
        """The next message (section 5.3)."""
        symmetric = self._symmetric
        out = b""
        for token in self._turn(writing=True):
            if token == "e":
                public = self._ephemeral.public
                symmetric.mix_hash(public)
                if self._psk is not None:
                    symmetric.mix_key(public)  # section 9.2
                out += public
            elif token == "s":
                out += symmetric.encrypt_and_hash(self._static.public)
            else:
                self._mix(token, symmetric)
        self._done += 1
        return out + symmetric.encrypt_and_hash(payload)

    def read(self, message: bytes) -> bytes:
        """The payload of the peer's next message. Raises NoiseError."""
        symmetric = copy.copy(self._symmetric)
        before = (self._remote_ephemeral, self.remote_static)
        try:
            for token in self._turn(writing=False):
                message = self._take(token, message, symmetric)
            payload = symmetric.decrypt_and_hash(message, "payload")
        except NoiseError:
            self._remote_ephemeral, self.remote_static = before
            raise
        self._symmetric = symmetric
        self._done += 1
        return payload

    def split(self) -> tuple[bytes, bytes]:
        """The keys from initiator to responder and back, 32 bytes each."""
        if not self.finished:
            raise ValueError("the handshake is not finished")
        return self._symmetric.hkdf2(b"")

    def _turn(self, *, writing: bool) -> tuple[str, ...]:
        ours = (self._done % 2 == 0) == self._initiator
        if self.finished or ours != writing:
            raise ValueError(f"not our turn to {'write' if writing else 'read'}")
        return self._messages[self._done]

    def _take(self, token: str, message: bytes, symmetric: _SymmetricState) -> bytes:
        """Process `token` of a message that is read; what of the message is left."""
        if token == "e":
            self._remote_ephemeral, message = _cut(message, KEY_BYTES)
            symmetric.mix_hash(self._remote_ephemeral)
            if self._psk is not None:
                symmetric.mix_key(self._remote_ephemeral)
        elif token == "s":
            sealed, message = _cut(message, KEY_BYTES + TAG_BYTES)
            self.remote_static = symmetric.decrypt_and_hash(sealed, "s")
        else:
            self._mix(token, symmetric)
        return message

    def _mix(self, token: str, symmetric: _SymmetricState) -> None:
        """Tokens ee, es, se and psk, which send nothing."""
        if token == "psk":
            assert self._psk is not None
            symmetric.mix_key_and_hash(self._psk)
            return
        initiators, responders = token[0], token[1]
        mine, theirs = (initiators, responders) if self._initiator else (responders, initiators)
        pair = self._ephemeral if mine == "e" else self._static
        symmetric.mix_key(pair.agree(self._remote_ephemeral if theirs == "e" else self.remote_static))


class _SymmetricState:
    """Section 5.2, with the cipher state (section 5.1) inside."""

    def __init__(self, name: bytes, hash_name: str) -> None:
        self._hash_name = hash_name.lower()
        self.h = name.ljust(KEY_BYTES, b"\0") if len(name) <= KEY_BYTES else self._hash(name)
        self.ck = self.h
        self._key: bytes | None = None
        self._nonce = 0

    def mix_hash(self, data: bytes) -> None:
        self.h = self._hash(self.h + data)

    def mix_key(self, material: bytes) -> None:
        self.ck, self._key = self.hkdf2(material)
        self._nonce = 0

    def mix_key_and_hash(self, material: bytes) -> None:
        first, second = self.hkdf2(material)
        third = self.hmac(self.hmac(self.ck, material), second + b"\3")
        self.ck, self._key, self._nonce = first, third, 0
        self.mix_hash(second)

    def encrypt_and_hash(self, plain: bytes) -> bytes:
        sealed = plain
        if self._key is not None:
            sealed = ChaCha20Poly1305(self._key).encrypt(self._next_nonce(), plain, self.h)
        self.mix_hash(sealed)
        return sealed

    def decrypt_and_hash(self, sealed: bytes, part: str) -> bytes:
        plain = sealed
        if self._key is not None:
            try:
                plain = ChaCha20Poly1305(self._key).decrypt(self._next_nonce(), sealed, self.h)
            except (InvalidTag, ValueError):
                raise NoiseError(f"{part} does not open", part) from None
        self.mix_hash(sealed)
        return plain

    def hkdf2(self, material: bytes) -> tuple[bytes, bytes]:
        """HKDF(ck, material, 2), section 4.3."""
        temporary = self.hmac(self.ck, material)
        first = self.hmac(temporary, b"\1")
        return first, self.hmac(temporary, first + b"\2")

    def hmac(self, key: bytes, data: bytes) -> bytes:
        return hmac.digest(key, data, self._hash_name)

    def _hash(self, data: bytes) -> bytes:
        return hashlib.new(self._hash_name, data).digest()

    def _next_nonce(self) -> bytes:
        nonce = self._nonce.to_bytes(12, "little")  # 4 zero bytes, then 64 bits little-endian: section 12.3
        self._nonce += 1
        return nonce[8:] + nonce[:8]


def _cut(message: bytes, size: int) -> tuple[bytes, bytes]:
    if len(message) < size:
        raise NoiseError(f"a message of {len(message)} bytes, where {size} more are needed")
    return message[:size], message[size:]
