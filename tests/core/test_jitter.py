"""The jitter buffer alone: packets in at chosen times, one pull a slot."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterable
from dataclasses import replace

import pytest

from tests.core.world import frame
from voicelink.core.delay import DelayEstimator
from voicelink.core.events import ComfortNoise, Conceal, Heal, Play, PlayoutDecision, Skip, Stretch, Wait
from voicelink.core.jitter import CAPACITY_FRAMES, FRAME_NS, MISSING_KEPT, JitterBuffer
from voicelink.core.stats import Stats
from voicelink.frame import Frame
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


def adaptive() -> DelayEstimator:
    return DelayEstimator(0.01)


def fixed(delay_ns: int = DELAY_NS) -> DelayEstimator:
    return DelayEstimator(0.01, delay_ns, delay_ns)


def run(
    packets: Iterable[Packet],
    slots: int,
    *,
    slot_ns: Callable[[int], int] = frames_to_ns,
    estimator: DelayEstimator | None = None,
    quiet: bool = False,
) -> tuple[list[PlayoutDecision], Stats, JitterBuffer]:
    stats = Stats()
    buffer = JitterBuffer(estimator or fixed(), stats)
    queue = sorted(packets)
    decisions = []
    for slot in range(slots):
        now_ns = slot_ns(slot)
        while queue and queue[0][0] <= now_ns:
            at_ns, first, count, old = queue.pop(0)
            new = [frame(first + i) for i in range(count)]
            buffer.insert(new, [frame(first - old + i, 8) for i in range(old)], at_ns)
        decisions.append(buffer.pull(now_ns, quiet=quiet))
        while isinstance(decisions[-1], (Skip, Heal)):
            decisions.append(buffer.pull(now_ns, quiet=quiet))
    return decisions, stats, buffer


def indices(decisions: list[PlayoutDecision]) -> list[int]:
    return [d.frame.index for d in decisions if isinstance(d, (Play, Skip))]


def test_playout_starts_a_delay_after_the_fastest_frame_and_goes_on_in_order() -> None:
    decisions, stats, buffer = run(stream(400), 400)
    first = next(i for i, d in enumerate(decisions) if isinstance(d, Play))
    assert all(isinstance(d, Wait) for d in decisions[:first])
    due_ns = frames_to_ns(1) + 10 * NS_PER_MS + DELAY_NS  # frame 1 is the fastest: it waits for none in its packet
    assert due_ns <= frames_to_ns(first) < due_ns + FRAME_NS
    assert indices(decisions) == list(range(400 - first))
    assert (stats.frames_concealed, stats.frames_late, stats.resyncs) == (0, 0, 0)
    assert buffer.level_ns is not None
    assert 0 <= buffer.level_ns - DELAY_NS < FRAME_NS


def levels(phase_ns: int, slots: int, ppm: int = 0) -> list[float]:
    """Frames between level and target in each slot of a path without jitter; a slot of silence lasts half a one."""
    buffer, queue, now_ns, found = JitterBuffer(adaptive(), Stats()), stream(slots + 100), phase_ns, []
    for _ in range(slots):
        while queue and queue[0][0] <= now_ns:
            at_ns, first, count, _ = queue.pop(0)
            buffer.insert([frame(first + i) for i in range(count)], [], at_ns)
        decision = buffer.pull(now_ns)
        while isinstance(decision, Skip):
            decision = buffer.pull(now_ns)
        assert not isinstance(decision, Conceal)
        now_ns += (FRAME_NS if not isinstance(decision, Wait) else FRAME_NS // 2) * (1_000_000 + ppm) // 1_000_000
        if buffer.level_ns is not None:
            found.append((buffer.level_ns - buffer.estimator.target_ns) / FRAME_NS)
    return found


def test_slots_begin_where_an_even_path_has_less_to_wait() -> None:
    lasting = [levels(phase * FRAME_NS // 16, 500)[-1] for phase in range(16)]
    assert max(lasting) < 0.56  # half a frame, and what an even path is taken to need beyond what is seen
    assert min(lasting) >= 0


@pytest.mark.parametrize("ppm", [-300, 300])
def test_drift_takes_the_level_no_further_than_a_frame_from_its_target(ppm: int) -> None:
    apart = levels(FRAME_NS // 3, 30_000, ppm)[1000:]
    means = [abs(sum(apart[i : i + 86])) / 86 for i in range(0, len(apart) - 86, 86)]
    assert max(means) <= 1.0


def test_no_pull_before_media_is_more_than_silence() -> None:
    buffer = JitterBuffer(fixed(), Stats())
    assert buffer.pull(0) == buffer.pull(10 * NS_PER_S) == Wait()


def test_a_lost_packet_is_concealed_and_not_late() -> None:
    for estimator in (fixed(), adaptive()):
        decisions, stats, _ = run(stream(300, network_ns=lambda i: None if i == 250 else 0), 300, estimator=estimator)
        assert [d for d in decisions if isinstance(d, Conceal)] == [Conceal(250, 1), Conceal(251, 2)]
        assert (stats.frames_late, stats.frames_concealed, stats.concealment_events) == (0, 2, 1)
        assert stats.interruption_count == 0


def test_true_loss_does_not_move_the_target() -> None:
    rng = random.Random(2)
    for loss in (0.0, 0.1, 0.4):
        packets = stream(3000, network_ns=lambda i, p=loss: None if rng.random() < p else 0)
        _, stats, buffer = run(packets, 3000, estimator=adaptive())
        assert buffer.estimator.target_ns == pytest.approx(FRAME_NS, abs=2)  # the bundling of two frames, no more
        assert stats.frames_late <= 2


def test_an_overtaken_packet_after_its_slot_is_late_and_heals_and_is_counted_once() -> None:
    def late(i: int) -> int:
        return 300 * NS_PER_MS if i == 50 else 0

    packets = stream(200, network_ns=late)
    packets += [(at, first, count, old) for at, first, count, old in packets if first == 50]  # and again
    decisions, stats, buffer = run(packets, 200)
    assert (stats.frames_late, stats.frames_healed, stats.frames_concealed) == (2, 2, 2)
    assert [d for d in decisions if isinstance(d, Heal)] == [Heal(frame(50)), Heal(frame(51))]
    assert stats.frames_received == stats.frames_played + stats.frames_late + len(buffer._held)


def test_a_stall_is_waited_out_and_no_frame_of_it_is_gone() -> None:
    """First-in first-out: what waits for 100 ms comes all at once, and is played; the delay is then worked off."""

    def network_ns(i: int) -> int:
        at_ns, end_ns = frames_to_ns(i + 2), frames_to_ns(600) + 100 * NS_PER_MS
        return max(0, end_ns - at_ns) if 600 <= i < 610 else 0

    decisions, stats, buffer = run(stream(1200, network_ns=network_ns), 1200, estimator=adaptive())
    played = indices(decisions)
    assert played == list(range(played[-1] + 1))
    assert 5 <= stats.frames_concealed == stats.frames_late <= 8
    assert buffer.level_ns is not None
    assert buffer.level_ns < buffer.estimator.target_ns + 2 * FRAME_NS


def test_slots_that_waited_stand_for_what_was_lost() -> None:
    packets = [p for p in stream(600) if not 200 <= p[1] < 290]
    decisions, stats, _ = run(packets, 590)
    assert (stats.resyncs, stats.frames_concealed, stats.frames_late) == (0, 90, 0)
    assert indices(decisions)[-1] > 570


def test_an_interruption_is_a_concealment_of_150_ms() -> None:
    for lost, interruptions in ((12, 0), (14, 1)):
        _, stats, _ = run(stream(200, network_ns=lambda i, n=lost: None if 50 <= i < 50 + n else 0), 200)
        assert stats.frames_concealed == lost
        assert (stats.concealment_events, stats.interruption_count) == (1, interruptions)
        assert stats.frames_interrupted == lost * interruptions
        assert stats.frames_concealed_silent == 0
    _, stats, _ = run(stream(200, network_ns=lambda i: None if 50 <= i < 90 else 0), 200)
    assert (stats.frames_concealed, stats.frames_concealed_silent) == (40, 19)


def test_redundancy_fills_holes_and_the_whole_frame_wins_over_the_coarse_one() -> None:
    packets = stream(100, network_ns=lambda i: None if i % 10 == 0 else 0, old=2)
    decisions, stats, _ = run(packets, 98)
    played = [d.frame for d in decisions if isinstance(d, Play)]
    assert stats.frames_concealed == 0
    assert stats.frames_recovered > 10
    assert {f.bits for f in played if f.index % 10 < 2 and f.index > 1} == {8}
    assert {f.bits for f in played if f.index % 10 >= 2} == {32}


def test_the_target_takes_in_the_depth_of_redundancy_only_where_it_is_used() -> None:
    rng = random.Random(5)
    lossy = stream(3000, network_ns=lambda i: None if rng.random() < 0.1 else 0, old=2)
    for packets, frames in ((stream(3000, old=2), 1), (lossy, 3)):
        _, _, buffer = run(packets, 3000, estimator=adaptive())
        assert buffer.estimator.target_ns == pytest.approx(frames_to_ns(frames), abs=4)


def test_reordered_packets_in_time_are_played_in_order() -> None:
    rng = random.Random(1)
    packets = stream(500, network_ns=lambda i: rng.randint(0, 45) * NS_PER_MS)
    decisions, stats, _ = run(packets, 500)
    assert indices(decisions) == sorted(indices(decisions))
    assert stats.frames_concealed == 0


@pytest.mark.parametrize("ppm", [-300, 300, 1000, -1000])
def test_clock_drift_is_taken_up_without_a_step_or_a_concealment(ppm: int) -> None:
    count = 20_000
    slots = count * 1_000_000 // (1_000_000 + ppm)

    def slot_ns(i: int) -> int:
        return frames_to_ns(i) * (1_000_000 + ppm) // 1_000_000

    for estimator in (fixed(), adaptive()):
        decisions, stats, buffer = run(stream(count), slots, slot_ns=slot_ns, estimator=estimator)
        adjusted = stats.frames_skipped - stats.frames_inserted
        assert abs(abs(adjusted) - count * abs(ppm) // 1_000_000) <= 5
        assert (stats.frames_concealed, stats.resyncs) == (0, 0)
        assert indices(decisions) == list(range(len(indices(decisions))))
        assert buffer.level_ns is not None
        assert -1 < (buffer.level_ns - buffer.estimator.target_ns) / FRAME_NS < 1.1
        heard = [d.frame.index - d.lag / 20 for d in decisions if isinstance(d, Play)]
        speeds = [after - before for before, after in itertools.pairwise(heard)]
        # A slot without a frame falls where a whole frame of lag would: two plays around it are one step apart.
        assert all(0.89 < speed < 1.11 or abs(speed - 1.8) < 0.21 for speed in speeds), set(speeds)


def test_speed_stays_within_a_tenth() -> None:
    """Slot by slot, a stretched one included: what is heard goes on by 0.9 to 1.1 frames."""
    packets = stream(3000, network_ns=lambda i: (0 if i < 1000 or i >= 2000 else 45) * NS_PER_MS)
    decisions, stats, _ = run(packets, 2900, estimator=DelayEstimator(0.01, 30 * NS_PER_MS))
    assert stats.frames_skipped > 3
    heard, newest = [], 0.0
    for decision in decisions:
        if isinstance(decision, Play):
            newest = decision.frame.index
            heard.append(newest - decision.lag / 20)
        elif isinstance(decision, Stretch):
            heard.append(newest)
        elif isinstance(decision, Conceal):
            heard.clear()
    speeds = [after - before for before, after in itertools.pairwise(heard)]
    assert min(speeds) > 0.89
    assert max(speeds) < 1.11


def test_quiet_frames_are_left_out_and_put_in_whole() -> None:
    packets = stream(3000, network_ns=lambda i: (80 if i < 500 else 0) * NS_PER_MS)
    decisions, stats, _ = run(packets, 3000, quiet=True)
    assert 5 <= stats.frames_skipped <= 8
    assert all(d.lag == 0 for d in decisions if isinstance(d, Play))


def test_a_sender_that_stands_still_is_met_again() -> None:
    """Its media time stood still as well: the same indices come a second later, and nothing is lost."""
    packets = [(at + (NS_PER_S if first >= 200 else 0), first, n, old) for at, first, n, old in stream(600)]
    decisions, stats, _ = run(packets, 600 + 86, estimator=adaptive())
    assert indices(decisions) == list(range(len(indices(decisions))))
    assert 80 < stats.frames_concealed < 90
    assert all(isinstance(d, Play) for d in decisions[-150:])


def test_a_step_up_of_the_path_costs_its_own_length_and_no_more() -> None:
    for more_ms in (40, 80, 250):
        packets = stream(3000, network_ns=lambda i, ms=more_ms: (ms if i >= 1000 else 0) * NS_PER_MS)
        decisions, stats, buffer = run(packets, 3000, estimator=adaptive())
        assert stats.frames_concealed <= -(-more_ms * NS_PER_MS // FRAME_NS) + 1
        assert all(isinstance(d, Play) for d in decisions[-500:])
        assert buffer.estimator.target_ns < 2 * FRAME_NS  # two seconds later it is just another path
        assert indices(decisions) == list(range(len(indices(decisions))))


def test_a_step_down_of_the_path_is_recovered_within_three_seconds() -> None:
    packets = stream(2000, network_ns=lambda i: (80 if i < 1000 else 0) * NS_PER_MS)
    _, stats, buffer = run(packets, 1000 + 258, estimator=adaptive())
    assert buffer.level_ns is not None
    assert buffer.level_ns < buffer.estimator.target_ns + 1.1 * FRAME_NS
    assert 6 <= stats.frames_skipped <= 12
    assert stats.frames_concealed == 0


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


def test_a_sender_that_begins_anew_is_followed() -> None:
    packets = [p for p in stream(2000) if p[1] >= 1800]
    packets += [(at + packets[-1][0], first, n, old) for at, first, n, old in stream(400)]
    decisions, stats, _ = run(packets, 2000 + 390)
    assert stats.resyncs == 1
    assert all(isinstance(d, Play) for d in decisions[-200:])
    assert indices(decisions)[-1] > 350


def test_what_is_held_is_bounded_when_nobody_pulls() -> None:
    buffer = JitterBuffer(adaptive(), Stats())
    for at_ns, first, count, _ in stream(20_000):
        buffer.insert([frame(first + i) for i in range(count)], [], at_ns)
    assert len(buffer._held) <= CAPACITY_FRAMES


@pytest.mark.parametrize("delay_ms", [20, 60, 200])
def test_a_fixed_delay_can_be_chosen(delay_ms: int) -> None:
    _, stats, buffer = run(stream(500), 500, estimator=fixed(delay_ms * NS_PER_MS))
    assert buffer.level_ns is not None
    assert 0 <= buffer.level_ns - delay_ms * NS_PER_MS <= FRAME_NS
    assert stats.frames_concealed == 0


def test_new_bounds_act_at_once() -> None:
    stats = Stats()
    buffer = JitterBuffer(fixed(), stats)
    level_ns = []
    for i in range(1000):
        buffer.insert([frame(i)], [], frames_to_ns(i))
        if i in (400, 700):
            buffer.bounds_ns = (150 * NS_PER_MS, 200 * NS_PER_MS) if i == 400 else (0, 30 * NS_PER_MS)
        while isinstance(buffer.pull(frames_to_ns(i)), Skip):
            pass
        level_ns.append(buffer.level_ns or 0)
    assert 150 * NS_PER_MS <= level_ns[415] < 165 * NS_PER_MS  # ten slots for eight frames
    assert level_ns[710] < 45 * NS_PER_MS
    assert stats.frames_concealed == 0


def test_a_second_description_that_comes_before_the_slot_is_played_along() -> None:
    buffer = JitterBuffer(fixed(0), Stats())
    others = [Frame(i, frame(i).bits, bytes(len(frame(i).payload)), is_second=True) for i in range(6)]
    buffer.insert([frame(0), frame(1)], [], 0)
    buffer.insert([frame(2)], [others[1], frame(0)], 1)  # of 0 a plain copy
    buffer.insert([frame(5)], [others[3], others[4]], 2)  # 3 and 4 are lost
    buffer.insert([frame(6)], [others[5], frame(3)], 3)  # ... and 3 comes after its second description
    made = [buffer.pull(frames_to_ns(6 + i)) for i in range(5)]
    buffer.insert([frame(7)], [others[2]], frames_to_ns(11))  # too late: it was played
    made += [buffer.pull(frames_to_ns(11 + i)) for i in range(3)]
    heard = [d.frame for d in made if isinstance(d, (Play, Skip))]
    both = [replace(frame(i), second=others[i].payload) for i in range(6)]
    assert heard == [frame(0), both[1], frame(2), both[3], others[4], both[5], frame(6), frame(7)]
    assert not any(isinstance(d, Heal) for d in made)


def test_a_later_whole_copy_replaces_a_coarse_one_before_its_slot() -> None:
    stats = Stats()
    buffer = JitterBuffer(fixed(0), stats)
    buffer.insert([frame(1)], [frame(0, 8)], 0)
    buffer.insert([frame(3)], [frame(2, 8)], 1)
    buffer.insert([frame(2)], [], 2)
    made = [buffer.pull(frames_to_ns(3 + i)) for i in range(3)]
    assert [d.frame for d in made if isinstance(d, (Play, Skip))] == [frame(1), frame(2), frame(3)]
    assert (stats.frames_recovered, stats.frames_received) == (1, 3)


def test_what_is_remembered_of_missing_frames_is_bounded() -> None:
    buffer = JitterBuffer(fixed(0), Stats())
    for i in range(3 * MISSING_KEPT):
        buffer.insert([frame(2 * i)], [], frames_to_ns(2 * i))
        buffer.pull(frames_to_ns(2 * i))
        buffer.pull(frames_to_ns(2 * i + 1))
    assert len(buffer._missing) == MISSING_KEPT


# ---- announced silence ---------------------------------------------------------------------------
def talk(
    announce: bool, flag: bool, silent_frames: int = 300, late_ms: int = 0
) -> tuple[list[PlayoutDecision], Stats, JitterBuffer]:
    """Speech of 400 frames, silence, and speech again; the silence is announced, its end flagged, or not."""
    stats = Stats()
    buffer = JitterBuffer(adaptive(), stats)
    second = 400 + silent_frames
    packets = [p for p in stream(second + 400) if p[1] < 400 or p[1] >= second]
    decisions = []
    for slot in range(second + 390):
        now_ns = frames_to_ns(slot)
        while packets and packets[0][0] + (late_ms * NS_PER_MS if packets[0][1] == second else 0) <= now_ns:
            at_ns, first, count, _ = packets.pop(0)
            buffer.insert(
                [frame(first + i) for i in range(count)], [], now_ns, talk_spurt_start=flag and first == second
            )
            if announce and first == 398:
                buffer.announce_silence(400, at_ns)
        decisions.append(buffer.pull(now_ns))
        while isinstance(decisions[-1], (Skip, Heal)):
            decisions.append(buffer.pull(now_ns))
    return decisions, stats, buffer


@pytest.mark.parametrize("late_ms", [0, 60])
def test_an_announced_silence_is_comfort_noise_and_neither_concealed_nor_late(late_ms: int) -> None:
    decisions, stats, buffer = talk(announce=True, flag=True, late_ms=late_ms)
    assert (stats.frames_concealed, stats.frames_late, stats.resyncs) == (0, 0, 0)
    assert stats.frames_comfort == pytest.approx(300, abs=8)
    assert all(400 <= d.index < 710 for d in decisions if isinstance(d, ComfortNoise))
    played = indices(decisions)
    assert played == [i for i in range(played[-1] + 1) if not 400 <= i < 700]
    assert buffer.estimator.target_ns < (2 if not late_ms else 8) * FRAME_NS


def test_a_silence_whose_announcement_was_lost_is_concealed_until_the_talk_spurt() -> None:
    decisions, stats, buffer = talk(announce=False, flag=True)
    assert 290 <= stats.frames_concealed <= 302
    assert sum(isinstance(d, ComfortNoise) for d in decisions) >= 1  # so that the decoder hears of it
    assert (stats.frames_late, stats.resyncs) == (0, 0)
    played = indices(decisions)
    assert played == [i for i in range(played[-1] + 1) if not 400 <= i < 700]
    assert buffer.estimator.target_ns < 2 * FRAME_NS


def test_a_talk_spurt_whose_first_packet_was_lost_begins_with_its_second() -> None:
    decisions, stats, _ = talk(announce=True, flag=False)
    played = indices(decisions)
    assert next(i for i in played if i >= 400) == 700
    assert stats.frames_concealed == 0
