"""The playout buffer alone: packets in at chosen times, one pull a slot."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable

import pytest

from tests.core.world import frame
from voicelink.core.events import Conceal, Play, PlayoutDecision, Skip, Stretch, Wait
from voicelink.core.jitter import CAPACITY_FRAMES, CONCEALED_KEPT, FRAME_NS, JitterBuffer
from voicelink.core.stats import Stats
from voicelink.units import NS_PER_MS, NS_PER_S, frames_to_ns

DELAY_NS = 60 * NS_PER_MS
#: (arrival, first frame index, frames, redundant frames)
Packet = tuple[int, int, int, int]


def stream(
    count: int, per_packet: int = 2, network_ns: Callable[[int], int | None] = lambda i: 10 * NS_PER_MS, old: int = 0
) -> list[Packet]:
    """Packets of a speaker in real time; `network_ns(first index)` is the delay, or None for a loss."""
    made = []
    for first in range(0, count, per_packet):
        delay_ns = network_ns(first)
        if delay_ns is not None:
            made.append((frames_to_ns(first + per_packet) + delay_ns, first, per_packet, min(old, first)))
    return made


def run(
    packets: Iterable[Packet], slots: int, *, slot_ns: Callable[[int], int] = frames_to_ns, delay_ns: int = DELAY_NS
) -> tuple[list[PlayoutDecision], Stats, JitterBuffer]:
    stats = Stats()
    buffer = JitterBuffer(delay_ns, stats)
    queue = sorted(packets)
    decisions = []
    for slot in range(slots):
        now_ns = slot_ns(slot)
        while queue and queue[0][0] <= now_ns:
            at_ns, first, count, old = queue.pop(0)
            new = [frame(first + i) for i in range(count)]
            buffer.insert(new, [frame(first - old + i, 8) for i in range(old)], at_ns)
        decisions.append(buffer.pull(now_ns))
        while isinstance(decisions[-1], Skip):
            decisions.append(buffer.pull(now_ns))
    return decisions, stats, buffer


def indices(decisions: list[PlayoutDecision]) -> list[int]:
    return [d.frame.index for d in decisions if isinstance(d, (Play, Skip))]


def test_playout_starts_a_delay_after_the_first_packet_and_goes_on_in_order() -> None:
    decisions, stats, _ = run(stream(400), 400)
    first = next(i for i, d in enumerate(decisions) if isinstance(d, Play))
    assert all(isinstance(d, Wait) for d in decisions[:first])
    due_ns = frames_to_ns(2) + 10 * NS_PER_MS + DELAY_NS
    assert due_ns <= frames_to_ns(first) < due_ns + FRAME_NS
    assert indices(decisions) == list(range(400 - first))
    assert (stats.frames_concealed, stats.frames_late, stats.resyncs) == (0, 0, 0)
    assert DELAY_NS <= stats.buffer.mean_ms * NS_PER_MS <= DELAY_NS + 2 * FRAME_NS


def test_no_pull_before_media_is_more_than_silence() -> None:
    buffer = JitterBuffer(DELAY_NS, Stats())
    assert buffer.pull(0) == buffer.pull(10 * NS_PER_S) == Wait()


def test_a_lost_packet_is_concealed_and_not_late() -> None:
    decisions, stats, _ = run(stream(100, network_ns=lambda i: None if i == 50 else 0), 100)
    missing = [d for d in decisions if isinstance(d, Conceal)]
    assert missing == [Conceal(50, 1), Conceal(51, 2)]
    assert (stats.frames_late, stats.frames_concealed, stats.concealment_events) == (0, 2, 1)
    assert stats.interruption_count == 0


def test_a_packet_after_its_slot_is_late_and_not_lost_and_counted_once() -> None:
    def late(i: int) -> int:
        return 300 * NS_PER_MS if i == 50 else 0

    packets = stream(200, network_ns=late)
    packets += [(at, first, count, old) for at, first, count, old in packets if first == 50]  # and again
    _, stats, buffer = run(packets, 200)
    assert (stats.frames_late, stats.frames_concealed) == (2, 2)
    assert stats.frames_received == stats.frames_played + stats.frames_late + len(buffer._held)


def test_an_interruption_is_a_concealment_of_150_ms() -> None:
    for lost, interruptions in ((12, 0), (14, 1)):
        _, stats, _ = run(stream(200, network_ns=lambda i, n=lost: None if 50 <= i < 50 + n else 0), 200)
        assert stats.frames_concealed == lost
        assert (stats.concealment_events, stats.interruption_count) == (1, interruptions)


def test_redundancy_fills_holes_and_the_whole_frame_wins_over_the_coarse_one() -> None:
    packets = stream(100, network_ns=lambda i: None if i % 10 == 0 else 0, old=2)
    decisions, stats, _ = run(packets, 98)
    played = [d.frame for d in decisions if isinstance(d, Play)]
    assert stats.frames_concealed == 0
    assert stats.frames_recovered > 10
    assert {f.bits for f in played if f.index % 10 < 2 and f.index > 1} == {8}
    assert {f.bits for f in played if f.index % 10 >= 2} == {32}


def test_reordered_packets_in_time_are_played_in_order() -> None:
    rng = random.Random(1)
    decisions, stats, _ = run(stream(500, network_ns=lambda i: rng.randint(0, 50) * NS_PER_MS), 500)
    assert indices(decisions) == sorted(indices(decisions))
    assert stats.frames_concealed == 0


@pytest.mark.parametrize("ppm", [-300, 300, 5000, -5000])
def test_clock_drift_is_taken_up_by_skips_and_insertions(ppm: int) -> None:
    count = 12_000
    slots = count * 1_000_000 // (1_000_000 + ppm)

    def slot_ns(i: int) -> int:
        return frames_to_ns(i) * (1_000_000 + ppm) // 1_000_000

    decisions, stats, _ = run(stream(count), slots, slot_ns=slot_ns)
    adjusted = stats.frames_skipped if ppm > 0 else stats.frames_inserted
    assert abs(adjusted - count * abs(ppm) // 1_000_000) <= 2
    assert (stats.frames_concealed, stats.resyncs) == (0, 0)
    assert indices(decisions) == list(range(len(indices(decisions))))
    assert abs(stats.buffer.quantile_ms(0.95) - stats.buffer.quantile_ms(0.05)) < 40
    wrong = Skip if ppm < 0 else Stretch
    assert not any(isinstance(d, wrong) for d in decisions)


def test_a_sender_that_stands_still_is_met_again() -> None:
    """Its media time stood still as well: the same indices come a second later."""
    pause_ns = NS_PER_S
    packets = [(at + (pause_ns if first >= 200 else 0), first, n, old) for at, first, n, old in stream(600)]
    decisions, stats, _ = run(packets, 600 + 86)
    assert stats.resyncs == 1
    assert stats.frames_late < 30
    tail = decisions[-200:]
    assert all(isinstance(d, Play) for d in tail)
    assert stats.buffer.quantile_ms(0.99) < 100


def test_a_network_that_stands_still_is_met_at_the_right_place() -> None:
    """Media time went on: what comes after the outage is played when it is due."""
    packets = [p for p in stream(600) if not 200 <= p[1] < 290]
    decisions, stats, _ = run(packets, 590)
    assert stats.resyncs == 0
    assert stats.frames_concealed == 90
    assert indices(decisions)[-1] > 570


def test_a_path_that_becomes_slower_for_good_gets_its_delay_back() -> None:
    for more_ms, resyncs, inserted in ((40, 0, (2, 4)), (250, 1, (0, 1))):
        packets = stream(3000, network_ns=lambda i, ms=more_ms: (ms if i >= 500 else 0) * NS_PER_MS)
        decisions, stats, _ = run(packets, 3000)
        assert stats.resyncs == resyncs
        assert inserted[0] <= stats.frames_inserted <= inserted[1]
        assert all(isinstance(d, Play) for d in decisions[-500:])


def test_a_path_that_becomes_faster_for_good_gives_its_delay_back() -> None:
    packets = stream(3000, network_ns=lambda i: (80 if i < 500 else 0) * NS_PER_MS)
    decisions, stats, _ = run(packets, 3000)
    assert 5 <= stats.frames_skipped <= 7
    assert stats.frames_concealed == 0
    assert all(isinstance(d, Play) for d in decisions[-500:])


def test_a_loudspeaker_that_stood_still_does_not_keep_the_surplus() -> None:
    def slot_ns(i: int) -> int:
        return frames_to_ns(i) + (NS_PER_S if i >= 300 else 0)

    decisions, stats, _ = run(stream(1000), 900, slot_ns=slot_ns)
    assert stats.resyncs == 1
    assert 60 < stats.frames_discarded < 100
    assert all(isinstance(d, Play) for d in decisions[-200:])
    assert indices(decisions)[-1] > 970


def test_a_jump_far_ahead_sets_the_position_anew() -> None:
    packets = stream(200) + [(at + frames_to_ns(200), first + 20_000, n, 0) for at, first, n, _ in stream(200)]
    decisions, stats, buffer = run(packets, 380)
    assert stats.resyncs == 1
    assert indices(decisions)[-1] > 20_100
    assert len(buffer._held) <= CAPACITY_FRAMES


def test_what_is_held_is_bounded_when_nobody_pulls() -> None:
    stats = Stats()
    buffer = JitterBuffer(DELAY_NS, stats)
    for at_ns, first, count, _ in stream(20_000):
        buffer.insert([frame(first + i) for i in range(count)], [], at_ns)
    assert len(buffer._held) <= CAPACITY_FRAMES


@pytest.mark.parametrize("delay_ms", [0, 20, 200])
def test_the_delay_can_be_chosen(delay_ms: int) -> None:
    _, stats, _ = run(stream(500), 500, delay_ns=delay_ms * NS_PER_MS)
    assert delay_ms <= stats.buffer.mean_ms <= delay_ms + 24
    assert stats.frames_concealed == 0


def test_a_changed_delay_is_reached() -> None:
    stats = Stats()
    buffer = JitterBuffer(DELAY_NS, stats)
    for i in range(3000):
        buffer.insert([frame(i)], [], frames_to_ns(i))
        if i == 500:
            buffer.delay_ns = 120 * NS_PER_MS
        while isinstance(buffer.pull(frames_to_ns(i)), Skip):
            pass
    assert 4 <= stats.frames_inserted <= 6
    assert stats.frames_concealed == 0


def test_a_later_whole_copy_replaces_a_coarse_one_before_its_slot() -> None:
    stats = Stats()
    buffer = JitterBuffer(0, stats)
    buffer.insert([frame(1)], [frame(0, 8)], 0)
    buffer.insert([frame(3)], [frame(2, 8)], 1)
    buffer.insert([frame(2)], [], 2)
    assert [buffer.pull(10 + i) for i in range(3)] == [Play(frame(1)), Play(frame(2)), Play(frame(3))]
    assert (stats.frames_recovered, stats.frames_received) == (1, 3)


def test_what_is_remembered_of_concealed_frames_is_bounded() -> None:
    buffer = JitterBuffer(0, Stats())
    buffer.insert([frame(0)], [], 0)
    for i in range(3 * CONCEALED_KEPT):
        buffer.pull(frames_to_ns(i))
    assert len(buffer._concealed) == CONCEALED_KEPT
