"""Handshake datagrams of a session: our own as a caller, and those of callers. What follows is `signalling.py`'s."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Final

from voicelink.core import events as ev
from voicelink.core.door import Entered
from voicelink.core.events import EndReason
from voicelink.core.link import CallLink
from voicelink.core.opening import Opening
from voicelink.core.roaming import Roaming
from voicelink.core.states import State, Trigger, allowed
from voicelink.errors import ControlError, PacketError
from voicelink.secure.identity import Trust, fingerprint
from voicelink.settings import Address, format_address
from voicelink.units import NS_PER_MS, NS_PER_S
from voicelink.wire import control as msg
from voicelink.wire.handshake import (
    COOKIE_BYTES,
    ECHO_BYTES,
    INIT_BYTES,
    Cookie,
    Finish,
    HandshakeMessage,
    Init,
    Refusal,
    RefusalCode,
    Reply,
    parse_handshake,
)
from voicelink.wire.packet import VERSION, Header, Kind, join

#: Callers who fail before anybody knows who they are: one event a second is enough.
MISSED_EVERY_NS: Final = NS_PER_S

REFUSALS: Final = {
    RefusalCode.BUSY: (EndReason.BUSY, "the callee is in another call"),
    RefusalCode.NO_PASSPHRASE: (
        EndReason.PASSPHRASE,
        "we use a passphrase and the callee has none; both need the same",
    ),
    RefusalCode.NEEDS_PASSPHRASE: (EndReason.PASSPHRASE, "the callee wants a passphrase: --passphrase"),
    RefusalCode.WRONG_PASSPHRASE: (EndReason.PASSPHRASE, "the callee has another passphrase"),
    RefusalCode.TAMPERED: (EndReason.TAMPERED, "the callee got something else than we sent: damaged, or tampered with"),
}


class Handshakes(Roaming, ABC):
    """From the first datagram to the keys, on both sides."""

    _missed_ns: int | None = None

    def on_handshake(self, header: Header, body: bytes, source: Address, now_ns: int) -> bool:
        """Take a handshake datagram; False where it is out of turn or a stranger's. Raises PacketError."""
        if header.version != VERSION:
            return self._on_other_version(header, body, source, now_ns)
        message = parse_handshake(body)
        link = self.link
        if link is not None and header.connection_id == link.connection_id:
            if link.opening is not None:
                return self._on_opening(link, link.opening, message, source, now_ns)
            return self._on_callers_repetition(link, message, source, now_ns)
        if isinstance(message, Init):
            return self._on_init(header.connection_id, message, source, now_ns)
        if isinstance(message, Finish):
            return self._on_finish(header.connection_id, message, source, now_ns)
        return False

    @abstractmethod
    def _on_hello(self, connection_id: int, entered: Entered, hello: msg.Hello, source: Address, now_ns: int) -> None:
        """A caller proved itself and says what it wants."""

    @abstractmethod
    def _on_hello_again(self, source: Address, now_ns: int) -> bool:
        """The caller of our call repeats its hello."""

    # ---- we call ---------------------------------------------------------------------------------
    def _on_opening(
        self, link: CallLink, opening: Opening, message: HandshakeMessage, source: Address, now_ns: int
    ) -> bool:
        """A datagram of our own call; False where it is not the callee's, or comes out of turn."""
        if self.state is not State.CALLING:
            return False
        match message:
            case Reply() if taken := opening.take_reply(message, now_ns):
                self._on_reply(link, opening, now_ns)
            case Cookie() if taken := opening.take_cookie(message, now_ns):
                link.send_handshake(opening.message, link.paths.primary)
            case Refusal() if taken := opening.take_refusal(message, now_ns):
                self._on_refusal(message.code, VERSION)
            case Init() if taken := opening.is_ours(message):
                text = f"{format_address(source)} is our own address: this would call itself"
                self._finish(ev.Ended(EndReason.UNREACHABLE, False, text))
            case Init() | Finish():
                taken = False
                opening.spoil(now_ns)
        return taken

    def _on_reply(self, link: CallLink, opening: Opening, now_ns: int) -> None:
        """The callee showed its key: send ours and the hello, unless it is not the key we know."""
        public = opening.peer_public
        if self._credentials.trust(self._peer_label, public) is Trust.CHANGED:
            self._finish(ev.Ended(EndReason.KEY, False, changed_key(self._peer_label, public)))
            return
        hello = next(m for m in link.exchange.drop(msg.Hello) if isinstance(m, msg.Hello))
        secrets = opening.finish(msg.encode_control(hello))
        link.secure(secrets, self._protection)
        self._security = self._security_with(self._peer_label, secrets)
        link.request(hello, now_ns, self._settings.setup_timeout_ms * NS_PER_MS)

    def _on_refusal(self, code: RefusalCode, version: int) -> None:
        if code is RefusalCode.VERSION:
            text = f"the callee speaks version {version} of the protocol, this is version {VERSION}"
            if version == VERSION:
                text = "the callee was asked for another version of the protocol than ours: tampered with on the way"
            reason = EndReason.VERSION
        else:
            reason, text = REFUSALS[code]
        self._finish(ev.Ended(reason, True, text))

    def _give_up_opening(self, now_ns: int) -> None:
        """End a call to which only false replies came."""
        link = self.link
        due_ns = None if link is None or link.opening is None else link.opening.spoiled_due_ns
        if self.state is State.CALLING and due_ns is not None and due_ns <= now_ns:
            text = "what came back was not the callee's answer: damaged, or tampered with on the way"
            self._finish(ev.Ended(EndReason.TAMPERED, False, text))

    # ---- somebody calls --------------------------------------------------------------------------
    def _on_init(self, connection_id: int, init: Init, source: Address, now_ns: int) -> bool:
        if self.state in (State.IDLE, State.ENDED) or not connection_id:
            return False
        if allowed(self.state, Trigger.HELLO):
            reply = self._door.knock(connection_id, init, source, now_ns)
        else:
            reply = self._door.refuse(RefusalCode.BUSY, init.echo, now_ns)
        self._reply(connection_id, reply, source)
        return reply is not None

    def _on_finish(self, connection_id: int, finish: Finish, source: Address, now_ns: int) -> bool:
        visitor = self._door.visitor(connection_id, source)
        if visitor is not None and visitor.finish == finish and visitor.refuse is not None:
            self._say_refuse(visitor, now_ns)
            return True
        result = self._door.enter(connection_id, finish, source, now_ns)
        if isinstance(result, Refusal):
            self._reply(connection_id, result, source)
            self._miss("", connection_id, *_MISSED[result.code], now_ns)
        if not isinstance(result, Entered):
            return result is not None
        try:
            hello = msg.parse_control(result.hello)
        except ControlError as error:
            raise PacketError(str(error)) from None
        if not isinstance(hello, msg.Hello):
            raise PacketError("a handshake without a hello")
        self._on_hello(connection_id, result, hello, source, now_ns)
        return True

    def _on_callers_repetition(self, link: CallLink, message: HandshakeMessage, source: Address, now_ns: int) -> bool:
        visitor = self._door.visitor(link.connection_id, source)
        if visitor is None or not isinstance(message, Finish) or visitor.finish != message:
            return False
        return self._on_hello_again(source, now_ns)

    def _on_other_version(self, header: Header, body: bytes, source: Address, now_ns: int) -> bool:
        """A peer of another version. Type, echo and refusals lie where they do in ours, in every version."""
        link = self.link
        if link is not None and header.connection_id == link.connection_id and link.opening is not None:
            message = parse_handshake(body)
            if not isinstance(message, Refusal) or message.code is not RefusalCode.VERSION:
                return False
            if self.state is not State.CALLING or not link.opening.take_refusal(message, now_ns):
                return False
            self._on_refusal(message.code, header.version)
            return True
        if self.state in (State.IDLE, State.ENDED) or len(body) < INIT_BYTES or body[0] != Init.type:
            return False
        refusal = self._door.refuse(RefusalCode.VERSION, body[_ECHO], now_ns)
        self._reply(header.connection_id, refusal, source)
        return refusal is not None

    def _reply(self, connection_id: int, message: HandshakeMessage | None, to: Address) -> None:
        if message is not None:
            self._stats.control_packets_sent += 1
            self._outbox.append((join(Header(Kind.HANDSHAKE, connection_id, 0), bytes(message)), to))

    def _miss(self, name: str, connection_id: int, reason: EndReason, detail: str, now_ns: int) -> None:
        """Tell the user of a call that came to nothing, once, and not of too many."""
        fresh = self._missed_ns is None or now_ns - self._missed_ns >= MISSED_EVERY_NS
        if connection_id != self._missed_id and fresh:
            self._missed_id, self._missed_ns = connection_id, now_ns
            self.events.append(ev.CallMissed(name, reason, detail))


def changed_key(label: str, public: bytes) -> str:
    """The warning for a peer whose key is not the one remembered under `label`."""
    return (
        f"THE KEY OF {label} HAS CHANGED to {fingerprint(public)}: somebody may be posing as {label}. "
        f"If they tell you that they have a new key, give up the old one with `voicelink keys --forget`"
    )


_ECHO: Final = slice(2 + COOKIE_BYTES, 2 + COOKIE_BYTES + ECHO_BYTES)
_MISSED: Final = {
    RefusalCode.WRONG_PASSPHRASE: (EndReason.PASSPHRASE, "the caller has another passphrase"),
    RefusalCode.TAMPERED: (EndReason.TAMPERED, "what came was not what the caller sent: damaged, or tampered with"),
}
