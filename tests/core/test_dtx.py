"""Pauses of speech between two sessions: what leaves, what is heard, and what they are not taken for."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.core.world import A, B, World, frame
from voicelink.core import events as ev
from voicelink.core.sender import EVERY, SOON
from voicelink.core.session import Session
from voicelink.errors import LocalProtocolError
from voicelink.frame import NOISE_BYTES, Pause
from voicelink.units import FRAME_SAMPLES, NS_PER_S, SAMPLE_RATE_HZ
from voicelink.wire.media import MediaPacket
from voicelink.wire.packet import is_media

NOISE = bytes(range(60, 60 + NOISE_BYTES))
FRAMES_PER_S = SAMPLE_RATE_HZ / FRAME_SAMPLES
#: 0.7 s of speech, 1.6 s of silence.
SPURT, SILENCE = 60, 140


def talks(index: int) -> bool:
    return index % (SPURT + SILENCE) < SPURT


def converse(world: World, seconds: float, first: int = 0, says: Callable[[int], bool] = talks) -> int:
    """A says frames and pauses in real time, B hears; returns the next index."""
    count, start = int(seconds * FRAMES_PER_S), world.now_ns
    a = world.machines[A]
    assert isinstance(a, Session)
    for i in range(first, first + count):
        at_ns = start + (i - first) * FRAME_SAMPLES * NS_PER_S // SAMPLE_RATE_HZ
        item = frame(i) if says(i) else Pause(i, NOISE)
        world.at(at_ns, lambda item=item: a.send_frame(item, world.now_ns))
        world.at(at_ns, lambda: world.pull(B))
    world.run_ms(seconds * 1000)
    return first + count


def call(**settings: object) -> tuple[World, Session, Session]:
    world = World()
    a, b = world.session(A, **settings), world.session(B)
    world.connect()
    return world, a, b


def heard(world: World) -> list[int]:
    """Frames that were decoded at their time."""
    return [d.frame.index for d in world.played[B] if isinstance(d, (ev.Play, ev.Skip))]


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[MediaPacket]:
    """Every media packet that was made."""
    packets: list[MediaPacket] = []
    original = MediaPacket.__bytes__

    def spy(packet: MediaPacket) -> bytes:
        packets.append(packet)
        return original(packet)

    monkeypatch.setattr(MediaPacket, "__bytes__", spy)
    return packets


def test_next_to_nothing_leaves_in_a_pause_and_nothing_is_missed() -> None:
    world, a, b = call()
    converse(world, 23.0)
    stats = b.stats
    assert (stats.frames_concealed, stats.frames_late, stats.packets_lost, stats.resyncs) == (0, 0, 0, 0)
    assert stats.frames_comfort == pytest.approx(0.69 * 23 * FRAMES_PER_S, rel=0.05)
    played = heard(world)
    assert played == [i for i in range(played[-1] + 1) if talks(i)]
    assert {d.noise for d in world.played[B] if isinstance(d, ev.ComfortNoise)} == {NOISE}
    other, c, _ = call()
    converse(other, 23.0, says=lambda index: True)
    assert a.stats.wire_bytes_sent < 0.42 * c.stats.wire_bytes_sent  # 0.31 is speech


def test_notices_are_few_and_say_when_it_began(sent: list[MediaPacket]) -> None:
    world, _, _ = call(frames_per_packet=3)
    converse(world, 5.0, says=lambda index: index < 10 or index >= 200)
    notices = [packet for packet in sent if packet.pause is not None]
    assert [p.pause.since for p in notices if p.pause] == [1, *range(1 + SOON, 190, EVERY)]
    assert all(p.first_index - (p.pause.since if p.pause else 0) == 10 for p in notices)
    speech = [packet for packet in sent if packet.pause is None]
    assert [p.first_index for p in speech if p.spurt] == [200]
    assert len(speech[3].frames) == 1  # the tenth frame does not wait for an eleventh


def test_a_path_that_loses_packets_gets_the_end_of_a_spurt_again(sent: list[MediaPacket]) -> None:
    world, _, b = call(redundancy=2)
    lost = iter([False] * 4 + [True])
    world.alter = lambda data, source, to: [] if is_media(data) and source == A and next(lost, False) else [data]
    converse(world, 2.0, says=lambda index: index < 10)
    assert [len(p.blocks) for p in sent if p.pause is not None][:3] == [1, 1, 0]
    assert heard(world) == list(range(10))
    assert b.stats.packets_lost == 1


@pytest.mark.parametrize("notices_lost", [1, 2])
def test_a_lost_notice_costs_little(notices_lost: int) -> None:
    world, _, b = call()
    fate = iter([False] * (SPURT // 2) + [True] * notices_lost)
    world.alter = lambda data, source, to: [] if is_media(data) and source == A and next(fate, False) else [data]
    converse(world, 2.2)
    assert b.stats.frames_late == 0
    assert 0 < b.stats.frames_concealed <= SOON + (EVERY if notices_lost > 1 else 0) + 1
    assert b.stats.frames_comfort > 60


def test_a_spurt_whose_first_packet_is_lost_begins_with_its_second() -> None:
    world, _, b = call()
    converse(world, (SPURT + SILENCE - 1) / FRAMES_PER_S)
    fate = iter([True])
    world.alter = lambda data, source, to: [] if is_media(data) and source == A and next(fate, False) else [data]
    converse(world, 1.0, first=SPURT + SILENCE)
    assert (b.stats.frames_concealed, b.stats.frames_late) == (0, 0)
    assert heard(world)[SPURT] == SPURT + SILENCE + 2


def test_pauses_teach_neither_delay_nor_jitter_nor_loss() -> None:
    (world, _, b), (other, _, c) = call(fixed=False), call(fixed=False)
    for one in (world, other):
        one.link.jitter_ms = 8.0
    converse(world, 60.0)
    converse(other, 60.0, says=lambda index: True)
    assert b.playout is not None
    assert c.playout is not None
    assert b.playout.estimator.target_ns == pytest.approx(c.playout.estimator.target_ns, abs=4_000_000)
    assert b.stats.jitter_ns == pytest.approx(c.stats.jitter_ns, rel=0.6)
    assert b.stats.frames_late <= 0.02 * b.stats.frames_received
    watch = b._media._watch if b._media is not None else None
    assert watch is not None
    assert watch._burst_x16 == 0


def test_a_long_pause_keeps_the_call_and_its_feedback_alive_and_the_rate_where_it_was() -> None:
    world, a, b = call(fixed=False)
    first = converse(world, 5.0, says=lambda index: True)
    plan, told, silent = a.plan, a.stats.feedback_received, 0
    world.talk(B, A, 0.1)
    for _ in range(60):
        first = converse(world, 1.0, first=first, says=lambda index: False)
        silent += b.is_silent
    assert (silent, a.plan) == (0, plan)
    assert a.stats.budget_bps > 30_000
    assert a.stats.feedback_received > told + 50
    converse(world, 1.0, first=first, says=lambda index: True)
    assert b.stats.frames_concealed <= 1


def test_a_pause_counts_within_a_call_and_in_order() -> None:
    world, a, _ = call()
    a.send_frame(frame(3), world.now_ns)
    for wrong in (frame(3), Pause(3, NOISE)):
        with pytest.raises(LocalProtocolError, match="indices must rise"):
            a.send_frame(wrong, world.now_ns)
    with pytest.raises(ValueError, match="comfort noise of 3 bytes"):
        Pause(4, b"abc")
    with pytest.raises(ValueError, match="negative"):
        Pause(-1, NOISE)
    with pytest.raises(LocalProtocolError, match="no frame can be sent"):
        world.session(("192.0.2.9", 9)).send_frame(Pause(0, NOISE), world.now_ns)


def test_mute_within_a_pause_and_speech_after_it() -> None:
    world, a, b = call(redundancy=1)
    first = converse(world, 1.5)
    a.set_condition(ev.Condition(muted=True), world.now_ns)
    world.run_ms(3_000)
    a.set_condition(ev.Condition(), world.now_ns)
    first = converse(world, 0.5, first=first + 258, says=lambda index: False)
    converse(world, 1.0, first=first, says=lambda index: True)
    assert b.stats.frames_concealed <= 2
    assert b.stats.frames_late == 0
    assert heard(world)[-1] > first + 70


def test_the_end_of_a_spurt_that_is_lost_is_concealed_for_its_length_alone() -> None:
    world, _, b = call()
    fate = iter([False] * (SPURT // 2 - 3) + [True] * 3)
    world.alter = lambda data, source, to: [] if is_media(data) and source == A and next(fate, False) else [data]
    converse(world, 2.2)
    assert b.stats.frames_concealed == pytest.approx(6, abs=1)
    assert b.stats.frames_comfort > 90
