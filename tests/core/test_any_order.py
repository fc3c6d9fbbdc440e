"""Well-formed messages in any order, user actions at any time, on any network: sessions always come to rest."""

from __future__ import annotations

import contextlib
import random
from typing import Any

import pytest

from tests.core.world import BASE, SERVER, A, B, LossyLink, World, frame
from voicelink.core import events as ev
from voicelink.core.negotiate import offer_of
from voicelink.core.session import Session
from voicelink.core.states import State
from voicelink.errors import LocalProtocolError
from voicelink.secure.handshake import Caller
from voicelink.secure.identity import Credentials, Identity
from voicelink.secure.seal import Sealer
from voicelink.settings import Address, SessionSettings
from voicelink.wire import control as msg
from voicelink.wire import rendezvous as rv
from voicelink.wire.handshake import Cookie, Finish, HandshakeMessage, Refusal, RefusalCode, Reply
from voicelink.wire.media import MediaPacket
from voicelink.wire.packet import Header, Kind, join

OFFERS = (offer_of(BASE), offer_of(SessionSettings(model_ids=("other",))))
BLOCKED: tuple[set[tuple[Address, Address]], ...] = (set(), {(A, B)}, {(A, B), (B, A)}, {(A, SERVER)})


def number(rng: random.Random) -> int:
    """Mostly an id that was used."""
    return rng.choice([1, 2, 3, 4, 5, rng.randint(0, msg.MAX_U32)])


def peer_message(rng: random.Random) -> msg.ControlMessage:
    known = tuple(rng.sample([A, B, SERVER, ("192.0.2.77", 9)], rng.randint(0, 3)))
    kind: Any = rng.choice(
        [msg.Hello, msg.Ringing, msg.Answer, msg.Refuse, msg.End, msg.Probe, msg.Moved, msg.Status, msg.Ok, msg.Report]
    )
    values: dict[Any, tuple[Any, ...]] = {
        msg.Hello: ("eve", rng.choice(OFFERS), known),
        msg.Answer: ("eve", rng.choice(OFFERS), known),
        msg.Refuse: ("busy", ""),
        msg.End: ("no such reason", "text"),
        msg.Probe: (),
        msg.Moved: (known,),
        msg.Status: (*rng.choices((False, True), k=4), rng.randint(0, 0xFFFF), rng.randint(1, 64)),
        msg.Report: tuple(number(rng) for _ in range(9)),
    }
    made: msg.ControlMessage = kind(number(rng), *values.get(kind, (number(rng),)))
    return made


def server_message(rng: random.Random) -> rv.ServerMessage:
    made: tuple[rv.ServerMessage, ...] = (
        rv.Retry(0, number(rng), b"a cookie, 16 B..", rng.choice([b"", bytes(32), rng.randbytes(32)])),
        rv.Registered(0, number(rng), rng.randint(1, 100), A),
        rv.Placed(0, number(rng), rng.randint(1, 5), A),
        rv.Denied(0, number(rng), "offline", ""),
        rv.Joined(0, number(rng), A),
        rv.Invite(0, rng.randint(1, 5), b"s", b"t" * 16, ("192.0.2.77", 9)),
        rv.Closing(0, rng.randint(1, 5), 9),
    )
    return rng.choice(made)


def handshake_message(rng: random.Random) -> HandshakeMessage:
    """Of the right form, and mostly senseless."""
    made: tuple[HandshakeMessage, ...] = (
        Caller(rng.randint(1, 3), Credentials(Identity(rng.randbytes(32))), rng.randbytes).init(),
        Reply(rng.randbytes(96)),
        Finish(rng.randbytes(100)),
        Cookie(rng.randbytes(16), rng.randbytes(16)),
        Refusal(rng.choice(list(RefusalCode)), rng.randbytes(16)),
    )
    return rng.choice(made)


def say(world: World, session: Session, rng: random.Random) -> None:
    """Something well-formed, mostly of the right call, from the right address and under the right key."""
    link, source = session._signalling.link, rng.choice([A, B, SERVER])
    call = rng.randint(0, 3)
    if link is not None and rng.random() < 0.9:
        call, source = link.connection_id, rng.choice(list(link.paths._known))
    kind = rng.choice([Kind.MEDIA, Kind.CONTROL, Kind.CONTROL, Kind.SERVER, Kind.HANDSHAKE])
    sealer = sealer_of_the_peer(world, session)
    if kind is Kind.SERVER:
        source, data = SERVER, join(Header(kind, 0, 0), rv.encode_reply(server_message(rng)))
    elif kind is Kind.HANDSHAKE or sealer is None:
        data = join(Header(Kind.HANDSHAKE, call, 0), bytes(handshake_message(rng)))
    elif kind is Kind.CONTROL:
        data = sealer.seal(kind, msg.encode_control(peer_message(rng)), world.now_ns)
    else:
        packet = MediaPacket(rng.randint(0, 0xFFFF), 8, (b"a",) * rng.randint(1, 8))
        data = sealer.seal(kind, bytes(packet), world.now_ns)
    session.handle_datagram(data, source, world.now_ns)


def sealer_of_the_peer(world: World, session: Session) -> Sealer | None:
    """What the other end of the session's call seals with; one like it where the other end is in no call any more."""
    link = session._signalling.link
    if link is None or link.secrets is None:
        return None
    for machine in world.machines.values():
        other = machine._signalling.link if isinstance(machine, Session) and machine is not session else None
        if other is not None and other.connection_id == link.connection_id and other._sealer is not None:
            return other._sealer
    return Sealer(link.connection_id, link.secrets.receive)


def act(world: World, address: Address, rng: random.Random, index: int) -> None:
    session = world.machines[address]
    assert isinstance(session, Session)
    what = rng.random()
    with contextlib.suppress(LocalProtocolError):  # the user's own misuse
        if what < 0.15:
            session.accept(world.now_ns)
        elif what < 0.19:
            (session.refuse if what < 0.17 else session.end)(world.now_ns)
        elif what < 0.4:
            session.send_frame(frame(index), world.now_ns)
        elif what < 0.6:
            for _ in range(rng.randint(1, 20)):
                world.pull(address)
        elif what < 0.62:
            muted, holding, deaf = rng.choices((False, True), k=3)
            session.set_condition(ev.Condition(muted, holding, deaf, rng.randint(1, 64)), world.now_ns)
        elif what < 0.65:
            world.link.blocked = rng.choice(BLOCKED)
        else:
            say(world, session, rng)
    world.run_ms(rng.choice([0, 1, 20, 300, 3000]))


@pytest.mark.parametrize("seed", range(40))
def test_every_session_comes_to_rest_and_ends_once(seed: int) -> None:
    rng = random.Random(seed)
    world = World(LossyLink(loss=rng.choice([0, 0.3]), duplicate=rng.choice([0, 0.3]), jitter_ms=rng.choice([0, 100])))
    world.link.rng.seed(seed)
    a, b = world.session(A, name="alice", redundancy=rng.randint(0, 2)), world.session(B, name="bob")
    world.server()
    at = rng.choice([SERVER, None])
    b.listen(world.now_ns, at)
    world.run_ms(rng.choice([0, 500]))
    if at is None:
        a.call(B, world.now_ns)
    else:
        a.call_name("bob", SERVER, world.now_ns)
    for step in range(50):
        act(world, rng.choice([A, B]), rng, step)
    for session in (a, b):
        session.end(world.now_ns)
    world.link.blocked = set()
    world.run_ms(5_000)
    for address, session in ((A, a), (B, b)):
        kinds = [type(e) for e in world.events[address]]
        assert session.state is State.ENDED
        assert session.next_timer_ns() is None
        assert kinds.count(ev.Ended) == 1
        assert kinds[-1] is ev.Ended
        assert kinds.count(ev.Connected) <= 1
