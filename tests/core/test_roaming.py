"""Calls that go on: another address, a server that forgot everything, a network that was away."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from tests.core.world import SERVER, A, B, LossyLink, World, seeded_entropy
from voicelink.core import events as ev
from voicelink.core.relay import Relay
from voicelink.core.rooms import MAX_CALLS_OF_SOURCE, Rooms
from voicelink.core.session import Session
from voicelink.core.states import State
from voicelink.core.switchboard import Switchboard
from voicelink.settings import Address, ServerSettings
from voicelink.units import NS_PER_S
from voicelink.wire.control import TICKET_BYTES

A2: Address = ("192.0.2.99", 1001)
NEVER = 10**9


def relayed_call(**settings: bool) -> World:
    world = World()
    world.session(A, name="alice", **settings)
    world.session(B, name="bob", **settings)
    world.server()
    world.connect(relayed=True)
    world.run_ms(2000)
    return world


def heard_again_ms(world: World, listener: Address, limit_ms: int = 60_000) -> int:
    """How long until something of the peer comes to `listener`."""
    session, start_ns = world.machines[listener], world.now_ns
    assert isinstance(session, Session)
    before = session.stats.packets_received
    while session.stats.packets_received == before:
        if world.now_ns - start_ns > limit_ms * 1_000_000:
            return NEVER
        world.run_ms(10)
    return (world.now_ns - start_ns) // 1_000_000


def move_a(world: World) -> Session:
    """Give the end at A the address A2, which it does not know of yet."""
    session = world.machines.pop(A)
    assert isinstance(session, Session)
    world.machines[A2] = session
    world.events[A2] = world.events.pop(A)
    return session


def both_talk(world: World, seconds: float, ends: tuple[Address, Address] = (A, B)) -> None:
    """Frames both ways, sent while the world runs otherwise."""
    from tests.core.world import frame
    from voicelink.units import frames_to_ns

    start_ns = world.now_ns
    for end in ends:
        session = world.machines[end]
        assert isinstance(session, Session)
        first = world.sent.get(end, 0)  # type: ignore[attr-defined]
        count = int(seconds * 86)
        world.sent[end] = first + count  # type: ignore[attr-defined]
        for i in range(count):
            world.at(
                start_ns + frames_to_ns(i),
                lambda session=session, i=first + i: session.send_frame(frame(i), world.now_ns),  # type: ignore[misc]
            )


@pytest.fixture
def world(request: pytest.FixtureRequest) -> World:
    made = relayed_call(**getattr(request, "param", {}))
    made.sent = {}  # type: ignore[attr-defined]
    return made


RELAY_ONLY = pytest.mark.parametrize("world", [{"direct_path": False}], indirect=True)


@RELAY_ONLY
@pytest.mark.parametrize("down_ms", [50, 700, 5_000, 25_000])
def test_a_relayed_call_goes_on_after_its_server_was_restarted(world: World, down_ms: int) -> None:
    both_talk(world, 40.0)
    del world.machines[SERVER]
    world.run_ms(down_ms)
    restarted = Switchboard(ServerSettings(), entropy=seeded_entropy(77))
    world.machines[SERVER] = restarted
    assert max(heard_again_ms(world, end) for end in (A, B)) <= 2_000
    world.run_ms(1000)
    assert len(restarted.rooms) == len(restarted.relay) == 1
    assert len(restarted.directory) == 1  # bob has his name again
    assert all(machine.state is State.CONNECTED for machine in (world.machines[A], world.machines[B]))


@RELAY_ONLY
def test_a_relayed_call_follows_an_end_to_another_address(world: World) -> None:
    both_talk(world, 20.0)
    move_a(world)
    assert max(heard_again_ms(world, end) for end in (A2, B)) <= 2_000
    world.run_ms(3000)
    server = world.machines[SERVER]
    assert isinstance(server, Switchboard)
    assert {side for _, side in server.rooms.everybody()} == {A2, B}


def test_a_direct_call_follows_an_end_to_another_address(world: World) -> None:
    both_talk(world, 20.0)
    assert world.machines[B].state is State.CONNECTED
    move_a(world).local_addresses = [A2]
    assert max(heard_again_ms(world, end) for end in (A2, B)) <= 500
    world.run_ms(5000)
    paths = [e for e in world.events[B] if isinstance(e, ev.PathChanged)]
    assert (paths[-1].path, paths[-1].relayed) == (A2, False)
    assert not any(e.relayed for e in paths)  # straight from one to the other


def test_behind_filtering_nats_a_moved_end_is_met_through_the_relay_and_then_directly(world: World) -> None:
    """B's NAT lets in only whom B has sent to: neither end can be reached directly until both try anew."""
    world.link = FilteringLink()
    world.run_ms(1000)
    both_talk(world, 30.0)
    move_a(world).local_addresses = [A2]
    assert max(heard_again_ms(world, end) for end in (A2, B)) <= 5_000
    world.run_ms(5000)
    for end, other in ((A2, B), (B, A2)):
        last = [e for e in world.events[end] if isinstance(e, ev.PathChanged)][-1]
        assert (last.path, last.relayed) == (other, False)


@pytest.mark.parametrize("world", [{"direct_path": False}, {"direct_path": True}], indirect=True)
def test_thirty_seconds_without_a_network_end_no_call(world: World) -> None:
    both_talk(world, 60.0)
    link, world.link = world.link, LossyLink(loss=1.0)
    world.run_ms(30_000)
    world.link = link
    assert max(heard_again_ms(world, end) for end in (A, B)) <= 2_000
    world.run_ms(20_000)
    assert all(world.machines[end].state is State.CONNECTED for end in (A, B))


def test_a_muted_call_seeks_nothing(world: World) -> None:
    server = world.machines[SERVER]
    assert isinstance(server, Switchboard)
    world.run_ms(60_000)
    assert server.directory.counts.joins == 0


def test_a_server_that_stops_tells_its_calls_and_takes_no_new_ones(world: World) -> None:
    server = world.machines[SERVER]
    assert isinstance(server, Switchboard)
    server.close(20, world.now_ns)
    world.run_ms(1000)
    for end in (A, B):
        told = [e for e in world.events[end] if isinstance(e, ev.ServerClosing)]
        assert told == [ev.ServerClosing(SERVER, 20)]
    carol = world.session(("192.0.2.7", 7), name="carol")
    carol.call_name("bob", SERVER, world.now_ns)
    ended = world.run_until(("192.0.2.7", 7), ev.Ended)
    assert isinstance(ended, ev.Ended)
    assert "about to stop" in ended.detail


def test_nobody_joins_without_the_ticket() -> None:
    settings = ServerSettings()
    relay = Relay(settings)
    rooms = Rooms(10, [relay], seeded_entropy(1))
    placed = rooms.place(A, B, 1, 0)
    assert placed is not None
    call, ticket = placed
    thief: Address = ("198.51.100.66", 6)
    for wrong in (bytes(TICKET_BYTES), b"", ticket[:-1], ticket + b"x"):
        assert "ticket" in rooms.join(call, 0, wrong, thief, 0)
    assert relay.forward(call, thief, 50, 0) is None
    assert relay.forward(call, A, 50, 0) == B
    assert rooms.join(call, 0, ticket, A2, 0) == ""
    assert relay.forward(call, A, 50, 0) is None
    assert (relay.forward(call, A2, 50, 0), relay.forward(call, B, 50, 0)) == (B, A2)


def test_a_room_opened_by_a_ticket_waits_for_the_other_and_counts_for_who_opened_it() -> None:
    relay = Relay(ServerSettings())
    rooms = Rooms(100, [relay], seeded_entropy(1))
    ticket = bytes(range(TICKET_BYTES))
    assert rooms.join(5, 1, ticket, B, 0) == ""
    assert relay.forward(5, B, 50, 0) is None
    assert rooms.join(5, 0, ticket, A, 0) == ""
    assert relay.forward(5, B, 50, 0) == A
    for i in range(MAX_CALLS_OF_SOURCE - 1):
        assert rooms.join(100 + i, 0, ticket, (B[0], 9), 0) == ""
    assert "as many calls" in rooms.join(999, 0, ticket, (B[0], 9), 0)
    assert relay.expire(3600 * NS_PER_S) == [5, *range(100, 100 + MAX_CALLS_OF_SOURCE - 1)]
    rooms.forget(5)
    assert rooms.join(999, 0, ticket, (B[0], 9), 0) == ""


def test_calls_are_spread_over_desks_and_told_again() -> None:
    relays = [Relay(ServerSettings()) for _ in range(3)]
    rooms = Rooms(1000, relays, seeded_entropy(1))
    made = [rooms.place((f"10.0.0.{i}", 1), B, i, 0) for i in range(60)]
    for placed in made:
        assert placed is not None
        assert [placed[0] in {c for c, _, _ in relay.calls()} for relay in relays].index(True) == placed[0] % 3
    fresh = Relay(ServerSettings())
    kept = relays[1].calls()
    relays[1] = fresh
    rooms = Rooms(1000, relays, seeded_entropy(2))
    for call, sides, ticket in kept:
        rooms.restore(call, sides, ticket)
    rooms.bind_again(1, 0)
    assert fresh.calls() == kept


@dataclass
class FilteringLink(LossyLink):
    """NATs that let in only who was sent to before (port-restricted, RFC 4787); the server lets in everybody."""

    sent: set[tuple[Address, Address]] = field(default_factory=set)

    def fates_ns(self, source: Address, to: Address) -> list[int]:
        self.sent.add((source, to))
        if to != SERVER and (to, source) not in self.sent:
            return []
        return super().fates_ns(source, to)


def test_an_invitation_counts_with_the_secret_only(world: World) -> None:
    from voicelink.core.guest import Guest
    from voicelink.wire.packet import Header, Kind, join
    from voicelink.wire.rendezvous import Invite, encode_reply

    bob = world.machines[B]
    assert isinstance(bob, Session)
    registration = bob._signalling.registration
    assert registration is not None
    registration.secret = b"s" * 16

    def invited(secret: bytes, source: Address) -> dict[int, Guest]:
        invite = Invite(0, 77, secret, b"t" * 16, ("198.51.100.2", 1))
        bob.handle_datagram(join(Header(Kind.SERVER, 0, 0), encode_reply(invite)), source, world.now_ns)
        return bob._signalling._invited

    for secret, source in ((b"", SERVER), (b"x" * 16, SERVER), (b"s" * 16, A)):
        assert not invited(secret, source)
    assert set(invited(b"s" * 16, SERVER)) == {77}
