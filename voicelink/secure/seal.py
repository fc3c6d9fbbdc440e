"""Sealed datagrams of one call: AES-128-CCM with an 8-byte tag for media, ChaCha20-Poly1305 for control messages.

Each direction has its own chain of keys, and each kind of datagram a key and a counter of its own. The nonce is the
64-bit packet counter: it only rises and ends before it could wrap. A sender goes on to the next key of its chain
after REKEY_AFTER_NS or REKEY_AFTER_PACKETS and shows it in the header's phase bit, as QUIC does (RFC 9001 section 6);
a receiver follows when the first datagram under the new key proves true. Old keys cannot be computed from new ones.
"""

from __future__ import annotations

import hmac
import struct
from typing import Final, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESCCM, ChaCha20Poly1305

from voicelink.errors import LocalProtocolError, PacketError
from voicelink.secure.replay import ReplayWindow
from voicelink.units import NS_PER_S
from voicelink.wire.packet import HEADER_BYTES, MEDIA_TAG_BYTES, VERSION, Header, Kind
from voicelink.wire.seq import unwrap

#: Longer than the longest silence that a call outlives, so that a receiver never misses two changes of key.
REKEY_AFTER_NS: Final = 301 * NS_PER_S
REKEY_AFTER_PACKETS: Final = 1 << 18
#: A call ends here, long before a counter could wrap and a nonce come again.
LAST_COUNTER: Final = (1 << 64) - (1 << 20)
KINDS: Final = (Kind.MEDIA, Kind.CONTROL)
#: RFC 3610 (with two bytes of length) and RFC 8439.
NONCE_BYTES: Final = {Kind.MEDIA: 13, Kind.CONTROL: 12}
AES_KEY_BYTES: Final = 16

_HEADER = struct.Struct(">BIH")


class ReplayError(PacketError):
    """A datagram that came before, or so old that nobody can tell."""


class ForgedError(PacketError):
    """A datagram that the peer did not seal, or that was changed on its way."""


class Aead(Protocol):
    """Authenticated encryption with associated data."""

    def encrypt(self, nonce: bytes, data: bytes, associated_data: bytes | None, /) -> bytes:
        """`data` sealed, the tag behind it."""

    def decrypt(self, nonce: bytes, data: bytes, associated_data: bytes | None, /) -> bytes:
        """What was sealed. Raises InvalidTag."""


class Protection(Protocol):
    """Makes the ciphers of a call. `Encrypted` is the only one that a call uses; see `secure/null.py`."""

    def aead(self, kind: Kind, key: bytes) -> Aead:
        """The cipher for datagrams of `kind` under `key` (32 bytes)."""


class Encrypted:
    """The protection of every call."""

    def aead(self, kind: Kind, key: bytes) -> Aead:
        """As in the module's docstring."""
        if kind is Kind.MEDIA:
            return AESCCM(key[:AES_KEY_BYTES], tag_length=MEDIA_TAG_BYTES)
        return ChaCha20Poly1305(key)


ENCRYPTED: Final = Encrypted()


class Sealer:
    """Our side's datagrams of one connection."""

    def __init__(self, connection_id: int, secret: bytes, protection: Protection = ENCRYPTED) -> None:
        self._connection_id = connection_id
        self._epoch = _Epoch(0, secret, protection)
        self._epoch_started_ns: int | None = None
        self._epoch_packets = 0
        self._counters = dict.fromkeys(KINDS, 0)

    @property
    def exhausted(self) -> bool:
        """Whether the call must end for want of counters."""
        return max(self._counters.values()) >= LAST_COUNTER

    def seal(self, kind: Kind, body: bytes, now_ns: int) -> bytes:
        """The next datagram of `kind`."""
        counter = self._counters[kind]
        if counter >> 64:
            raise LocalProtocolError("no packet counter is left under this key")
        self._counters[kind] = counter + 1
        epoch = self._epoch_at(now_ns)
        header = _HEADER.pack(epoch.phase << 7 | kind << 4 | VERSION, self._connection_id, counter & 0xFFFF)
        nonce = counter.to_bytes(NONCE_BYTES[kind], "big")
        return header + epoch.aeads[kind].encrypt(nonce, body, header)

    def _epoch_at(self, now_ns: int) -> _Epoch:
        """The current key, changed where its time or its number of packets is over."""
        if self._epoch_started_ns is None:
            self._epoch_started_ns = now_ns
        if now_ns - self._epoch_started_ns >= REKEY_AFTER_NS or self._epoch_packets >= REKEY_AFTER_PACKETS:
            self._epoch, self._epoch_started_ns, self._epoch_packets = self._epoch.next(), now_ns, 0
        self._epoch_packets += 1
        return self._epoch


class Opener:
    """The peer's datagrams of one connection."""

    def __init__(self, secret: bytes, protection: Protection = ENCRYPTED) -> None:
        self._epoch = _Epoch(0, secret, protection)
        self._before: _Epoch | None = None
        self._after: _Epoch | None = None
        self._epoch_first = dict.fromkeys(KINDS, 0)
        self._expected = dict.fromkeys(KINDS, 0)
        self._windows = {kind: ReplayWindow() for kind in KINDS}

    def open(self, header: Header, datagram: bytes) -> tuple[bytes, int]:
        """Body and full counter of `datagram`, whose header is `header`. Raises ReplayError or ForgedError."""
        kind = header.kind
        counter = unwrap(header.counter, self._expected[kind])
        window = self._windows[kind]
        if not window.is_new(counter):
            raise ReplayError("a datagram that came before")
        nonce = counter.to_bytes(NONCE_BYTES[kind], "big")
        head, sealed = datagram[:HEADER_BYTES], datagram[HEADER_BYTES:]
        for epoch in self._epochs(header, counter):
            try:
                body = epoch.aeads[kind].decrypt(nonce, sealed, head)
            except (InvalidTag, ValueError):
                continue
            self._accept(epoch, kind, counter)
            return body, counter
        raise ForgedError("a datagram that does not open")

    def _epochs(self, header: Header, counter: int) -> list[_Epoch]:
        """The keys that `header` may mean: the current one by its phase, else the next, else the one before."""
        if header.phase == self._epoch.phase:
            return [self._epoch]
        before = [] if self._before is None else [self._before]
        if counter < self._epoch_first[header.kind]:
            return before
        if self._after is None:
            self._after = self._epoch.next()
        return [self._after, *before]

    def _accept(self, epoch: _Epoch, kind: Kind, counter: int) -> None:
        self._windows[kind].mark(counter)
        if epoch is self._after:
            self._before, self._epoch, self._after = self._epoch, epoch, None
            self._epoch_first = self._expected | {kind: counter}
        if counter >= self._expected[kind]:
            self._expected[kind] = counter + 1


class _Epoch:
    """One key of a chain, and the ciphers made from it."""

    __slots__ = ("_number", "_protection", "_secret", "aeads", "phase")

    def __init__(self, number: int, secret: bytes, protection: Protection) -> None:
        self._number, self._secret, self._protection = number, secret, protection
        self.phase = number & 1
        self.aeads = {kind: protection.aead(kind, _derive(secret, kind.name)) for kind in KINDS}

    def next(self) -> _Epoch:
        """The one after it."""
        return _Epoch(self._number + 1, _derive(self._secret, "NEXT"), self._protection)


def _derive(secret: bytes, label: str) -> bytes:
    """32 bytes of HKDF-Expand (RFC 5869) under `secret`."""
    return hmac.digest(secret, f"voicelink {label.lower()}\1".encode(), "sha256")
