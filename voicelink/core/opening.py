"""The caller's side of a handshake in progress. It sends nothing itself: `message` is what is to be sent (again)."""

from __future__ import annotations

from typing import Final

from voicelink.secure.handshake import Caller, Secrets
from voicelink.secure.noise import NoiseError
from voicelink.units import NS_PER_MS
from voicelink.wire.handshake import Cookie, HandshakeMessage, Init, Refusal, Reply

#: Anybody can send a wrong reply, and the right one may still come; so long is it waited for.
PATIENCE_NS: Final = 1_500 * NS_PER_MS
MAX_COOKIES: Final = 4


class Opening:
    """Init until a good Reply comes, then, from `finish` on, Finish."""

    def __init__(self, caller: Caller) -> None:
        self.message: HandshakeMessage = caller.init()
        self._caller = caller
        self._replied = False
        self._cookies = 0
        self._spoiled_ns: int | None = None

    @property
    def peer_public(self) -> bytes:
        """The callee's key, once it replied."""
        return self._caller.peer_public

    @property
    def spoiled_due_ns(self) -> int | None:
        """When to give up because only wrong replies come; None while none came."""
        if self._replied or self._spoiled_ns is None:
            return None
        return self._spoiled_ns + PATIENCE_NS

    def is_ours(self, init: Init) -> bool:
        """Whether `init` is our own message come back."""
        return init.noise == self._caller.init().noise

    def take_reply(self, reply: Reply, now_ns: int) -> bool:
        """Read a reply; True where it is the callee's, and the first."""
        if self._replied:
            return False
        try:
            self._caller.read(reply)
        except NoiseError:
            self.spoil(now_ns)
            return False
        self._replied = True
        return True

    def take_cookie(self, cookie: Cookie, now_ns: int) -> bool:
        """Put a cookie into `message`; True where it is to be sent again at once."""
        if self._replied or cookie.echo != self._caller.init().echo or self._cookies >= MAX_COOKIES:
            return False
        self._cookies += 1
        self.message = self._caller.init(cookie.cookie)
        return True

    def take_refusal(self, refusal: Refusal, now_ns: int) -> bool:
        """Whether a refusal comes from whom we call."""
        if self._caller.is_refusal(refusal):
            return True
        self.spoil(now_ns)
        return False

    def spoil(self, now_ns: int) -> None:
        """Something came that the callee cannot have sent."""
        if self._spoiled_ns is None:
            self._spoiled_ns = now_ns

    def finish(self, hello: bytes) -> Secrets:
        """Go on to the last message; the call's keys."""
        self.message, secrets = self._caller.finish(hello)
        return secrets
