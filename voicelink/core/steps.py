"""The steps of a call's setup and end: what a session can do. When it does it is `signalling.py`'s."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from voicelink.core import events as ev
from voicelink.core.door import Door, Visitor
from voicelink.core.events import Agreed, EndReason, Event, Security
from voicelink.core.guest import Guest
from voicelink.core.link import CallLink
from voicelink.core.negotiate import offer_of
from voicelink.core.opening import Opening
from voicelink.core.registration import Registration
from voicelink.core.states import State, Trigger, after
from voicelink.core.stats import Stats
from voicelink.secure.handshake import Caller, Secrets
from voicelink.secure.identity import Credentials
from voicelink.secure.seal import Protection
from voicelink.settings import Address, SessionSettings
from voicelink.units import NS_PER_MS, NS_PER_S
from voicelink.wire import control as msg
from voicelink.wire.schema import clip

#: How long the end of a call is told to a peer that does not confirm it.
END_TIMEOUT_NS: Final = 2 * NS_PER_S


class CallSteps:
    """State and steps of one session's setup and end. `events` collects what the user is told."""

    def __init__(
        self,
        settings: SessionSettings,
        entropy: Callable[[int], bytes],
        local_addresses: Sequence[Address],
        stats: Stats,
        credentials: Credentials,
        protection: Protection,
    ) -> None:
        self.state = State.IDLE
        self.agreed: Agreed | None = None
        self.link: CallLink | None = None
        self.registration: Registration | None = None
        self.guest: Guest | None = None
        """Our place at the relay, in a call that has one."""
        self.events: deque[Event] = deque()
        self._outbox: list[tuple[bytes, Address]] = []
        self._settings = settings
        self._entropy = entropy
        self.local_addresses = tuple(local_addresses)
        self._stats = stats
        self._credentials = credentials
        self._protection = protection
        self._door = Door(credentials, entropy)
        self._offer = offer_of(settings)
        self._peer_label = ""
        self._security: Security | None = None
        self._reflexive: Address | None = None
        self._peer_name = ""
        self._peer_candidates: tuple[Address, ...] = ()
        self._registration_lost = False
        self._closing_told = False
        self._told: tuple[Address, ...] = ()
        """The candidates that the peer knows of us."""
        self._invited: dict[int, Guest] = {}
        """Places taken for calls that have not come yet, by connection id."""
        self._missed_id = 0
        self._ended: ev.Ended | None = None
        self._ring_over_ns: int | None = None
        self._heard_ns = 0

    def take_outbox(self) -> list[tuple[bytes, Address]]:
        """All datagrams to send, in order; the outbox is empty then."""
        out, self._outbox = self._outbox, []
        if self.link is not None:
            out += self.link.outbox
            self.link.outbox = []
        if self.registration is not None:
            out += [(data, self.registration.server) for data in self.registration.outbox]
            self.registration.outbox = []
        for guest in self._guests() if self.guest is not None or self._invited else ():
            out += [(data, guest.relay) for data in guest.outbox]
            guest.outbox = []
        return out

    def _move(self, trigger: Trigger) -> None:
        self.state = after(self.state, trigger)

    def _dial(self, connection_id: int, to: Address, now_ns: int, *, ticket: bytes = b"", relayed: bool) -> None:
        self._move(Trigger.DIAL)
        opening = Opening(Caller(connection_id, self._credentials, self._entropy))
        self.link = link = CallLink(connection_id, to, self._stats, relayed=relayed, opening=opening)
        self._told = self._candidates()
        hello = msg.Hello(link.exchange.next_id(), self._settings.name, self._offer, self._told, ticket)
        link.request(hello, now_ns, self._settings.setup_timeout_ms * NS_PER_MS)

    def _connect(self, trigger: Trigger, now_ns: int) -> None:
        self._move(trigger)
        self._ring_over_ns, self._heard_ns = None, now_ns
        link, agreed, security = self._call_link(), self.agreed, self._security
        assert agreed is not None
        assert security is not None
        link.exchange.clear()
        self.events.append(ev.Connected(self._peer_name, agreed, link.paths.current, link.paths.relayed, security))
        if self._settings.direct_path and self._peer_candidates:
            link.paths.start(self._peer_candidates, now_ns)
            link.handle_timer(now_ns)

    def _leave(self, reason: EndReason, detail: str, now_ns: int) -> None:
        """Tell the peer, then end. An unanswered call of the peer is refused, any other one is ended."""
        refusing = self.state is State.INCOMING
        self._move(Trigger.LEAVE)
        self._ring_over_ns = None
        self._ended = ev.Ended(reason, False, detail)
        link = self._call_link()
        link.exchange.clear()
        link.paths.stop()
        make = msg.Refuse if refusing else msg.End
        link.request(make(link.exchange.next_id(), reason, clip(detail)), now_ns, END_TIMEOUT_NS)

    def _finish(self, ended: ev.Ended) -> None:
        self._move(Trigger.STOP)
        self._ring_over_ns = None
        if self.link is not None:
            self.link.exchange.clear()
            self.link.paths.stop()
        if self.registration is not None:
            self.registration.leave()
        if self.guest is not None:
            self.guest.leave()
        for invited in self._invited.values():
            invited.rest()
        self.events.append(ended)

    def _turn_away(self, visitor: Visitor, link: CallLink, reason: EndReason, detail: str, now_ns: int) -> None:
        """Refuse a call that is not to become ours; sent again for every hello that comes again."""
        visitor.link, visitor.refuse = link, msg.Refuse(link.exchange.next_id(), reason, clip(detail))
        self._say_refuse(visitor, now_ns)

    def _say_refuse(self, visitor: Visitor, now_ns: int) -> None:
        link, refuse = visitor.link, visitor.refuse
        assert link is not None
        assert refuse is not None
        link.send(refuse, link.paths.primary, now_ns)
        self._outbox.extend(link.outbox)
        link.outbox = []

    def _security_with(self, label: str, secrets: Secrets) -> Security:
        credentials = self._credentials
        trust = credentials.trust(label, secrets.peer_public)
        return Security(label, secrets.peer_public, trust, secrets.words, credentials.psk is not None)

    def _tell_path(self) -> None:
        paths = self._call_link().paths
        self.events.append(ev.PathChanged(paths.current, paths.relayed))

    def _guests(self) -> list[Guest]:
        return [*([self.guest] if self.guest is not None else []), *self._invited.values()]

    def _meet(self, server: Address) -> Registration:
        timeout_ns = self._settings.setup_timeout_ms * NS_PER_MS
        self.registration = Registration(server, self._credentials.identity, self._entropy(4), timeout_ns)
        return self.registration

    def _candidates(self) -> tuple[Address, ...]:
        if not self._settings.direct_path:
            return ()
        known = (*self.local_addresses, *([self._reflexive] if self._reflexive else []))
        return tuple(dict.fromkeys(known))[: msg.MAX_CANDIDATES]

    def _silence_ns(self) -> int:
        return self._heard_ns + self._settings.silence_timeout_ms * NS_PER_MS

    def _call_link(self) -> CallLink:
        assert self.link is not None, "no call in this state"
        return self.link

    def _server(self) -> Address:
        assert self.registration is not None, "no server in this session"
        return self.registration.server
