"""Mute, hold and the bitrate knob between two sessions: what leaves, what is heard, what the other end is told."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.core.world import A, B, World, frame
from voicelink.core import events as ev
from voicelink.core.events import ComfortNoise, Conceal, Condition, PeerChanged, Play
from voicelink.core.session import Session
from voicelink.core.states import State
from voicelink.errors import LocalProtocolError
from voicelink.wire.control import Ok, Status
from voicelink.wire.packet import Kind, is_media, split

MUTED, HOLDING = Condition(muted=True), Condition(holding=True)


def call(*, relayed: bool = False, **settings: object) -> tuple[World, Session, Session]:
    world = World()
    a, b = world.session(A, **settings), world.session(B, name="bob")
    if relayed:
        world.server()
        world.link.blocked = {(A, B), (B, A)}
    world.connect(relayed=relayed)
    return world, a, b


def media_from(world: World, sender: tuple[str, int], since: int) -> int:
    return sum(source == sender and is_media(data) for data, source, _ in world.capture[since:])


def told(world: World, address: tuple[str, int]) -> list[Condition]:
    return [e.condition for e in world.events[address] if isinstance(e, PeerChanged)]


def test_nothing_but_keep_alives_leaves_a_muted_end_and_the_other_plays_comfort_noise() -> None:
    world, a, b = call(frames_per_packet=3)
    world.talk(A, B, 1.0)
    a.set_condition(MUTED, world.now_ns)
    since, slots = len(world.capture), len(world.played[B])
    assert a.send_bits == 0
    world.talk(A, B, 3.0, first=100)
    assert media_from(world, A, since) == 1  # the two frames that waited for a third one
    alive = [split(data)[0].kind for data, source, _ in world.capture[since:] if source == A]
    assert 10 <= alive.count(Kind.CONTROL) <= 15
    assert told(world, B) == [MUTED] == [b.peer_condition]
    heard = world.played[B][slots + 20 :]
    assert {type(d) for d in heard} == {ComfortNoise}
    assert b.stats.frames_concealed <= 3
    assert b.stats.packets_lost == 0


def test_speech_goes_on_at_its_time_after_a_mute() -> None:
    world, a, b = call()
    count = world.talk(A, B, 2.0)
    a.set_condition(MUTED, world.now_ns)
    more = world.talk(A, B, 5.0, first=count)
    a.set_condition(Condition(), world.now_ns)
    slots = len(world.played[B])
    concealed = b.stats.frames_concealed
    world.talk(A, B, 1.0, first=count + more)
    played = [d.frame.index for d in world.played[B][slots:] if isinstance(d, Play)]
    assert 0 <= played[0] - count - more <= 2  # a slot may have been past before the first packet came
    assert played == list(range(played[0], played[-1] + 1))
    assert len(played) > 75
    assert b.stats.frames_concealed <= concealed + 1
    assert b.stats.resyncs == 0
    assert told(world, B) == [MUTED, Condition()]


def test_on_hold_neither_end_sends_and_both_go_on_afterwards() -> None:
    world, a, b = call()
    world.talk(A, B, 1.0)
    world.talk(B, A, 1.0)
    a.set_condition(HOLDING, world.now_ns)
    world.run_ms(50)
    assert (a.send_bits, b.send_bits) == (0, 0)
    since = len(world.capture)
    for first in (200, 300):
        world.talk(A, B, 1.0, first=first)
        world.talk(B, A, 1.0, first=first)
    assert media_from(world, A, since) + media_from(world, B, since) == 0
    assert told(world, B) == [HOLDING]
    assert not any(isinstance(d, Conceal) for d in world.played[A][-80:] + world.played[B][-80:])
    a.set_condition(Condition(), world.now_ns)
    world.run_ms(50)
    world.talk(B, A, 1.0, first=600)
    assert any(isinstance(d, Play) and d.frame.index > 600 for d in world.played[A])
    assert min(a.send_bits, b.send_bits) > 0


def test_holding_while_muted_and_both_holding() -> None:
    _, a, b = world_a_b = call()
    world = world_a_b[0]
    a.set_condition(replace(MUTED, holding=True), world.now_ns)
    b.set_condition(HOLDING, world.now_ns)
    world.run_ms(100)
    a.set_condition(MUTED, world.now_ns)
    b.set_condition(Condition(), world.now_ns)
    world.run_ms(100)
    assert (a.send_bits > 0, b.send_bits > 0) == (False, True)
    assert (b.peer_condition, a.peer_condition) == (MUTED, Condition())


@pytest.mark.parametrize("seed", range(6))
def test_a_status_comes_through_loss_and_reordering(seed: int) -> None:
    world, a, b = call()
    world.link.rng.seed(seed)
    world.link.loss, world.link.jitter_ms, world.link.duplicate = 0.5, 300.0, 0.3
    for n in range(8):
        a.set_condition(Condition(muted=n % 2 == 0, deaf=n % 3 == 0, bits=20 + n), world.now_ns)
        world.run_ms(40)
    last = Condition(muted=True, bits=33)
    a.set_condition(last, world.now_ns)
    world.run_ms(4_000)
    assert b.peer_condition == last == told(world, B)[-1]
    link = a._signalling.link
    assert link is not None
    assert not link.exchange.drop(Status)  # confirmed


def test_an_older_status_changes_nothing_and_is_confirmed_all_the_same() -> None:
    world, a, b = call()
    a.set_condition(MUTED, world.now_ns)
    world.run_ms(100)
    link, since = a._signalling.link, len(world.capture)
    assert link is not None
    link.send(Status(1, False, False, False, False, 0, 64), B, world.now_ns)
    world.run_ms(100)
    assert b.peer_condition == MUTED
    assert any(source == B for _, source, _ in world.capture[since:])


def test_a_status_before_the_call_stands_is_not_confirmed() -> None:
    world = World()
    a, b = world.session(A), world.session(B)
    b.listen(world.now_ns)
    a.call(B, world.now_ns)
    world.run_until(B, ev.IncomingCall)
    before = b.stats.packets_unexpected
    link = a._signalling.link
    assert link is not None
    link.send(Status(50, True, False, False, True, 0, 64), B, world.now_ns)
    world.run_ms(100)
    assert (b.stats.packets_unexpected, b.peer_condition) == (before + 1, Condition())
    b.set_condition(MUTED, world.now_ns)  # before the call: from its first moment on
    b.accept(world.now_ns)
    world.run_until(B, ev.Connected)
    world.run_ms(100)
    assert (a.peer_condition, b.send_bits) == (MUTED, 0)
    b.send_frame(frame(0), world.now_ns)
    assert b.stats.packets_sent == 0


@pytest.mark.parametrize("relayed", [False, True])
def test_a_muted_end_is_not_taken_for_a_dead_one(relayed: bool) -> None:
    world, a, b = call(relayed=relayed)
    world.link.loss = 0.1
    a.set_condition(MUTED, world.now_ns)
    silent = 0
    for _ in range(300):
        world.run_ms(200)
        silent += b.is_silent
    assert b.state is State.CONNECTED
    assert silent <= 2


def test_the_lower_wish_for_bits_holds_within_what_was_agreed() -> None:
    world, a, b = call(bits_min=16, bits_max=40)
    assert (a.send_bits, b.send_bits) == (40, 40)
    for own, peer, expected in ((32, 64, 32), (32, 20, 20), (64, 20, 20), (8, 64, 16), (64, 64, 40)):
        a.set_condition(Condition(bits=own), world.now_ns)
        b.set_condition(Condition(bits=peer), world.now_ns)
        world.run_ms(100)
        assert (a.send_bits, b.send_bits) == (expected, expected)
    for bits in (0, 65):
        with pytest.raises(LocalProtocolError, match=r"outside 1\.\.64"):
            a.set_condition(Condition(bits=bits), world.now_ns)


def test_the_late_rate_may_move_during_the_call() -> None:
    world, a, b = call()
    world.link.jitter_ms = 80.0
    b.set_late_rate(0.2)
    world.talk(A, B, 12.0)
    assert b.playout is not None
    quick_ns = b.playout.estimator.target_ns
    b.set_late_rate(0.0005)
    world.talk(A, B, 4.0, first=1_100)
    assert b.late_rate == 0.0005
    assert b.playout.estimator.target_ns > quick_ns + 10_000_000
    for share in (0.0, 0.3):
        with pytest.raises(LocalProtocolError, match="late rate"):
            b.set_late_rate(share)
    assert a.late_rate == 0.01


def test_a_status_is_given_up_with_the_call() -> None:
    world, a, _ = call()
    a.set_condition(MUTED, world.now_ns)
    a.end(world.now_ns)
    world.run_ms(3_000)
    assert a.state is State.ENDED
    assert a.next_timer_ns() is None
    assert a.send_bits == 0


def test_an_ok_for_nothing_is_harmless() -> None:
    world, a, b = call()
    link = b._signalling.link
    assert link is not None
    link.send(Ok(99, 12_345), A, world.now_ns)
    a.set_condition(MUTED, world.now_ns)
    world.run_ms(100)
    assert b.peer_condition == MUTED
