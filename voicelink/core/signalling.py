"""Setting up and ending a call: who says what when, once both ends hold keys (`handshakes.py`).

Media and reports are `session.py`'s.
"""

from __future__ import annotations

from typing import Final

from voicelink.core import events as ev
from voicelink.core.door import Entered
from voicelink.core.events import EndReason
from voicelink.core.handshakes import Handshakes, changed_key
from voicelink.core.link import CallLink
from voicelink.core.negotiate import negotiate
from voicelink.core.registration import NoReply, Outcome
from voicelink.core.states import State, Trigger, allowed
from voicelink.errors import LocalProtocolError
from voicelink.secure.identity import Trust
from voicelink.settings import Address, format_address
from voicelink.units import NS_PER_MS, NS_PER_S, earliest
from voicelink.wire import control as msg
from voicelink.wire import rendezvous as rv

#: A callee rings so much longer than the caller waits: only where the caller's own end did not get through.
CALLEE_PATIENCE_NS: Final = 3 * NS_PER_S

_OVER: Final = (State.ENDING, State.ENDED)
_BEFORE_A_CALL: Final = (State.IDLE, State.REGISTERING, State.LISTENING, State.LOOKING_UP)


class Signalling(Handshakes):
    """Who says what when: the user, the peer, the server, and the clock."""

    _hello_id = 0

    # ---- the user's side -------------------------------------------------------------------------
    def listen(self, now_ns: int, server: Address | None) -> None:
        """As Session.listen."""
        self._move(Trigger.LISTEN if server is None else Trigger.REGISTER)
        if server is not None:
            self._meet(server).register(self._settings.name, now_ns)

    def call(self, peer: Address, now_ns: int, label: str) -> None:
        """As Session.call."""
        self._peer_label = label or format_address(peer)
        self._dial(int.from_bytes(self._entropy(4), "big") or 1, peer, now_ns, relayed=False)

    def call_name(self, name: str, server: Address, now_ns: int) -> None:
        """As Session.call_name."""
        self._move(Trigger.LOOK_UP)
        self._peer_name, self._peer_label = name, _label(name, server)
        self._meet(server).ring(name, now_ns)

    def accept(self, now_ns: int) -> None:
        """As Session.accept."""
        if self.state in _OVER:
            return
        self._move(Trigger.ACCEPT)
        link = self._call_link()
        self._ring_over_ns = None
        self._told = self._candidates()
        answer = msg.Answer(link.exchange.next_id(), self._settings.name, self._offer, self._told)
        link.request(answer, now_ns, self._settings.setup_timeout_ms * NS_PER_MS)

    def refuse(self, now_ns: int, detail: str) -> None:
        """As Session.refuse."""
        if self.state in _OVER:
            return
        if self.state is not State.INCOMING:
            raise LocalProtocolError(f"there is no call to refuse while {self.state.name.lower()}")
        self._leave(EndReason.REFUSED, detail or "the call was refused", now_ns)

    def end(self, now_ns: int, detail: str) -> None:
        """As Session.end."""
        if self.state in _OVER:
            return
        if self.state in _BEFORE_A_CALL:
            self._finish(ev.Ended(EndReason.CANCELLED, False, detail or "stopped before there was a call"))
        elif self.state is State.INCOMING:
            self.refuse(now_ns, detail)
        elif self.state is State.CALLING and self._call_link().secrets is None:  # nobody to tell, and no key to do so
            self._finish(ev.Ended(EndReason.CANCELLED, False, detail or "the caller gave up"))
        elif self.state in (State.CALLING, State.RINGING):
            self._leave(EndReason.CANCELLED, detail or "the caller gave up", now_ns)
        else:
            self._leave(EndReason.HUNG_UP, detail, now_ns)

    # ---- inputs ----------------------------------------------------------------------------------
    def on_server(self, message: rv.ServerMessage, source: Address, now_ns: int) -> bool:
        """Take a server's message; False where it means nothing to us."""
        if self.on_relay(message, source, now_ns):
            return True
        if self.registration is None or source != self.registration.server:
            return False
        outcome = self.registration.handle(message, now_ns)
        if outcome is not None:
            self._on_outcome(outcome, now_ns)
        return True

    def on_control(self, message: msg.ControlMessage, source: Address, now_ns: int) -> bool:
        """Take an authenticated message of our call's peer; False where it is out of turn.

        Reports, and what a status says, are `session.py`'s.
        """
        link = self._call_link()
        if self.state is State.ANSWERED and isinstance(message, (msg.Probe, msg.Report, msg.Status)):
            self._connect(Trigger.CONFIRM, now_ns)  # as in on_media
        self.heard(source, now_ns)
        known = True
        match message:
            case msg.Hello():
                known = False  # has its place in the handshake
            case msg.Ringing():
                known = self._on_ringing(message, source, now_ns)
            case msg.Answer():
                known = self._on_answer(message, source, now_ns)
            case msg.Refuse() | msg.End():
                self._on_end(message, source, now_ns)
            case msg.Ok():
                self._on_ok(message, source, now_ns)
            case msg.Moved():
                self._on_moved(message, source, now_ns)
            case msg.Status() if self.state is not State.CONNECTED:
                known = False  # comes again
            case msg.Probe() | msg.Status():
                link.send(msg.Ok(link.exchange.next_id(), message.id), source, now_ns)
        return known

    def on_media(self, source: Address, now_ns: int) -> bool:
        """Authenticated media of our call came in; False where it comes out of turn."""
        if self.state is State.ANSWERED:  # the caller sends, so it has our answer: its Ok was lost
            self._connect(Trigger.CONFIRM, now_ns)
        self.heard(source, now_ns)
        return self.state is State.CONNECTED

    def handle_timer(self, now_ns: int) -> None:
        """Do what is due."""
        if self.registration is not None:
            for outcome in self.registration.handle_timer(now_ns):
                self._on_outcome(outcome, now_ns)
        if self.link is not None and self.state is not State.ENDED:
            for given_up in self.link.handle_timer(now_ns):
                self._on_given_up(given_up)
            if self.link.fall_back(now_ns):
                self._tell_path()
        self._roam(now_ns)
        self._give_up_opening(now_ns)
        if self._ring_over_ns is not None and self._ring_over_ns <= now_ns:
            self._ring_over_ns = None
            self._leave(EndReason.NO_ANSWER, "nobody answered", now_ns)
        if self.state is State.CONNECTED and now_ns >= self._silence_ns():
            silence_s = self._settings.silence_timeout_ms / 1000
            self._leave(EndReason.SILENCE, f"nothing heard of the peer for {silence_s:g} s", now_ns)

    def next_due_ns(self) -> int | None:
        """When `handle_timer` has something to do next."""
        link, state = self.link, self.state
        registered_ns = None if self.registration is None else self.registration.next_due_ns()
        link_ns = None if link is None or state is State.ENDED else link.next_due_ns()
        spoiled_ns = None
        if state is State.CALLING and link is not None and link.opening is not None:
            spoiled_ns = link.opening.spoiled_due_ns
        silence_ns = self._silence_ns() if state is State.CONNECTED else None
        return earliest(self._ring_over_ns, self._roam_due_ns(), registered_ns, link_ns, spoiled_ns, silence_ns)

    # ---- messages of the peer --------------------------------------------------------------------
    def _on_hello(self, connection_id: int, entered: Entered, hello: msg.Hello, source: Address, now_ns: int) -> None:
        """A caller has proved itself: let it ring, or turn it away."""
        relayed = self._is_relay(source)
        link = CallLink(connection_id, source, self._stats, relayed=relayed)
        link.secure(entered.secrets, self._protection)
        label = _label(hello.name, self._server() if relayed else None)
        security = self._security_with(label, entered.secrets)
        agreed = negotiate(hello.offer, self._offer)
        if not allowed(self.state, Trigger.HELLO):
            self._turn_away(entered.visitor, link, EndReason.BUSY, "the callee is in another call", now_ns)
        elif security.trust is Trust.CHANGED:
            text = f"the callee knows another key of {label}"
            self._turn_away(entered.visitor, link, EndReason.KEY, text, now_ns)
            self._miss(hello.name, connection_id, EndReason.KEY, changed_key(label, security.peer_public), now_ns)
        elif isinstance(agreed, str):
            self._turn_away(entered.visitor, link, EndReason.INCOMPATIBLE, agreed, now_ns)
            self._miss(hello.name, connection_id, EndReason.INCOMPATIBLE, agreed, now_ns)
        else:
            self._move(Trigger.HELLO)
            self.link, self.agreed, self._security = link, agreed, security
            self._peer_name, self._peer_candidates = hello.name, hello.candidates
            self._ring_over_ns = now_ns + self._settings.answer_timeout_ms * NS_PER_MS + CALLEE_PATIENCE_NS
            self._hello_id = hello.id
            if relayed:
                self._take_guest(connection_id, source, hello.ticket)
            self.heard(source, now_ns)
            link.send(msg.Ringing(link.exchange.next_id(), hello.id), source, now_ns)
            self.events.append(ev.IncomingCall(hello.name, source, agreed, security))

    def _on_hello_again(self, source: Address, now_ns: int) -> bool:
        """Our Ringing was lost; where we have answered meanwhile, the answer is on its way by itself."""
        link = self._call_link()
        if self.state is State.INCOMING:
            link.send(msg.Ringing(link.exchange.next_id(), self._hello_id), source, now_ns)
        return self.state in (State.INCOMING, State.ANSWERED)

    def _on_ringing(self, message: msg.Ringing, source: Address, now_ns: int) -> bool:
        if self._call_link().exchange.answered(message.to, source) is None:
            return False
        if allowed(self.state, Trigger.PEER_RINGS):
            self._move(Trigger.PEER_RINGS)
            self._ring_over_ns = now_ns + self._settings.answer_timeout_ms * NS_PER_MS
            self.events.append(ev.PeerRinging())
        return True

    def _on_answer(self, answer: msg.Answer, source: Address, now_ns: int) -> bool:
        link = self._call_link()
        if allowed(self.state, Trigger.ANSWER):
            agreed = negotiate(self._offer, answer.offer)
            link.exchange.drop(msg.Hello)
            if isinstance(agreed, str):
                self._leave(EndReason.INCOMPATIBLE, agreed, now_ns)
                return True
            self.agreed = agreed
            self._peer_name, self._peer_candidates = answer.name, answer.candidates
            self._connect(Trigger.ANSWER, now_ns)
        elif self.state is not State.CONNECTED:
            return False
        link.send(msg.Ok(link.exchange.next_id(), answer.id), source, now_ns)
        return True

    def _on_end(self, message: msg.Refuse | msg.End, source: Address, now_ns: int) -> None:
        link = self._call_link()
        link.slots = None  # this reply is the last thing that is said
        link.send(msg.Ok(link.exchange.next_id(), message.id), source, now_ns)
        if self.state not in _OVER:
            reason = _reason(message.reason, EndReason.HUNG_UP)
            self._finish(ev.Ended(reason, True, message.detail or f"the peer ended the call: {reason}"))

    def _on_ok(self, message: msg.Ok, source: Address, now_ns: int) -> None:
        link = self._call_link()
        if link.probe_answered(message.to, source, now_ns):
            self._tell_path()
            return
        match link.exchange.answered(message.to, source):
            case msg.Answer() if self.state is State.ANSWERED:
                self._connect(Trigger.CONFIRM, now_ns)
            case msg.Refuse() | msg.End() if self._ended is not None:
                self._finish(self._ended)

    # ---- the server, and requests without a reply ------------------------------------------------
    def _on_outcome(self, outcome: Outcome, now_ns: int) -> None:
        match outcome:
            case rv.Registered():
                self._on_registered(outcome, now_ns)
            case rv.Placed() if self.state is State.LOOKING_UP:
                self._on_placed(outcome, now_ns)
            case rv.Denied():
                reason = _reason(outcome.reason, EndReason.SERVER)
                self._on_no_server(ev.Ended(reason, True, outcome.detail), now_ns, lasting=True)
            case NoReply():
                detail = f"no answer from the server at {format_address(self._server())}"
                self._on_no_server(ev.Ended(EndReason.UNREACHABLE, False, detail), now_ns, lasting=False)

    def _on_placed(self, placed: rv.Placed, now_ns: int) -> None:
        """Call through the relay that the server chose: itself, or another one, where we first take our place."""
        self._reflexive = placed.you
        relay = placed.relay or self._server()
        self.guest = self._make_guest(relay, placed.call, 0, placed.ticket)
        if placed.relay is not None:
            self.guest.seek(now_ns)
        self._dial(placed.call, relay, now_ns, ticket=placed.ticket, relayed=True)

    def _on_registered(self, message: rv.Registered, now_ns: int) -> None:
        self._reflexive = message.you
        if self.state is State.CONNECTED:
            self._announce(now_ns)
        if self.state is State.REGISTERING or self._registration_lost:
            self.events.append(ev.Registered(self._settings.name, self._server(), message.you))
        if self.state is State.REGISTERING:
            self._move(Trigger.REGISTERED)
        self._registration_lost = False

    def _on_no_server(self, ended: ev.Ended, now_ns: int, *, lasting: bool) -> None:
        """Before anything stands that is the end; later the name is asked for again (unless denied)."""
        if self.state in (State.REGISTERING, State.LOOKING_UP) or (lasting and self.state is State.LISTENING):
            self._finish(ended)
        elif not lasting and self.registration is not None:
            if not self._registration_lost:
                self.events.append(ev.RegistrationLost(self._server(), ended.detail))
            self._registration_lost = True
            self.registration.register(self._settings.name, now_ns)

    def _on_given_up(self, message: msg.ControlMessage) -> None:
        if isinstance(message, (msg.End, msg.Refuse)) and self._ended is not None:
            self._finish(self._ended)
        elif isinstance(message, (msg.Hello, msg.Answer)):
            paths = self._call_link().paths
            where = format_address(paths.primary)
            if paths.relayed:
                where = f"{self._peer_name or 'the peer'} through the server at {where}"
            answered = isinstance(message, msg.Answer)
            detail = f"the caller is gone: {where}" if answered else f"no answer from {where}"
            self._finish(ev.Ended(EndReason.UNREACHABLE, False, detail))


def _label(name: str, server: Address | None) -> str:
    """Under which a peer's key is remembered."""
    return f"{name}@{format_address(server)}" if name and server is not None else name


def _reason(text: str, otherwise: EndReason) -> EndReason:
    try:
        return EndReason(text)
    except ValueError:
        return otherwise
