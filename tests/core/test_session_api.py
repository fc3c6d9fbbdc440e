"""Misuse of a session raises; what its user cannot know yet does not."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.core.world import SERVER, A, B, World, frame, seeded_entropy
from voicelink.core import events as ev
from voicelink.core.negotiate import offer_of
from voicelink.core.paths import MAX_ADDRESSES, PROBE_INTERVAL_NS, Paths
from voicelink.core.session import Session
from voicelink.core.states import State
from voicelink.errors import LocalProtocolError
from voicelink.settings import SessionSettings
from voicelink.wire.control import Answer, End
from voicelink.wire.packet import Kind


def fresh(**settings: object) -> Session:
    return Session(SessionSettings(model_ids=("m",), **settings), entropy=seeded_entropy(1))  # type: ignore[arg-type]


def connected() -> World:
    world = World()
    world.session(A, bits_max=40, bits_min=16)
    world.session(B)
    world.connect()
    return world


def test_what_is_out_of_turn_raises() -> None:
    session = fresh()
    for step in (session.accept, session.refuse, lambda now: session.send_frame(frame(0), now)):
        with pytest.raises(LocalProtocolError, match="while idle"):
            step(0)
    session.listen(0)
    with pytest.raises(LocalProtocolError, match="dial is not possible while listening"):
        session.call(B, 0)


def test_names_are_checked() -> None:
    with pytest.raises(LocalProtocolError, match="at most 64 bytes"):
        fresh(name="x" * 65)
    with pytest.raises(LocalProtocolError, match="printable"):
        fresh(name="a\nb")
    with pytest.raises(LocalProtocolError, match="needs a name"):
        fresh().listen(0, SERVER)
    with pytest.raises(LocalProtocolError, match=r"1\.\.64 bytes"):
        fresh().call_name("", SERVER, 0)


def test_frames_must_fit_what_was_agreed() -> None:
    world = connected()
    a = world.machines[A]
    assert isinstance(a, Session)
    with pytest.raises(LocalProtocolError, match=r"a frame of 41 bits where the call agreed on 16\.\.40"):
        a.send_frame(frame(0, 41), world.now_ns)
    a.send_frame(frame(0, 40), world.now_ns)
    with pytest.raises(LocalProtocolError, match="indices must rise"):
        a.send_frame(frame(0, 40), world.now_ns)


def test_bits_may_move_during_the_call() -> None:
    world = connected()
    for first, bits in ((0, 40), (172, 16), (344, 33)):
        world.talk(A, B, 2.0, first=first, bits=bits)
    played = [d.frame for d in world.played[B] if isinstance(d, ev.Play)]
    assert {f.bits for f in played} == {40, 16, 33}
    assert all(f == frame(f.index, f.bits) for f in played)


def test_an_ended_session_is_quiet() -> None:
    world = connected()
    a = world.machines[A]
    assert isinstance(a, Session)
    a.end(world.now_ns)
    world.run_ms(1000)
    assert a.state is State.ENDED
    for step in (a.end, a.accept, a.refuse, a.handle_timer):
        step(world.now_ns)
    a.send_frame(frame(0), world.now_ns)
    assert a.pull_frame(world.now_ns) == ev.Wait()
    assert a.datagrams_to_send(world.now_ns) == []
    assert a.next_event() is None


def test_accepting_a_call_that_was_just_cancelled_is_harmless() -> None:
    world = World()
    a, b = world.session(A), world.session(B)
    b.listen(world.now_ns)
    a.call(B, world.now_ns)
    world.run_until(B, ev.IncomingCall)
    a.end(world.now_ns)
    world.run_ms(200)
    b.accept(world.now_ns)
    assert b.state is State.ENDED


def test_a_stopped_listener_gives_its_name_back() -> None:
    world = World()
    server = world.server()
    b = world.session(B, name="bob")
    b.listen(world.now_ns, SERVER)
    world.run_ms(500)
    assert len(server.directory) == 1
    b.end(world.now_ns)
    world.run_ms(500)
    assert len(server.directory) == 0
    assert b.state is State.ENDED


def test_timers_that_fire_early_or_often_do_no_harm() -> None:
    world = connected()
    a = world.machines[A]
    before = a.next_timer_ns()
    for _ in range(10):
        a.handle_timer(world.now_ns)
    assert a.next_timer_ns() == before
    assert a.datagrams_to_send(world.now_ns) == []


@given(st.lists(st.binary(max_size=100), max_size=10), st.integers(0, 3))
def test_any_bytes_from_anybody_are_counted_and_dropped(datagrams: list[bytes], state: int) -> None:
    session = fresh(name="x")
    starts = (lambda: None, lambda: session.listen(0), lambda: session.call(B, 0), lambda: session.listen(0, SERVER))
    starts[state]()
    session.datagrams_to_send(0)
    where = session.state
    for data in datagrams:
        session.handle_datagram(data, B, 1)
    assert session.state is where
    counted = session.stats.packets_invalid + session.stats.packets_unexpected
    assert counted == len(datagrams)
    assert session.datagrams_to_send(1) == []


@pytest.mark.parametrize("seed", range(5))
def test_the_same_seed_gives_the_same_call(seed: int) -> None:
    def one() -> tuple[list[ev.PlayoutDecision], dict[str, object]]:
        world = World()
        world.link.rng = random.Random(seed)
        world.session(A, redundancy=1)
        world.session(B, redundancy=1)
        world.connect()
        world.link.loss, world.link.jitter_ms = 0.1, 40.0
        world.talk(A, B, 3.0)
        return world.played[B], world.machines[B].stats.to_dict()

    assert one() == one()


def test_hanging_up_while_our_phone_rings_refuses() -> None:
    world = World()
    a, b = world.session(A), world.session(B)
    b.listen(world.now_ns)
    a.call(B, world.now_ns)
    world.run_until(B, ev.IncomingCall)
    b.end(world.now_ns, "busy cooking")
    assert world.run_until(A, ev.Ended) == ev.Ended(ev.EndReason.REFUSED, True, "busy cooking")


def test_a_lost_confirmation_is_made_good_by_media() -> None:
    world = World()
    a, b = world.session(A), world.session(B)
    b.listen(world.now_ns)
    a.call(B, world.now_ns)
    world.run_until(B, ev.IncomingCall)
    b.accept(world.now_ns)
    world.link.blocked = {(A, B)}
    world.run_until(A, ev.Connected)
    assert b.state is State.ANSWERED
    world.run_ms(20)
    world.link.blocked = set()
    for i in range(2):
        a.send_frame(frame(i), world.now_ns)
    world.run_ms(15)
    assert b.state is State.CONNECTED
    assert b.stats.packets_received == 1


@pytest.mark.parametrize("seed", range(8))
def test_hellos_answers_and_ends_may_come_twice(seed: int) -> None:
    world = World()
    world.link.duplicate, world.link.jitter_ms = 0.9, 30.0
    world.link.rng.seed(seed)
    world.session(A)
    world.session(B)
    world.connect()
    world.run_ms(500)
    world.machines[B].end(world.now_ns)
    world.run_until(A, ev.Ended)
    world.run_until(B, ev.Ended)
    for address in (A, B):
        kinds = [type(e) for e in world.events[address] if not isinstance(e, ev.PeerReport)]
        assert len(kinds) == len(set(kinds)), kinds


def test_an_answer_that_fits_nothing_ends_the_call() -> None:
    """A callee that negotiates wrongly (another version's mistake, say) is not believed."""
    world = World()
    a, b = world.session(A), world.session(B)
    b.listen(world.now_ns)
    a.call(B, world.now_ns)
    world.run_until(B, ev.IncomingCall)
    link = b._signalling.link
    assert link is not None
    link.send(Answer(1, "b", offer_of(SessionSettings(model_ids=("other",))), ()), A, world.now_ns)
    world.run_ms(3000)
    ended = world.run_until(A, ev.Ended)
    assert isinstance(ended, ev.Ended)
    assert (ended.reason, ended.by_peer) == (ev.EndReason.INCOMPATIBLE, False)


def test_an_unknown_reason_is_taken_as_a_hang_up() -> None:
    world = connected()
    b = world.machines[B]
    a_link = world.machines[A]._signalling.link  # type: ignore[union-attr]
    assert a_link is not None
    a_link.send(End(999, "tired", ""), B, world.now_ns)
    world.run_ms(100)
    ended = world.run_until(B, ev.Ended)
    assert isinstance(b, Session)
    assert ended == ev.Ended(ev.EndReason.HUNG_UP, True, "the peer ended the call: hung up")


def test_probing_rests_and_begins_again() -> None:
    world = World()
    world.session(A)
    world.session(B, name="bob")
    world.server()
    world.link.blocked = {(A, B), (B, A)}
    world.connect(relayed=True)
    world.run_ms(10_000)
    world.link.blocked = set()
    world.run_ms(12_000)
    assert any(isinstance(e, ev.PathChanged) and not e.relayed for e in world.events[A])


def test_addresses_of_another_family_are_not_tried() -> None:
    paths = Paths(SERVER, relayed=True)
    paths.start([("2001:db8::1", 5), B], 0)
    assert paths.to_probe(0) == [B]
    for port in range(100):
        paths.add(("192.0.2.50", 1000 + port))
    assert len(paths.to_probe(PROBE_INTERVAL_NS)) == MAX_ADDRESSES - 1


def test_model_ids_must_fit_an_offer() -> None:
    for ids in (("x" * 65,), ("a\nb",), tuple(f"m{i}" for i in range(9))):
        with pytest.raises(LocalProtocolError, match="at most 8 model ids"):
            Session(SessionSettings(model_ids=ids), entropy=seeded_entropy(1))


def test_connected_time_runs_while_frames_are_sent() -> None:
    """A rate over a time that stood still at the last datagram would be too high."""
    world = connected()
    a = world.machines[A]
    assert isinstance(a, Session)
    start = world.now_ns
    before = a.stats.connected_ns
    a.send_frame(frame(0), start + 700_000_000)
    assert a.stats.connected_ns - before >= 650_000_000


def test_frame_indices_and_packet_counters_may_pass_65_536() -> None:
    world = World()
    a, b = world.session(A, frames_per_packet=1, redundancy=2), world.session(B, redundancy=2)
    world.connect()
    link = a._signalling.link
    assert link is not None
    assert link._sealer is not None
    link._sealer._counters[Kind.MEDIA] = 65_400
    world.link.loss, world.link.jitter_ms = 0.05, 30.0
    world.talk(A, B, 10.0, first=65_300)
    played = [d.frame for d in world.played[B] if isinstance(d, ev.Play)]
    assert [f.index for f in played] == sorted({f.index for f in played})
    assert (played[0].index < 65_310, played[-1].index > 66_100) == (True, True)
    assert all(f == frame(f.index) for f in played)
    assert b.stats.resyncs == 0
    assert 20 < b.stats.packets_lost < 70
    assert b.stats.frames_concealed < 20


def test_round_trips_are_measured_where_the_microsecond_clock_wraps() -> None:
    world = World()
    world.link.delay_ms = 30.0
    world.now_ns = ((1 << 32) * 1000) - 4_000_000_000
    world.session(A)
    world.session(B)
    world.connect()
    world.run_ms(8_000)
    assert world.now_ns > (1 << 32) * 1000
    times_us = [e.rtt_us for e in world.events[A] if isinstance(e, ev.PeerReport)]
    assert len(times_us) > 6
    assert all(59_000 < t < 61_000 for t in times_us[1:] if t is not None)
    assert None not in times_us[1:]
