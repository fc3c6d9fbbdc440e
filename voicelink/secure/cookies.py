"""Stateless cookies: proof that an address can receive, as in DTLS (RFC 9147 section 5.1) and WireGuard.

A cookie is a keyed hash of the address. The secret is drawn anew every COOKIE_EPOCH_NS, so that a cookie is good for
one to two of these.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from typing import Final

from voicelink.settings import Address
from voicelink.units import NS_PER_S
from voicelink.wire.handshake import COOKIE_BYTES

COOKIE_EPOCH_NS: Final = 60 * NS_PER_S


class Cookies:
    """Makes and checks cookies; keeps nothing but two secrets. `entropy(n)` returns n random bytes."""

    def __init__(self, entropy: Callable[[int], bytes]) -> None:
        self._entropy = entropy
        self._now, self._before = entropy(32), entropy(32)
        self._epoch: int | None = None

    def make(self, source: Address, now_ns: int) -> bytes:
        """The cookie for `source`."""
        self._rotate(now_ns)
        return _cookie(self._now, source)

    def is_good(self, cookie: bytes, source: Address, now_ns: int) -> bool:
        """Whether we gave `cookie` to `source` not long ago."""
        self._rotate(now_ns)
        return any(hmac.compare_digest(_cookie(secret, source), cookie) for secret in (self._now, self._before))

    def _rotate(self, now_ns: int) -> None:
        epoch = now_ns // COOKIE_EPOCH_NS
        if epoch == self._epoch:
            return
        if self._epoch is not None:
            self._before = self._now if epoch == self._epoch + 1 else self._entropy(32)
            self._now = self._entropy(32)
        self._epoch = epoch


def _cookie(secret: bytes, source: Address) -> bytes:
    text = f"{source[0]} {source[1]}"
    return hashlib.blake2b(text.encode(), key=secret, digest_size=COOKIE_BYTES).digest()
