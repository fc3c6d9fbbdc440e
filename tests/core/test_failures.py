"""Servers, paths and peers that die or misbehave, and what each end says about it."""

from __future__ import annotations

import pytest

from tests.core.world import SERVER, A, B, World
from voicelink.core import events as ev
from voicelink.core.events import EndReason
from voicelink.core.registration import MAX_RETRIES
from voicelink.core.session import Session
from voicelink.core.states import State
from voicelink.units import NS_PER_S
from voicelink.wire.packet import Header, Kind, join, split
from voicelink.wire.rendezvous import Retry, encode_reply, parse_request


def ended(world: World, address: tuple[str, int]) -> ev.Ended:
    event = world.run_until(address, ev.Ended, 60_000)
    assert isinstance(event, ev.Ended)
    assert world.events[address][-1] is event
    return event


def relayed() -> World:
    world = World()
    world.session(A, name="alice")
    world.session(B, name="bob")
    world.server()
    world.connect(relayed=True)
    return world


def test_a_server_that_asks_for_cookies_without_end_is_given_up() -> None:
    """As one does that sees another address of ours with every datagram."""
    world = World()
    a = world.session(A)
    a.call_name("bob", SERVER, world.now_ns)
    asked = 0
    while out := a.datagrams_to_send(world.now_ns):
        asked += len(out)
        assert asked < 50
        request = parse_request(split(out[-1][0])[1])
        reply = encode_reply(Retry(0, request.id, bytes([asked]) * 16, bytes([9]) * 32))
        a.handle_datagram(join(Header(Kind.SERVER, 0, 0), reply), SERVER, world.now_ns)
    assert asked == 1 + MAX_RETRIES
    last = ended(world, A)
    assert (last.reason, last.by_peer) == (EndReason.SERVER, True)
    assert "no cookie" in last.detail


def test_a_few_cookies_over_time_are_no_failure() -> None:
    world = World()
    world.session(B, name="bob")
    server = world.server()
    world.machines[B].listen(world.now_ns, SERVER)
    world.run_ms(20 * 60_000)  # each cookie lives two minutes at most
    assert server.cookies_sent > MAX_RETRIES
    assert [type(e) for e in world.events[B]] == [ev.Registered]


def test_nothing_follows_the_end_where_the_direct_path_is_dead_too() -> None:
    world = relayed()
    world.run_ms(1000)
    a = world.machines[A]
    assert any(isinstance(e, ev.PathChanged) for e in world.events[A])
    del world.machines[B]
    world.run_ms(1500)
    a.end(world.now_ns)
    # The clock jumps past the end's last repetition and the path's death: both are due at once.
    world.now_ns += 5 * NS_PER_S
    a.handle_timer(world.now_ns)
    assert ended(world, A).reason is EndReason.HUNG_UP
    assert a.next_timer_ns() is None


def test_a_call_that_is_ending_stays_on_its_path_and_never_spins() -> None:
    world = relayed()
    world.run_ms(1000)
    a = world.machines[A]
    assert isinstance(a, Session)
    del world.machines[B]
    world.run_ms(2500)
    a.end(world.now_ns)
    changes = [e for e in world.events[A] if isinstance(e, ev.PathChanged)]
    for _ in range(50):
        due_ns = a.next_timer_ns()
        if due_ns is None:
            break
        a.handle_timer(due_ns)
        assert a.next_timer_ns() != due_ns
    assert a.state is State.ENDED
    world.run_ms(10)
    assert [e for e in world.events[A] if isinstance(e, ev.PathChanged)] == changes


def test_a_registered_callee_that_is_gone_is_named() -> None:
    world = World()
    world.session(A, name="alice")
    world.session(B, name="bob").listen(world.now_ns, SERVER)
    world.server()
    world.run_ms(1000)
    del world.machines[B]
    world.machines[A].call_name("bob", SERVER, world.now_ns)
    last = ended(world, A)
    assert last.reason is EndReason.UNREACHABLE
    assert last.detail == "no answer from bob through the server at 198.51.100.1:47600"


def test_a_caller_that_dies_before_the_answer_is_told_to_the_callee() -> None:
    world = World()
    world.session(A).call(B, world.now_ns)
    b = world.session(B)
    b.listen(world.now_ns)
    world.run_until(B, ev.IncomingCall)
    del world.machines[A]
    b.accept(world.now_ns)
    last = ended(world, B)
    assert (last.reason, last.by_peer) == (EndReason.UNREACHABLE, False)
    assert "the caller" in last.detail


def test_a_call_to_our_own_address_ends_at_once() -> None:
    world = World()
    world.session(A).call(A, world.now_ns)
    world.run_ms(50)
    last = ended(world, A)
    assert (last.reason, last.by_peer) == (EndReason.UNREACHABLE, False)
    assert "our own address" in last.detail


def test_a_server_that_dies_in_a_relayed_call_ends_it_at_both_ends() -> None:
    world = World()
    world.session(A, name="alice", direct_path=False)
    world.session(B, name="bob", direct_path=False)
    world.server()
    world.connect(relayed=True)
    del world.machines[SERVER]
    for address in (A, B):
        assert ended(world, address).reason is EndReason.SILENCE
        assert world.machines[address].next_timer_ns() is None


def test_a_server_that_dies_in_a_direct_call_does_not_matter() -> None:
    world = relayed()
    world.run_ms(1000)
    del world.machines[SERVER]
    world.run_ms(120_000)
    assert world.machines[A].state is world.machines[B].state is State.CONNECTED
    lost = [e for e in world.events[B] if isinstance(e, ev.RegistrationLost)]
    assert len(lost) == 1
    world.machines[A].end(world.now_ns)
    assert ended(world, B).reason is EndReason.HUNG_UP


@pytest.mark.parametrize("in_call", [False, True])
def test_a_name_denied_after_a_restart_ends_a_listener_but_no_call(in_call: bool) -> None:
    world = World()
    b = world.session(B, name="bob")
    world.session(A)
    world.server()
    if in_call:
        world.connect(relayed=True)
    else:
        b.listen(world.now_ns, SERVER)
    world.run_ms(1000)
    world.server()  # a new one, which knows nobody
    other = ("192.0.2.9", 9009)
    world.session(other, name="bob").listen(world.now_ns, SERVER)
    world.run_ms(25_000)  # until b's next refresh
    assert not any(isinstance(e, ev.RegistrationLost) for e in world.events[B])
    if in_call:
        assert b.state is State.CONNECTED
    else:
        assert "another key" in ended(world, B).detail
