"""Staying in a call whose way changes: an address that is another now, a relay that forgot us, a network that is away.

While a call stands and nothing is heard of the peer, we take our place at the relay again (`guest.py`) and refresh our
name. Where the relay sees us at another address than before, the peer is told, and both look for a direct path anew.
"""

from __future__ import annotations

from typing import Final

from voicelink.core import events as ev
from voicelink.core.guest import Guest
from voicelink.core.states import State
from voicelink.core.steps import CallSteps
from voicelink.secure.possession import is_same
from voicelink.settings import Address
from voicelink.units import NS_PER_MS, NS_PER_S, earliest
from voicelink.wire import control as msg
from voicelink.wire import rendezvous as rv
from voicelink.wire.handshake import NO_COOKIE

#: Even of a peer that is muted, a report comes every second.
SILENT_NS: Final = 1_200 * NS_PER_MS
MOVED_TIMEOUT_NS: Final = 5 * NS_PER_S
#: Places at relays taken for calls that have not come yet.
MAX_INVITATIONS: Final = 4


class Roaming(CallSteps):
    """A call's place at its relay, and what is done in silence."""

    is_silent = False
    """Whether nothing is heard of the peer of a standing call."""

    def on_relay(self, message: rv.ServerMessage, source: Address, now_ns: int) -> bool:
        """Take a message of a relay about our place; False where it is none."""
        match message:
            case rv.Invite():
                return self._on_invite(message, source, now_ns)
            case rv.Closing():
                return self._on_closing(message, source, now_ns)
        for guest in self._guests():
            if source == guest.relay and guest.handle(message, now_ns):
                if isinstance(message, rv.Joined):
                    self._on_joined(guest, message.you, now_ns)
                return True
        return False

    def heard(self, source: Address, now_ns: int) -> None:
        """The peer lives."""
        self._heard_ns = now_ns
        if self.is_silent:
            self.is_silent = False
            if self.guest is not None:
                self.guest.rest()
        if self.link is not None:
            self.link.paths.heard(source, now_ns)

    def _roam(self, now_ns: int) -> None:
        """Do what is due at relays."""
        if self.state is State.CONNECTED and not self.is_silent and now_ns >= self._heard_ns + SILENT_NS:
            self.is_silent = True
            if self.guest is not None:
                self.guest.seek(now_ns)
            if self.registration is not None:
                self.registration.refresh(now_ns)
        for guest in self._guests():
            guest.handle_timer(now_ns)

    def _roam_due_ns(self) -> int | None:
        silent_ns = self._heard_ns + SILENT_NS if self.state is State.CONNECTED and not self.is_silent else None
        if self.guest is None and not self._invited:
            return silent_ns
        return earliest(silent_ns, *[guest.next_due_ns() for guest in self._guests()])

    def _take_guest(self, call: int, relay: Address, ticket: bytes) -> None:
        """This call has become ours; the place that we may have taken for it is, too."""
        self.guest = self._invited.pop(call, None) or self._make_guest(relay, call, 1, ticket)

    def _make_guest(self, relay: Address, call: int, side: int, ticket: bytes) -> Guest:
        registration = self.registration
        cookie = registration.cookie if registration is not None and registration.server == relay else NO_COOKIE
        return Guest(relay, call, side, ticket, self._entropy(4), cookie)

    def _is_relay(self, source: Address) -> bool:
        """Whether a call from `source` is relayed."""
        servers = {guest.relay for guest in self._invited.values()}
        return source in servers or (self.registration is not None and source == self.registration.server)

    def _announce(self, now_ns: int) -> None:
        """Tell the peer where we are now, where that is news, and look for a direct path."""
        link = self._call_link()
        if self.state is not State.CONNECTED or not self._settings.direct_path or self._candidates() == self._told:
            return
        self._told = self._candidates()
        link.exchange.drop(msg.Moved)
        link.request(msg.Moved(link.exchange.next_id(), self._told), now_ns, MOVED_TIMEOUT_NS)
        link.paths.start(self._peer_candidates, now_ns)

    def _on_moved(self, moved: msg.Moved, source: Address, now_ns: int) -> None:
        link = self._call_link()
        link.send(msg.Ok(link.exchange.next_id(), moved.id), source, now_ns)
        if self._settings.direct_path and moved.candidates != self._peer_candidates:
            self._peer_candidates = moved.candidates
            link.paths.start(moved.candidates, now_ns)

    def _on_joined(self, guest: Guest, you: Address, now_ns: int) -> None:
        if not self.is_silent or guest is not self.guest:
            guest.rest()
        elif self._call_link().give_up_direct(now_ns):  # the relay answers where the direct path is silent
            self._tell_path()
        self._reflexive = you
        if guest is self.guest and self.link is not None:
            self._announce(now_ns)

    def _on_invite(self, invite: rv.Invite, source: Address, now_ns: int) -> bool:
        """Somebody calls through another relay than our server: be there."""
        registration = self.registration
        if registration is None or source != registration.server or not registration.secret:
            return False
        if not is_same(registration.secret, invite.secret) or self.state in (State.ENDING, State.ENDED):
            return False
        ours = self.guest is not None and self.guest.call == invite.to
        if invite.to not in self._invited and not ours:
            while len(self._invited) >= MAX_INVITATIONS:
                del self._invited[next(iter(self._invited))]
            guest = self._invited[invite.to] = self._make_guest(invite.relay, invite.to, 1, invite.ticket)
            guest.seek(now_ns)
        return True

    def _on_closing(self, closing: rv.Closing, source: Address, now_ns: int) -> bool:
        guest = self.guest
        if guest is None or source != guest.relay or closing.to != guest.call or self.state is not State.CONNECTED:
            return False
        if not self._closing_told:
            self._closing_told = True
            self.events.append(ev.ServerClosing(source, closing.in_s))
            if self._settings.direct_path:
                self._call_link().paths.start(self._peer_candidates, now_ns)
        return True
