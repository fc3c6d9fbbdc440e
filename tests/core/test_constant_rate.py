"""Under a constant rate what leaves an end tells nothing: one size and one interval a kind, whatever happens."""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise

import pytest

from tests.core.world import A, B, World, frame
from voicelink.core.events import ComfortNoise, Condition, Play
from voicelink.core.session import Session
from voicelink.core.slots import MOST_WAITING, SLOT_BYTES, SLOT_NS, Slots
from voicelink.core.states import State
from voicelink.errors import LocalProtocolError
from voicelink.frame import Frame, Pause
from voicelink.settings import SessionSettings
from voicelink.units import NS_PER_MS, frames_to_ns
from voicelink.wire.control import Moved, Ok, Probe, Report, Status, encode_bundle, encode_control
from voicelink.wire.packet import Kind, split

BASE = SessionSettings(model_ids=("model-x",), constant_rate=True, bits_max=32, redundancy=2, redundancy_distance=3)
#: Datagram kind, time since the call stood (ns), bytes.
Sent = list[tuple[Kind, int, int]]
REPORT = Report(1, *range(9))


def call(**peer: object) -> tuple[World, Session, Session, int]:
    world = World()
    a, b = world.session(A, BASE), world.session(B, name="bob", fixed=False, **peer)
    world.connect()
    world.run_ms(100)
    return world, a, b, len(world.capture)


def sent(world: World, since: int, start_ns: int, who: tuple[str, int] = A) -> Sent:
    pairs = list(zip(world.capture, world.capture_ns, strict=True))[since:]
    return [(split(data)[0].kind, at - start_ns, len(data)) for (data, source, _), at in pairs if source == who]


def silence(index: int, bits: int) -> Frame:
    return Frame(index, bits, bytes((bits + 7) // 8))


def quiet_call() -> Sent:
    """20 s in which nothing is said and nothing happens."""
    world, a, _, since = call()
    start_ns = world.now_ns
    for i in range(1_722):
        world.at(start_ns + frames_to_ns(i), lambda i=i: a.send_frame(silence(i, 32), world.now_ns))
    world.run_ms(20_000)
    return sent(world, since, start_ns)


def eventful_call(seed: int) -> tuple[Sent, World]:
    """20 s of speech on a bad path, with all that an end's user and the other end's can do."""
    world, a, b, since = call(dtx=True)
    start_ns = world.now_ns
    world.link.rng.seed(seed)
    world.link.loss, world.link.jitter_ms, world.link.duplicate = 0.25, 80.0, 0.1

    def say(i: int) -> None:
        a.send_frame(frame(i, 32) if a.send_bits else silence(i, 32), world.now_ns)
        b.send_frame(frame(i, b.send_bits or 8) if i % 300 < 150 else Pause(i, bytes(8)), world.now_ns)
        world.pull(A)
        world.pull(B)

    for i in range(1_722):
        world.at(start_ns + frames_to_ns(i), lambda i=i: say(i))
    for ms, session, condition in (
        (2_110, a, Condition(muted=True)),
        (4_030, a, Condition()),
        (6_020, a, Condition(holding=True)),
        (8_010, a, Condition(bits=9)),
        (9_990, b, Condition(holding=True)),
        (12_000, b, Condition(bits=12, deaf=True)),
        (14_000, b, Condition(muted=True, holding=True)),
        (16_000, a, Condition(muted=True, deaf=True)),
    ):
        at_ns = start_ns + ms * NS_PER_MS
        world.at(at_ns, lambda s=session, c=condition: s.set_condition(c, world.now_ns))
    world.run_ms(20_000)
    assert b.peer_condition == Condition(muted=True, deaf=True)
    assert a.peer_condition == Condition(muted=True, holding=True)
    assert b.stats.packets_lost > 150
    return sent(world, since, start_ns), world


@pytest.mark.parametrize("seed", [1, 2])
def test_sizes_and_times_of_a_whole_call_are_the_same_whatever_is_said_and_done(seed: int) -> None:
    eventful, _ = eventful_call(seed)
    assert eventful == quiet_call()
    by_kind = defaultdict(list)
    for kind, at_ns, size in eventful:
        by_kind[kind].append((at_ns, size))
    assert set(by_kind) == {Kind.MEDIA, Kind.CONTROL}
    for rows in by_kind.values():
        assert len({size for _, size in rows}) == 1
    media, control = ([b - a for (a, _), (b, _) in pairwise(by_kind[k])] for k in (Kind.MEDIA, Kind.CONTROL))
    assert max(media) - min(media) <= 1  # two frames, in whole ns
    assert len(media) == 860
    assert set(control) == {SLOT_NS}


def test_without_it_the_same_events_show() -> None:
    """What the test above would miss if it saw nothing."""
    world = World()
    a, b = world.session(A, fixed=False, dtx=True), world.session(B, name="bob")
    world.connect()
    since, start_ns = len(world.capture), world.now_ns
    world.talk(A, B, 2.0)
    a.set_condition(Condition(muted=True), world.now_ns)
    world.talk(A, B, 2.0, first=172)
    rows = sent(world, since, start_ns)
    assert len({size for kind, _, size in rows if kind is Kind.CONTROL}) > 1
    assert max(at_ns for kind, at_ns, _ in rows if kind is Kind.MEDIA) < 2.2e9
    assert b.peer_condition.muted


def test_a_muted_end_is_heard_as_silence_and_seen_as_muted() -> None:
    world, a, b, _ = call()
    world.talk(A, B, 1.0)
    a.set_condition(Condition(muted=True), world.now_ns)
    assert a.send_bits == 0
    heard = len(world.played[B])
    world.talk(A, B, 3.0, first=86)
    assert b.peer_condition == Condition(muted=True)
    assert b.stats.frames_concealed <= 2
    assert not any(isinstance(d, ComfortNoise) for d in world.played[B][heard:])
    assert sum(isinstance(d, Play) for d in world.played[B][heard:]) > 250


def test_nothing_is_played_that_was_made_up_to_fill_the_first_packets() -> None:
    world, _, b, _ = call()
    world.link.loss = 0.15
    world.talk(A, B, 5.0)
    for decision in world.played[B]:
        if isinstance(decision, Play):
            assert decision.frame == frame(decision.frame.index, 32).truncated(decision.frame.bits)
    assert b.stats.frames_recovered > 30


@pytest.mark.parametrize("wrong", [Frame(5, 8, b"a"), Frame(7, 32, bytes(4)), Pause(5, bytes(8))])
def test_what_would_show_is_refused(wrong: Frame | Pause) -> None:
    world, a, _, _ = call()
    for i in range(5):
        a.send_frame(frame(i), world.now_ns)
    with pytest.raises(LocalProtocolError, match="constant_rate takes every frame, 32 bits each"):
        a.send_frame(wrong, world.now_ns)


def test_the_other_end_adapts_to_what_the_slots_tell() -> None:
    world, _, b, _ = call()
    world.link.loss = 0.2
    world.talk(B, A, 10.0, bits=8)
    assert b.stats.feedback_received > 12
    assert b.stats.path_loss_ppm > 80_000


def test_hanging_up_is_told_at_once() -> None:
    for caller_hangs_up in (True, False):
        world, a, b, _ = call()
        world.talk(A, B, 0.7)
        (a if caller_hangs_up else b).end(world.now_ns)
        world.run_ms(100)
        assert (a.state, b.state) == (State.ENDED, State.ENDED)


def test_slots_have_room_for_every_message_and_keep_no_more_than_they_should() -> None:
    slots = Slots()
    longest = Status(2**32 - 1, True, False, False, False, 0xFFFF, 64)
    many = tuple((f"2001:db8:1234:5678:9abc:def0:1234:{n:x}", 65_535) for n in range(8))
    for message in (longest, Moved(2**32 - 1, many), Ok(2**32 - 1, 2**32 - 1), Probe(2**32 - 1)):
        slots.put(message, B)
        bundle, _ = slots.take(REPORT, B)
        assert len(encode_bundle(bundle)) == SLOT_BYTES
    assert len(encode_control(longest)) < 80
    for n in range(100):
        slots.put(Ok(n, n), B)
        slots.put(Status(n, *([False] * 4), 0, 8), B)
    assert len(slots._waiting) == MOST_WAITING
    found = [slots.take(REPORT, B)[0].messages[1:] for _ in range(MOST_WAITING + 1)]
    assert (Status(99, *([False] * 4), 0, 8),) in found
    assert found[-1] == ()


def test_messages_to_other_addresses_take_no_more_than_every_second_slot() -> None:
    slots = Slots()
    for n in range(4):
        slots.put(Probe(n), ("192.0.2.50", n + 1))
    slots.put(Ok(9, 9), B)
    ways = [slots.take(REPORT, B)[1] for _ in range(9)]
    assert ways[0] != B
    assert all(B in pair for pair in pairwise(ways))
