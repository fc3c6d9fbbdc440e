from __future__ import annotations

import pytest

from tests.core.world import BASE, SERVER, A, B, LossyLink, World, frame
from voicelink.core import events as ev
from voicelink.core.events import EndReason
from voicelink.core.states import State


def pair(**link: float) -> World:
    world = World(LossyLink(**link))
    world.session(A, name="alice")
    world.session(B, name="bob")
    return world


def last(world: World, address: tuple[str, int]) -> ev.Ended:
    event = world.run_until(address, ev.Ended, 60_000)
    assert isinstance(event, ev.Ended)
    return event


def test_a_direct_call_from_hello_to_end() -> None:
    world = pair()
    world.connect()
    a, b = world.machines[A], world.machines[B]
    assert a.agreed == b.agreed
    assert [type(e) for e in world.events[A][:2]] == [ev.PeerRinging, ev.Connected]
    incoming = world.events[B][0]
    assert isinstance(incoming, ev.IncomingCall)
    assert (incoming.peer_name, incoming.source) == ("alice", A)
    sent = world.talk(A, B, 3.0)
    a.end(world.now_ns, "bye")
    world.run_ms(3000)
    assert last(world, A) == ev.Ended(EndReason.HUNG_UP, False, "bye")
    assert last(world, B) == ev.Ended(EndReason.HUNG_UP, True, "bye")
    assert a.state is b.state is State.ENDED
    assert a.next_timer_ns() is None
    assert b.next_timer_ns() is None
    stats = b.stats
    assert stats.packets_received == a.stats.packets_sent == sent // 2
    assert (stats.packets_lost, stats.frames_concealed, stats.frames_late) == (0, 0, 0)
    played = [d.frame for d in world.played[B] if isinstance(d, (ev.Play, ev.Skip))]
    assert played == [frame(i) for i in range(len(played))]
    assert len(played) > sent - 12


def test_a_call_through_the_relay_moves_to_the_direct_path() -> None:
    world = pair()
    server = world.server()
    world.connect(relayed=True)
    assert isinstance(world.events[B][0], ev.Registered)
    world.run_ms(500)
    for here, there in ((A, B), (B, A)):
        moved = [e for e in world.events[here] if isinstance(e, ev.PathChanged)]
        assert moved == [ev.PathChanged(there, False)]
    before = server.relay.counts.datagrams_forwarded
    world.talk(A, B, 2.0)
    assert world.machines[B].stats.frames_concealed == 0
    assert server.relay.counts.datagrams_forwarded == before


def test_the_relay_carries_the_call_where_no_direct_path_works() -> None:
    world = pair()
    world.link.blocked = {(A, B), (B, A)}
    server = world.server()
    world.connect(relayed=True)
    world.talk(A, B, 3.0)
    assert not [e for e in world.events[A] if isinstance(e, ev.PathChanged)]
    assert world.machines[B].stats.frames_concealed == 0
    assert server.relay.counts.datagrams_forwarded > 120
    world.machines[B].end(world.now_ns)
    assert last(world, A).reason is EndReason.HUNG_UP
    world.run_ms(100)
    assert len(server.relay) == 0
    assert len(server.directory) == 0


def test_a_direct_path_that_dies_gives_way_to_the_relay() -> None:
    world = pair()
    world.server()
    world.connect(relayed=True)
    world.run_ms(1000)
    world.link.blocked = {(A, B), (B, A)}
    world.run_ms(5000)
    for address in (A, B):
        moved = [e for e in world.events[address] if isinstance(e, ev.PathChanged)]
        assert moved[-1] == ev.PathChanged(SERVER, True)
        assert world.machines[address].state is State.CONNECTED


@pytest.mark.parametrize("seed", range(20))
def test_calls_come_about_over_a_terrible_network(seed: int) -> None:
    world = pair(loss=0.3, duplicate=0.2, jitter_ms=80)
    world.link.rng.seed(seed)
    world.server()
    world.machines[B].listen(world.now_ns, SERVER)
    world.run_until(B, ev.Registered)
    world.machines[A].call_name("bob", SERVER, world.now_ns)
    world.run_until(B, ev.IncomingCall)
    world.machines[B].accept(world.now_ns)
    world.run_until(A, ev.Connected)
    world.run_until(B, ev.Connected)
    world.talk(A, B, 2.0)
    world.machines[A].end(world.now_ns)
    assert last(world, A).reason is EndReason.HUNG_UP
    assert world.machines[A].agreed == world.machines[B].agreed
    stats = world.machines[B].stats
    assert stats.packets_received + stats.packets_lost <= world.machines[A].stats.packets_sent
    assert stats.packets_duplicated > 0


def test_refused_calls_tell_the_caller_why() -> None:
    world = pair()
    world.machines[B].listen(world.now_ns)
    world.machines[A].call(B, world.now_ns)
    world.run_until(B, ev.IncomingCall)
    world.machines[B].refuse(world.now_ns, "not now")
    assert last(world, A) == ev.Ended(EndReason.REFUSED, True, "not now")
    assert last(world, B) == ev.Ended(EndReason.REFUSED, False, "not now")


def test_a_busy_callee_turns_a_second_caller_away() -> None:
    world = pair()
    world.connect()
    other = ("192.0.2.9", 9009)
    world.session(other, name="carol").call(B, world.now_ns)
    assert last(world, other).reason is EndReason.BUSY
    assert world.machines[B].state is State.CONNECTED


def test_an_unknown_name_is_offline() -> None:
    world = pair()
    world.server()
    world.machines[A].call_name("bob", SERVER, world.now_ns)
    ended = last(world, A)
    assert (ended.reason, ended.by_peer) == (EndReason.OFFLINE, True)
    assert "bob" in ended.detail


def test_nothing_in_common_is_refused_with_a_reason_both_see() -> None:
    world = World()
    world.session(A, model_ids=("x", "y"), name="alice").call(B, world.now_ns)
    world.session(B, model_ids=("z",)).listen(world.now_ns)
    ended = last(world, A)
    assert ended.reason is EndReason.INCOMPATIBLE
    missed = [e for e in world.events[B] if isinstance(e, ev.CallMissed)]
    assert [(m.peer_name, m.detail) for m in missed] == [("alice", ended.detail)]
    assert "x, y" in ended.detail
    assert world.machines[B].state is State.LISTENING


def test_nobody_answers() -> None:
    world = pair()
    world.machines[B].listen(world.now_ns)
    world.machines[A].call(B, world.now_ns)
    assert last(world, A).reason is EndReason.NO_ANSWER
    assert last(world, B) == ev.Ended(EndReason.NO_ANSWER, True, "nobody answered")


def test_nobody_there() -> None:
    world = pair()
    world.machines[A].call(("203.0.113.77", 5), world.now_ns)
    ended = last(world, A)
    assert ended.reason is EndReason.UNREACHABLE
    assert "203.0.113.77:5" in ended.detail


def test_no_server_there() -> None:
    world = pair()
    world.machines[A].call_name("bob", SERVER, world.now_ns)
    world.machines[B].listen(world.now_ns, SERVER)
    for address in (A, B):
        assert last(world, address).reason is EndReason.UNREACHABLE
        assert "198.51.100.1:47600" in last(world, address).detail


def test_a_caller_that_gives_up_cancels_the_ringing() -> None:
    world = pair()
    world.machines[B].listen(world.now_ns)
    world.machines[A].call(B, world.now_ns)
    world.run_until(B, ev.IncomingCall)
    world.machines[A].end(world.now_ns)
    assert last(world, B).reason is EndReason.CANCELLED
    assert last(world, A).reason is EndReason.CANCELLED


def test_a_silent_peer_ends_the_call() -> None:
    world = pair()
    world.connect()
    del world.machines[B]
    start = world.now_ns
    world.run_ms(38_000)
    assert last(world, A).reason is EndReason.SILENCE
    assert 39e9 < world.now_ns - start < 43e9


def test_idle_calls_live_on_their_reports() -> None:
    world = pair()
    world.connect()
    world.run_ms(60_000)
    assert world.machines[A].state is State.CONNECTED
    reports = [e for e in world.events[A] if isinstance(e, ev.PeerReport)]
    assert 59 <= len(reports) <= 62


def test_reports_carry_loss_and_round_trip() -> None:
    world = pair(delay_ms=30)
    world.connect()
    world.link.loss = 0.1
    world.talk(A, B, 20.0)
    stats = world.machines[A].stats
    assert stats.rtt_ns is not None
    assert abs(stats.rtt_ns - 60e6) < 1e5
    reports = [e for e in world.events[A] if isinstance(e, ev.PeerReport)]
    lost, received = reports[-1].packets_lost, reports[-1].packets_received
    assert 0.05 < lost / (lost + received) < 0.16
    assert reports[-1].frames_late == 0
    assert reports[-1].buffer_us > 5_000


def test_redundancy_recovers_what_loss_took() -> None:
    world = World(LossyLink())
    world.session(A, redundancy=2)
    world.session(B)  # each end decides for itself what it sends
    world.connect()
    world.link.loss = 0.1
    world.talk(A, B, 20.0)
    stats = world.machines[B].stats
    share = stats.frames_concealed / (stats.frames_concealed + stats.frames_played)
    assert stats.packets_lost > 50
    assert stats.frames_recovered > stats.packets_lost
    assert share < 0.03
    played = [d.frame for d in world.played[B] if isinstance(d, ev.Play)]
    assert all(f == frame(f.index) for f in played)


def test_registrations_outlive_their_lifetime_by_refreshing() -> None:
    world = pair()
    server = world.server()
    world.machines[B].listen(world.now_ns, SERVER)
    world.run_ms(300_000)
    assert len(server.directory) == 1
    assert [type(e) for e in world.events[B]] == [ev.Registered]
    del world.machines[B]
    world.run_ms(61_000)
    assert len(server.directory) == 0


def test_a_server_that_restarts_gets_the_name_again() -> None:
    world = pair()
    world.server()
    world.machines[B].listen(world.now_ns, SERVER)
    world.run_ms(1000)
    del world.machines[SERVER]
    world.run_ms(40_000)
    assert [type(e) for e in world.events[B]] == [ev.Registered, ev.RegistrationLost]
    server = world.server()
    world.run_ms(30_000)
    assert len(server.directory) == 1
    assert [type(e) for e in world.events[B]][-1] is ev.Registered


def test_a_name_in_use_is_refused() -> None:
    world = pair()
    world.server()
    world.machines[B].listen(world.now_ns, SERVER)
    world.run_ms(500)
    other = ("192.0.2.9", 9009)
    world.session(other, BASE, name="bob").listen(world.now_ns, SERVER)
    ended = last(world, other)
    assert ended.reason is EndReason.SERVER
    assert ended.detail.startswith("the name bob belongs to another key; take another")


def test_a_caller_that_gives_up_before_anything_answered_is_done_at_once() -> None:
    world = pair()
    world.machines[A].call(("203.0.113.77", 5), world.now_ns)
    world.run_ms(500)
    world.machines[A].end(world.now_ns)
    world.run_ms(0)
    assert last(world, A) == ev.Ended(EndReason.CANCELLED, False, "the caller gave up")
    assert world.machines[A].next_timer_ns() is None
