"""Second descriptions from one session to the other: when they are wanted, and what is played of them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.core.world import A, B, World, frame
from voicelink.core.events import Condition, Heal, Play, Skip
from voicelink.core.session import Session
from voicelink.frame import Frame
from voicelink.units import frames_to_ns
from voicelink.wire.packet import Kind, split

COUNT = 600
BITS = 32
TWICE = {"bits_max": BITS, "redundancy": 2, "redundancy_copies": 2, "redundancy_distance": 2}


def described(index: int) -> Frame:
    """A frame with a second description: the first one's bits the other way round."""
    first = frame(index, BITS)
    return replace(first, second=bytes(255 - byte for byte in first.payload))


def call(**settings: object) -> tuple[World, Session, Session]:
    world = World()
    a, b = world.session(A, **settings), world.session(B, playout_delay_min_ms=60)
    world.connect()
    world.run_ms(100)
    return world, a, b


def talk(world: World, a: Session) -> list[Frame]:
    """All that B plays, skips or heals with of COUNT frames of A."""
    start_ns = world.now_ns
    for i in range(COUNT):
        world.at(start_ns + frames_to_ns(i), lambda i=i: a.send_frame(described(i), world.now_ns))
    for i in range(COUNT + 40):
        world.at(start_ns + frames_to_ns(i) + 1, lambda: world.pull(B))
    world.run_ms(frames_to_ns(COUNT + 40) / 1e6)
    return [decision.frame for decision in world.played[B] if isinstance(decision, (Play, Skip, Heal))]


@pytest.mark.parametrize("loss", [0.0, 0.3])
def test_what_is_played_of_them(loss: float) -> None:
    world, a, b = call(**TWICE)
    assert a.sends_second
    assert not b.sends_second  # it repeats nothing
    world.link.loss = loss
    played = talk(world, a)
    kinds = {"both": 0, "first": 0, "second": 0}
    for got in played:
        whole = described(got.index)
        kind = "both" if got.second else "second" if got.is_second else "first"
        expected = {"both": whole, "first": replace(whole, second=b"")}
        assert got == expected.get(kind, replace(whole, payload=whole.second, second=b"", is_second=True))
        kinds[kind] += 1
    assert len(played) > COUNT * (0.9 if loss else 0.98)
    assert kinds["both"] > len(played) * (0.5 if loss else 0.98)
    assert (kinds["second"] > 10) == (loss > 0)  # first one and its other copy lost
    assert kinds["second"] < 0.15 * len(played)


def test_they_are_not_wanted_where_they_would_come_alone_or_nothing_is_sent() -> None:
    for other in ({"redundancy_copies": 1}, {"redundant_bits": BITS - 1}, {"redundancy": 0}):
        world, a, _ = call(**TWICE | other)
        assert not a.sends_second
        assert not any(got.second or got.is_second for got in talk(world, a) if got.bits == BITS)
    world, a, _ = call(**TWICE)
    a.set_condition(Condition(muted=True), world.now_ns)
    assert not a.sends_second
    assert not world.session(B, seed=9).sends_second  # no call


def test_under_a_constant_rate_packets_with_them_have_one_size() -> None:
    world, a, _ = call(**TWICE, constant_rate=True)
    assert a.sends_second
    since = len(world.capture)
    talk(world, a)
    sizes = {
        len(data) for data, source, _ in world.capture[since:] if source == A and split(data)[0].kind is Kind.MEDIA
    }
    assert len(sizes) == 1
