"""One call between two ends, as a value machine: no socket, clock, thread or global random generator.

The parts: `Signalling` sets the call up and ends it, `Media` holds sender and jitter buffer, `Reports` the
receiver reports; `states.TABLE` says what may follow what. This file takes the inputs to them and the
outputs from them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from voicelink.core.condition import KEEP_ALIVE_NS, Conditions
from voicelink.core.events import Agreed, Condition, Event, PeerChanged, PlayoutDecision, Wait
from voicelink.core.jitter import JitterBuffer
from voicelink.core.media import Media
from voicelink.core.plan import Plan
from voicelink.core.reports import Reports
from voicelink.core.signalling import Signalling
from voicelink.core.slots import SLOT_NS, Slots
from voicelink.core.states import State
from voicelink.core.stats import Stats
from voicelink.errors import ControlError, LocalProtocolError, PacketError
from voicelink.frame import Frame, Pause
from voicelink.secure.identity import Credentials, Identity
from voicelink.secure.seal import ENCRYPTED, Protection, ReplayError
from voicelink.settings import Address, SessionSettings
from voicelink.units import MAX_BITS_PER_FRAME, NS_PER_MS, earliest
from voicelink.wire.control import MAX_MODELS, MAX_NAME_BYTES, ControlMessage, Report, Status, parse_body
from voicelink.wire.media import MediaPacket
from voicelink.wire.packet import Header, Kind, split
from voicelink.wire.rendezvous import parse_reply
from voicelink.wire.schema import clip

#: On a narrow path reports come so much more rarely: media shows that an end lives.
THRIFTY = 4
#: Bounds of `set_late_rate`, as those of the setting.
LEAST_LATE_RATE, MOST_LATE_RATE = 0.0005, 0.2


class Session:
    """One call, from the first hello to its end. Give it exactly one input, then drain all three outputs.

    `entropy(n)` returns n random bytes (os.urandom in an application, a seeded generator in a test).
    `local_addresses` are our own addresses that the peer may try for a direct path.
    `credentials` say who we are and whom we know (by default a key made for this session alone, and nobody);
    `protection` is another than the real one only in simulations (`secure/null.py`), and both ends must have the same.
    Bad bytes from outside are counted and dropped; wrong calls of ours raise LocalProtocolError.
    """

    def __init__(
        self,
        settings: SessionSettings,
        *,
        entropy: Callable[[int], bytes],
        local_addresses: Sequence[Address] = (),
        credentials: Credentials | None = None,
        protection: Protection = ENCRYPTED,
    ) -> None:
        if clip(settings.name, MAX_NAME_BYTES) != settings.name:
            raise LocalProtocolError(f"a name is printable text of at most {MAX_NAME_BYTES} bytes")
        if len(settings.model_ids) > MAX_MODELS or any(clip(m, MAX_NAME_BYTES) != m for m in settings.model_ids):
            text = f"at most {MAX_MODELS} model ids, each printable text of at most {MAX_NAME_BYTES} bytes"
            raise LocalProtocolError(f"{text}; these are {', '.join(map(repr, settings.model_ids))}")
        self._settings = settings
        self._stats = Stats()
        credentials = credentials or Credentials(Identity.generate(entropy))
        self._signalling = Signalling(settings, entropy, local_addresses, self._stats, credentials, protection)
        self._reports = Reports(self._stats)
        self._conditions = Conditions(constant=settings.constant_rate)
        self._media: Media | None = None
        self._report_ns: int | None = None
        self._connected_ns = 0

    # ---- the user's side -------------------------------------------------------------------------
    def listen(self, now_ns: int, server: Address | None = None) -> None:
        """Wait for a call: to this socket, and under `settings.name` at `server` where one is given."""
        if server is not None and not self._settings.name:
            raise LocalProtocolError("listening at a server needs a name")
        self._signalling.listen(now_ns, server)

    def call(self, peer: Address, now_ns: int, label: str = "") -> None:
        """Call the session that listens at `peer`; its key is remembered under `label`, by default its address."""
        self._signalling.call(peer, now_ns, label)

    def call_name(self, name: str, server: Address, now_ns: int) -> None:
        """Call who is registered as `name` at `server`."""
        if not name or clip(name, MAX_NAME_BYTES) != name:
            raise LocalProtocolError(f"a name is printable text of 1..{MAX_NAME_BYTES} bytes")
        self._signalling.call_name(name, server, now_ns)

    def accept(self, now_ns: int) -> None:
        """Answer the IncomingCall. No effect where the caller has given up meanwhile."""
        self._signalling.accept(now_ns)

    def refuse(self, now_ns: int, detail: str = "") -> None:
        """Refuse the IncomingCall; `detail` is shown to the caller. No effect as in `accept`."""
        self._signalling.refuse(now_ns, detail)

    def end(self, now_ns: int, detail: str = "") -> None:
        """Hang up, cancel, or stop listening. No effect where the session is ending or has ended already."""
        self._signalling.end(now_ns, detail)
        self._after_input(now_ns)

    def set_condition(self, condition: Condition, now_ns: int) -> None:
        """Mute, hold, stop listening, ask for fewer bits, or the reverse: at once, and the peer is told.

        Before the call it holds from the call's first moment on.
        """
        if not 1 <= condition.bits <= MAX_BITS_PER_FRAME:
            raise LocalProtocolError(f"{condition.bits} bits a frame is outside 1..{MAX_BITS_PER_FRAME}")
        if condition != self._conditions.own:
            self._conditions.own = condition
            self._tell_condition(now_ns)

    def set_late_rate(self, share: float) -> None:
        """The share of frames that may come too late from now on, 0.0005..0.2: small is safe, large is quick."""
        if not LEAST_LATE_RATE <= share <= MOST_LATE_RATE:
            raise LocalProtocolError(f"a late rate of {share} is outside {LEAST_LATE_RATE}..{MOST_LATE_RATE}")
        self._settings = replace(self._settings, target_late_rate=share)
        if self._media is not None:
            self._media.buffer.estimator.target_late_rate = share

    # ---- inputs: exactly one, then drain ---------------------------------------------------------
    def handle_datagram(self, data: bytes, source: Address, now_ns: int) -> None:
        """Take one datagram. Never raises for what is in it."""
        try:
            header, body = split(data)
            if header.kind is Kind.SERVER:
                known = self._signalling.on_server(parse_reply(body), source, now_ns)
            elif header.kind is Kind.HANDSHAKE:
                known = self._signalling.on_handshake(header, body, source, now_ns)
            else:
                known = self._on_sealed(header, data, source, now_ns)
        except ReplayError:
            self._stats.packets_duplicated += 1
            return
        except (PacketError, ControlError):
            self._stats.packets_invalid += 1
            return
        if not known:
            self._stats.packets_unexpected += 1
        self._after_input(now_ns)

    def handle_timer(self, now_ns: int) -> None:
        """Do what is due at `now_ns`; harmless when nothing is."""
        self._signalling.handle_timer(now_ns)
        self._after_input(now_ns)
        if self._report_ns is not None and self._report_ns <= now_ns:
            self._send_report(now_ns)

    def send_frame(self, frame: Frame | Pause, now_ns: int) -> None:
        """Send one coded frame; packets leave when `agreed.frames_per_packet` frames are together. A Pause in its place
        is told of when it is the first after a frame, and then more and more rarely.

        Dropped in silence after the call's end and where nothing is to be sent (`send_bits`): the codec thread cannot
        know yet. Raises LocalProtocolError before Connected, for bits outside the agreed range, and for an index not
        after the last one.

        Under `constant_rate` every frame is sent, and must have the plan's bits and follow the one before: where
        `send_bits` is 0, the caller codes silence.
        """
        state, media, link = self._signalling.state, self._media, self._signalling.link
        if state in (State.ENDING, State.ENDED):
            return
        if media is None or link is None:
            raise LocalProtocolError(f"no frame can be sent while {state.name.lower()}")
        self._stats.connected_ns = now_ns - self._connected_ns
        if not self._conditions.sends_media:
            return
        for body in media.send(frame, now_ns):
            link.send_media(body, now_ns)

    def pull_frame(self, now_ns: int, *, quiet: bool = False) -> PlayoutDecision:
        """What the loudspeaker plays in its next slot of 256 samples; Wait before and after the call.

        `quiet`: what was heard last was quiet, so that here a frame more or less would not be noticed.
        """
        if self._media is None or self._signalling.state is not State.CONNECTED:
            return Wait()
        return self._media.pull(now_ns, quiet=quiet)

    # ---- outputs: take all three after every input -----------------------------------------------
    def datagrams_to_send(self, now_ns: int) -> list[tuple[bytes, Address]]:
        """Datagrams to send now, in order."""
        return self._signalling.take_outbox()

    def next_event(self) -> Event | None:
        """The next event, or None."""
        events = self._signalling.events
        return events.popleft() if events else None

    def next_timer_ns(self) -> int | None:
        """When `handle_timer` wants to be called, or None."""
        return earliest(self._signalling.next_due_ns(), self._report_ns)

    # ---- what is known ---------------------------------------------------------------------------
    @property
    def local_addresses(self) -> tuple[Address, ...]:
        """Our own addresses, as named to the peer; to be set before the call or the answer."""
        return self._signalling.local_addresses

    @local_addresses.setter
    def local_addresses(self, addresses: Sequence[Address]) -> None:
        self._signalling.local_addresses = tuple(addresses)

    @property
    def state(self) -> State:
        """Where the call stands."""
        return self._signalling.state

    @property
    def agreed(self) -> Agreed | None:
        """What was negotiated, from IncomingCall (callee) or Connected (caller) on."""
        return self._signalling.agreed

    @property
    def condition(self) -> Condition:
        """How we take part in the call."""
        return self._conditions.own

    @property
    def peer_condition(self) -> Condition:
        """How the peer does, as far as it has told."""
        return self._conditions.peer

    @property
    def send_bits(self) -> int:
        """Bits a frame to code with now; 0 where no frames are to be coded: muted, on hold, or not connected."""
        agreed = self._signalling.agreed
        if agreed is None or self._signalling.state is not State.CONNECTED or not self._conditions.is_sending:
            return 0
        most = self._conditions.bits(agreed)
        return most if self._media is None else min(most, self._media.plan.bits)

    @property
    def sends_second(self) -> bool:
        """Whether second descriptions of frames would be sent now (see `Frame`)."""
        return self.send_bits > 0 and self._media is not None and self._media.plan.repeats_twice

    @property
    def plan(self) -> Plan | None:
        """What our packets hold now; None before the call."""
        return None if self._media is None else self._media.plan

    @property
    def late_rate(self) -> float:
        """The share of frames that may come too late."""
        return self._settings.target_late_rate

    @property
    def is_silent(self) -> bool:
        """Whether nothing is heard of the peer of a standing call just now."""
        return self._signalling.is_silent

    @property
    def frames_held(self) -> int:
        """Frames in the jitter buffer."""
        return self._media.frames_held if self._media is not None else 0

    @property
    def playout(self) -> JitterBuffer | None:
        """The jitter buffer, to look at (its level, target, late rate and curve); None before the call."""
        return None if self._media is None else self._media.buffer

    @property
    def late_curve(self) -> list[tuple[float, float]]:
        """Share of the last 20 s' frames that each fixed delay (ms after the fastest frame) would have had too late.

        Up to the first delay at which none was late.
        """
        if self.playout is None:
            return []
        curve = [(round(ns / NS_PER_MS, 1), round(share, 5)) for ns, share in self.playout.estimator.curve(172)]
        zero = next((i for i, (_, share) in enumerate(curve) if not share), len(curve))
        return curve[: zero + 1]

    @property
    def stats(self) -> Stats:
        """A copy of the statistics so far (WebRTC's names where they exist)."""
        return self._stats.copy()

    # ---- helpers ---------------------------------------------------------------------------------
    def _on_sealed(self, header: Header, data: bytes, source: Address, now_ns: int) -> bool:
        """Open a datagram of our call; False where it is of none."""
        link = self._signalling.link
        if link is None or header.connection_id != link.connection_id or link.opener is None:
            return False
        body, counter = link.opener.open(header, data)
        if header.kind is Kind.MEDIA:
            return self._on_media(MediaPacket.parse(body), counter, len(data), source, now_ns)
        return self._on_control(body, source, now_ns)

    def _on_media(self, packet: MediaPacket, counter: int, size_bytes: int, source: Address, now_ns: int) -> bool:
        if self._signalling.state in (State.ENDING, State.ENDED):
            return True  # on its way when the call ended
        if not self._signalling.on_media(source, now_ns):
            return False
        self._after_input(now_ns)
        assert self._media is not None
        self._media.receive(packet, counter, size_bytes, now_ns)
        return True

    def _on_control(self, body: bytes, source: Address, now_ns: int) -> bool:
        known = False
        for message in parse_body(body):
            known |= self._on_message(message, source, now_ns)
        return known

    def _on_message(self, message: ControlMessage, source: Address, now_ns: int) -> bool:
        known = self._signalling.on_control(message, source, now_ns)
        if known and isinstance(message, Report):
            if self.state is not State.CONNECTED:
                return False
            self._signalling.events.append(self._reports.take(message, now_ns))
            if message.feedback is not None and self._media is not None:
                self._media.on_feedback(message.feedback, now_ns)
        elif known and isinstance(message, Status):
            self._after_input(now_ns)  # it may be what connected us
            self._on_status(message, now_ns)
        return known

    def _on_status(self, status: Status, now_ns: int) -> None:
        before, was_sending = self._conditions.peer, self._conditions.is_sending
        if self._media is None or not self._conditions.take(status):
            return
        if status.silent:
            self._media.announce_silence(status.frame, now_ns)
        if self._conditions.peer != before:
            self._signalling.events.append(PeerChanged(self._conditions.peer))
        if self._conditions.is_sending != was_sending:
            self._tell_condition(now_ns)

    def _tell_condition(self, now_ns: int) -> None:
        """Tell the peer how we take part now, until it confirms; where nothing is sent any more, that is the last."""
        link, media = self._signalling.link, self._media
        if self.state is not State.CONNECTED or link is None or media is None:
            return
        if not self._conditions.sends_media:
            for body in media.flush(now_ns):
                link.send_media(body, now_ns)
            self._report_ns = min(now_ns + KEEP_ALIVE_NS, self._report_ns or now_ns)
        link.exchange.drop(Status)
        status = self._conditions.status(link.exchange.next_id(), media.next_index)
        link.request(status, now_ns, self._settings.silence_timeout_ms * NS_PER_MS)

    def _after_input(self, now_ns: int) -> None:
        """Follow the state: media and reports live while the call is connected."""
        if self._signalling.state is not State.CONNECTED:
            self._report_ns = None
            return
        if self._media is None and self.agreed is not None:
            self._media = Media(self.agreed, self._settings, self._stats)
            self._connected_ns = now_ns
            if self._settings.constant_rate and self._signalling.link is not None:
                self._signalling.link.slots = Slots()
            self._send_report(now_ns)
            if self._conditions.own != Condition():
                self._tell_condition(now_ns)
        self._stats.connected_ns = now_ns - self._connected_ns

    def _send_report(self, now_ns: int) -> None:
        link = self._signalling.link
        assert link is not None
        if link.exhausted:
            self._report_ns = None
            self._signalling.end(now_ns, "the call's packet numbers are used up; call again")
            return
        told = None if self._media is None else self._media.feedback(now_ns)
        report = self._reports.make(link.exchange.next_id(), now_ns, told)
        if link.slots is not None:
            link.send_slot(report, now_ns)
            self._report_ns = max((self._report_ns or now_ns) + SLOT_NS, now_ns + 1)
            return
        link.send(report, link.paths.current, now_ns)
        interval_ns = self._settings.report_interval_ms * NS_PER_MS
        if self._media is not None and self._media.governor is not None and self._media.governor.is_thrifty:
            interval_ns *= THRIFTY
        if not self._conditions.sends_media:
            interval_ns = min(interval_ns, KEEP_ALIVE_NS)
        self._report_ns = now_ns + interval_ns
