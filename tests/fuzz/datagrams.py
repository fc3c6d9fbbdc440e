"""Damaged datagrams against sessions in every state, the server, and the parsers.

What must hold for each one: no exception, nothing sent that is longer in all than what came (unless it came under
the peer's own key), nothing sent at all for bytes that nobody authenticated beyond handshake and front door, and
tables that stay within their bounds.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable
from itertools import pairwise

from tests.core.world import SERVER, A, B, World, frame
from voicelink.core import events as ev
from voicelink.core.door import MAX_WAITING
from voicelink.core.link import MAX_PROBES
from voicelink.core.paths import MAX_ADDRESSES
from voicelink.core.session import Session
from voicelink.core.switchboard import Switchboard
from voicelink.errors import ControlError, PacketError
from voicelink.secure.identity import Credentials, Identity
from voicelink.secure.seal import Sealer
from voicelink.settings import Address
from voicelink.wire.control import Bundle, encode_bundle, encode_control, parse_body
from voicelink.wire.handshake import parse_handshake
from voicelink.wire.media import Block, Feedback, MediaPacket, PauseNotice
from voicelink.wire.packet import Kind, split
from voicelink.wire.rendezvous import parse_reply, parse_request

from .mutate import mutated

STRANGER: Address = ("192.0.2.66", 6)
SOURCES = (A, B, SERVER, STRANGER)
PARSERS: tuple[Callable[[bytes], object], ...] = (
    MediaPacket.parse, parse_body, parse_handshake, parse_request, parse_reply, split,
)  # fmt: skip
#: So many datagrams meet one set of machines; then there are new ones.
ROUND = 4_000
PSK = bytes(range(32))


class Targets:
    """Machines in many states, and the datagrams and bodies that made them so."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.corpus: list[bytes] = []
        self.bodies: dict[Kind, list[bytes]] = {Kind.MEDIA: [], Kind.CONTROL: []}
        self.sent = self.sealed = self.replies = 0
        self._renew()

    def strike(self) -> None:
        """One datagram at one target."""
        self.sent += 1
        if self.sent % ROUND == 0:
            self._renew()
        choice = self.rng.random()
        if choice < 0.2:
            self._parse()
        elif choice < 0.35:
            self._strike_server()
        elif choice < 0.6:
            self._strike_under_key()
        else:
            self._strike_session()

    def _parse(self) -> None:
        bodies = self.bodies[Kind.CONTROL] + self.bodies[Kind.MEDIA] + self.corpus
        with contextlib.suppress(PacketError, ControlError):
            self.rng.choice(PARSERS)(mutated(self.rng, bodies, 1200))

    def _strike_server(self) -> None:
        data, source = mutated(self.rng, self.corpus, 1400), self.rng.choice(SOURCES)
        self.server.handle_datagram(data, source, self.now_ns)
        out = self.server.datagrams_to_send(self.now_ns)
        assert sum(len(d) for d, _ in out) <= len(data), (data, out)
        assert len(out) <= 1
        self._pass_time(self.server)

    def _strike_session(self) -> None:
        """Bytes under no key of ours: at most a handshake message comes back."""
        session = self.rng.choice(self.sessions)
        session.datagrams_to_send(self.now_ns)
        data = mutated(self.rng, self.corpus, 1400)
        session.handle_datagram(data, self.rng.choice(SOURCES), self.now_ns)
        out = session.datagrams_to_send(self.now_ns)
        if data not in self.genuine:
            assert all(split(d)[0].kind in (Kind.HANDSHAKE, Kind.SERVER) for d, _ in out), (data, out)
        self.replies += len(out)
        self._pass_time(session)

    def _strike_under_key(self) -> None:
        """A peer that holds the keys and sends nonsense."""
        session, sealer = self.rng.choice(self.in_call)
        kind = self.rng.choice((Kind.MEDIA, Kind.CONTROL))
        data = sealer.seal(kind, mutated(self.rng, self.bodies[kind], 1150), self.now_ns)
        session.handle_datagram(data, self.rng.choice(SOURCES), self.now_ns)
        self.sealed += 1
        self._pass_time(session)

    def _pass_time(self, machine: Session | Switchboard) -> None:
        """Now and then a timer, the loudspeaker and the user's events."""
        if self.rng.random() >= 0.05:
            return
        self.now_ns += self.rng.choice((0, 1_000_000, 50_000_000))
        machine.handle_timer(self.now_ns)
        out = machine.datagrams_to_send(self.now_ns)
        assert len(out) < 200, len(out)
        if isinstance(machine, Session):
            machine.pull_frame(self.now_ns)
            while machine.next_event() is not None:
                pass
            self._check_bounds(machine)

    def _check_bounds(self, session: Session) -> None:
        signalling = session._signalling
        assert len(signalling._door) <= MAX_WAITING
        if signalling.link is not None:
            assert len(signalling.link.paths._known) <= MAX_ADDRESSES
            assert len(signalling.link._probes) <= MAX_PROBES
            assert len(signalling.link.exchange._pending) < 10

    def _renew(self) -> None:
        """New machines: two calls (one with a passphrase, through the server), listeners, a caller."""
        self.genuine: set[bytes] = set()
        worlds = [self._call(relayed=False, psk=None), self._call(relayed=True, psk=PSK)]
        self.now_ns = max(world.now_ns for world in worlds)
        server = worlds[1].machines[SERVER]
        assert isinstance(server, Switchboard)
        self.server = server
        self.in_call: list[tuple[Session, Sealer]] = []
        self.sessions: list[Session] = []
        for world in worlds:
            a, b = world.machines[A], world.machines[B]
            assert isinstance(a, Session)
            assert isinstance(b, Session)
            self.sessions += [a, b]
            for one, other in ((a, b), (b, a)):
                link = other._signalling.link
                assert link is not None
                assert link._sealer is not None
                self.in_call.append((one, link._sealer))
        for psk in (None, PSK):
            listener, caller = self._fresh(psk), self._fresh(psk)
            listener.listen(self.now_ns, self.rng.choice((None, SERVER)))
            caller.call(B, self.now_ns)
            self.sessions += [listener, caller]

    def _fresh(self, psk: bytes | None) -> Session:
        credentials = Credentials(Identity(self.rng.randbytes(32)), psk)
        return World().session((f"192.0.2.{self.rng.randrange(9)}", 9), name="bob", credentials=credentials)

    def _call(self, *, relayed: bool, psk: bytes | None) -> World:
        world = World()
        world.server()
        for address, name in ((A, "alice"), (B, "bob")):
            entropy = self.rng.randbytes
            credentials = Credentials(Identity(entropy(32)), psk)
            constant = psk is not None and address == B
            world.session(address, name=name, redundancy=2, credentials=credentials, constant_rate=constant)
            world.machines[address]._signalling._entropy = entropy  # type: ignore[union-attr]
        for machine in world.machines.values():
            self._record(machine)
        world.connect(relayed=relayed)
        world.talk(A, B, 0.5)
        world.run_ms(500)
        assert any(isinstance(e, ev.Connected) for e in world.events[A])
        if not self.bodies[Kind.MEDIA]:
            self._keep_bodies(world)
        return world

    def _record(self, machine: Session | Switchboard) -> None:
        original = machine.datagrams_to_send

        def spy(now_ns: int) -> list[tuple[bytes, Address]]:
            out = original(now_ns)
            for data, _ in out:
                self.genuine.add(data)
                if len(self.corpus) < 500:
                    self.corpus.append(data)
                elif self.rng.random() < 0.1:
                    self.corpus[self.rng.randrange(500)] = data
            return out

        machine.datagrams_to_send = spy  # type: ignore[method-assign]

    def _keep_bodies(self, world: World) -> None:
        """What lies inside sealed datagrams, from the senders' side."""
        from tests.core.test_any_order import peer_message

        messages = [peer_message(self.rng) for _ in range(60)]
        self.bodies[Kind.CONTROL] = [encode_control(message) for message in messages]
        for one, other in pairwise(messages):
            if sum(len(encode_control(m)) for m in (one, other)) < 240:
                self.bodies[Kind.CONTROL].append(encode_bundle(Bundle((one, other), 250)))
        for i in range(40):
            frames = tuple(frame(i, 24).payload for _ in range(self.rng.randint(1, 8)))
            told = Feedback(i, i, 4, 3, 20, -1, 9, 190) if i % 2 else None
            pause = MediaPacket(i, 0, (), feedback=told, pause=PauseNotice(i, bytes(range(8))))
            self.bodies[Kind.MEDIA].append(bytes(pause))
            self.bodies[Kind.MEDIA].append(bytes(MediaPacket(i, 24, frames, (Block(i, 24, frames[:1]),))))
