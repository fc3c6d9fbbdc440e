"""The handshake of a call: Noise XX (XXpsk3 with a passphrase) in three datagrams, and what follows from it.

    caller -> callee   Init    e, a commitment to a nonce
    callee -> caller   Reply   e, ee, s, es
    caller -> callee   Finish  s, se (psk), the nonce and the hello

The words that the users compare are a hash of the first two messages and the nonce. Since the caller commits to the
nonce before it sees the callee's key, and the callee sends its key before it sees the nonce, somebody in the middle has
one guess at the words, not as many as he can compute (the idea of ZRTP, RFC 6189 section 4.4.1.1).
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from voicelink.secure.identity import Credentials
from voicelink.secure.noise import KEY_BYTES, HandshakeState, NoiseError
from voicelink.secure.words import words_of
from voicelink.wire.handshake import (
    ECHO_BYTES,
    INIT_NOISE_BYTES,
    NO_COOKIE,
    Finish,
    Init,
    Pattern,
    Refusal,
    RefusalCode,
    Reply,
)
from voicelink.wire.packet import VERSION

NONCE_BYTES: Final = 16
WORD_COUNT: Final = 4
NAMES: Final = {Pattern.XX: "XX", Pattern.XXPSK3: "XXpsk3"}


@dataclass(frozen=True, slots=True)
class Secrets:
    """What both ends hold after the handshake."""

    send: bytes = field(repr=False)
    receive: bytes = field(repr=False)
    peer_public: bytes
    words: tuple[str, ...]


class Caller:
    """The caller's side of one handshake."""

    def __init__(self, connection_id: int, credentials: Credentials, entropy: Callable[[int], bytes]) -> None:
        self._pattern = Pattern.XX if credentials.psk is None else Pattern.XXPSK3
        self._noise = _state(self._pattern, connection_id, credentials, entropy, initiator=True)
        self._nonce = entropy(NONCE_BYTES)
        commitment = _commitment(self._nonce)
        spare = INIT_NOISE_BYTES - KEY_BYTES - len(commitment) - (16 if credentials.psk is not None else 0)
        self._first = self._noise.write(commitment + bytes(spare))
        self._words_seed = b""
        self._proof_key = b""

    @property
    def peer_public(self) -> bytes:
        """The callee's key, once its reply was read."""
        return self._noise.remote_static

    def init(self, cookie: bytes = NO_COOKIE) -> Init:
        """The first message, with a cookie where the callee asked for one."""
        return Init(self._pattern, cookie, self._first)

    def read(self, reply: Reply) -> None:
        """Take the callee's reply. Raises NoiseError for one that is not meant for us."""
        self._noise.read(reply.noise)
        self._words_seed = self._noise.handshake_hash
        self._proof_key = _proof_key(self._noise)

    def finish(self, hello: bytes) -> tuple[Finish, Secrets]:
        """The last message, which carries `hello`; the call's keys."""
        message = Finish(self._noise.write(self._nonce + hello))
        send, receive = self._noise.split()
        words = _words(self._words_seed, self._nonce)
        return message, Secrets(send, receive, self._noise.remote_static, words)

    def is_refusal(self, refusal: Refusal) -> bool:
        """Whether `refusal` comes from whom our last message went to."""
        expected = _proof(self._proof_key, refusal.code) if self._proof_key else self._first[:ECHO_BYTES]
        return hmac.compare_digest(expected, refusal.proof)


class Callee:
    """The callee's side of one handshake, made from the caller's Init. Raises NoiseError for a bad one."""

    def __init__(
        self, connection_id: int, init: Init, credentials: Credentials, entropy: Callable[[int], bytes]
    ) -> None:
        self._noise = _state(init.pattern, connection_id, credentials, entropy, initiator=False)
        self._commitment = self._noise.read(init.noise)[: hashlib.sha256().digest_size]
        self.reply = Reply(self._noise.write(b""))
        self._words_seed = self._noise.handshake_hash
        self._proof_key = _proof_key(self._noise)

    def read(self, finish: Finish) -> tuple[bytes, Secrets]:
        """The caller's hello and the call's keys. Raises NoiseError, part "payload" is a wrong passphrase."""
        opened = self._noise.read(finish.noise)
        nonce, hello = opened[:NONCE_BYTES], opened[NONCE_BYTES:]
        if not hmac.compare_digest(_commitment(nonce), self._commitment):
            raise NoiseError("a nonce that was not committed to", "nonce")
        receive, send = self._noise.split()
        return hello, Secrets(send, receive, self._noise.remote_static, _words(self._words_seed, nonce))

    def refusal(self, code: RefusalCode) -> Refusal:
        """A refusal of the caller's Finish that the caller can check."""
        return Refusal(code, _proof(self._proof_key, code))


def _state(
    pattern: Pattern, connection_id: int, credentials: Credentials, entropy: Callable[[int], bytes], *, initiator: bool
) -> HandshakeState:
    return HandshakeState(
        NAMES[pattern],
        initiator=initiator,
        prologue=b"voicelink" + bytes([VERSION]) + connection_id.to_bytes(4, "big"),
        static=credentials.identity.private,
        ephemeral=entropy(KEY_BYTES),
        psk=credentials.psk if pattern is Pattern.XXPSK3 else None,
    )


def _commitment(nonce: bytes) -> bytes:
    return hashlib.sha256(b"voicelink commitment" + nonce).digest()


def _words(seed: bytes, nonce: bytes) -> tuple[str, ...]:
    return words_of(hmac.digest(seed, b"voicelink words" + nonce, "sha256")[:WORD_COUNT])


def _proof_key(noise: HandshakeState) -> bytes:
    return noise.export(b"voicelink refusal")


def _proof(key: bytes, code: RefusalCode) -> bytes:
    return hmac.digest(key, bytes([code]), "sha256")[:ECHO_BYTES]
