"""The small parts of a session: states, negotiation, sender, arrivals, exchange, statistics."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.core.world import frame
from tests.wire.test_control import offers
from voicelink.core.arrivals import MAX_JUMP, WINDOW, Arrivals
from voicelink.core.events import Agreed
from voicelink.core.exchange import Exchange
from voicelink.core.negotiate import negotiate, offer_of
from voicelink.core.plan import Plan, Repeat, fixed_plan
from voicelink.core.sender import Sender
from voicelink.core.states import TABLE, State, Trigger, after, allowed
from voicelink.core.stats import Samples, Stats
from voicelink.errors import LocalProtocolError
from voicelink.frame import Frame
from voicelink.settings import SessionSettings
from voicelink.units import NS_PER_MS, NS_PER_S, frames_to_ns
from voicelink.wire.control import End, Offer, Probe
from voicelink.wire.media import Block, MediaPacket

HERE = ("192.0.2.1", 5)
OFFER = offer_of(SessionSettings(model_ids=("m",)))


# ---- states --------------------------------------------------------------------------------------
@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("trigger", Trigger)
def test_a_pair_is_in_the_table_or_raises(state: State, trigger: Trigger) -> None:
    if allowed(state, trigger):
        assert after(state, trigger) is TABLE[state][trigger]
    else:
        with pytest.raises(LocalProtocolError, match="is not possible while"):
            after(state, trigger)


def test_every_state_is_reachable_and_leads_to_the_end() -> None:
    reached, front = {State.IDLE}, [State.IDLE]
    while front:
        new = set(TABLE[front.pop()].values()) - reached
        reached |= new
        front += new
    assert reached == set(State)
    assert all(Trigger.STOP in TABLE[s] for s in State if s is not State.ENDED)


# ---- negotiation ---------------------------------------------------------------------------------
def test_the_best_that_both_allow() -> None:
    caller = Offer(("a", "b", "c"), 8, 48, 2, 1, 6)
    callee = Offer(("c", "b"), 16, 64, 4, 2, 8)
    assert negotiate(caller, callee) == Agreed("b", 16, 48, 4, 2, 6)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"models": ()}, "no codec model in common: the caller has m, the callee has none"),
        ({"models": ("x", "y")}, "the callee has x, y"),
        ({"bits_min": 1, "bits_max": 7}, "the caller allows 689-5513 bit/s, the callee 86-603 bit/s"),
    ],
)
def test_nothing_in_common_says_what_each_has(change: dict[str, object], text: str) -> None:
    result = negotiate(OFFER, replace(OFFER, **change))
    assert isinstance(result, str)
    assert text in result


def test_no_packet_size_in_common() -> None:
    few, many = replace(OFFER, frames=1, frames_max=1), replace(OFFER, frames=4, frames_min=3)
    assert "1..1 frames, the callee 3..8" in str(negotiate(few, many))


@given(offers(), offers())
def test_what_is_agreed_is_within_both_offers(caller: Offer, callee: Offer) -> None:
    agreed = negotiate(caller, callee)
    if isinstance(agreed, str):
        assert agreed.startswith("no ")
        return
    for offer in (caller, callee):
        assert agreed.model_id in offer.models
        assert offer.bits_min <= agreed.bits_min <= agreed.bits_max <= offer.bits_max
        assert offer.frames_min <= agreed.frames_per_packet <= offer.frames_max
        assert offer.frames_min <= agreed.frames_min <= agreed.frames_max <= offer.frames_max


# ---- sender --------------------------------------------------------------------------------------
def repeated(packet: MediaPacket) -> list[tuple[int, int, int]]:
    return [(b.distance, len(b.frames), b.bits) for b in packet.blocks]


def test_frames_are_bundled_and_repeated() -> None:
    sender = Sender(Plan(32, 2, (Repeat(0, 3, 16),)))
    packets = [p for i in range(6) for p in sender.push(frame(i))]
    assert [(p.first_index, len(p.frames)) for p in packets] == [(0, 2), (2, 2), (4, 2)]
    assert [repeated(p) for p in packets] == [[], [(0, 2, 16)], [(0, 3, 16)]]
    assert packets[2].blocks[0].frames == tuple(frame(i).truncated(16).payload for i in (1, 2, 3))
    assert packets[2].bits == 32


def test_frames_from_further_back_are_repeated_in_blocks() -> None:
    sender = Sender(Plan(32, 2, (Repeat(0, 2, 64), Repeat(4, 2, 8))))
    packets = [p for i in range(10) for p in sender.push(frame(i))]
    assert [repeated(p) for p in packets[:3]] == [[], [(0, 2, 32)], [(0, 2, 32)]]
    assert repeated(packets[4]) == [(0, 2, 32), (4, 2, 8)]
    assert packets[4].blocks[1].frames == tuple(frame(i).truncated(8).payload for i in (2, 3))
    sender.plan = Plan(32, 1)
    (bare,) = sender.push(frame(10))
    assert (bare.blocks, len(bare.frames)) == ((), 1)


def test_the_first_of_two_whole_copies_is_the_second_description() -> None:
    sender = Sender(Plan(32, 1, (Repeat(0, 1, 64), Repeat(1, 1, 32), Repeat(2, 1, 31))))
    assert sender.plan.repeats_twice
    for repeats in ((Repeat(0, 1, 64),), (Repeat(0, 1, 32), Repeat(1, 1, 31)), (Repeat(0, 1, 31), Repeat(1, 1, 32))):
        assert not Plan(32, 1, repeats).repeats_twice
    described = [replace(frame(i), second=bytes([i]) * 4) for i in range(5)]
    packets = [p for f in described for p in sender.push(f)]
    assert packets[1].blocks == (Block(0, 32, (described[0].payload,)),)  # alone it would be: there is no other block
    packet = packets[-1]
    assert packet.frames == (described[4].payload,)
    assert [block.frames for block in packet.blocks] == [
        (described[3].second,),
        (described[2].payload,),
        (described[1].truncated(31).payload,),
    ]


def test_what_copies_of_a_frame_tell_together() -> None:
    whole = frame(3, 16)
    coarse, other = whole.truncated(9), Frame(3, 16, b"xy", is_second=True)
    assert whole.joined(coarse) == coarse.joined(whole) == whole
    assert whole.joined(whole) == whole
    both = whole.joined(other)
    assert both == other.joined(whole) == replace(whole, second=other.payload)
    assert other.joined(other) == other
    assert whole.joined(replace(whole, is_second=True)) == replace(whole, is_second=True).joined(whole) == whole
    assert whole.joined(replace(other, is_second=False)) == whole  # two first ones: a damaged sender
    assert both.joined(whole) == both.joined(other) == other.joined(both) == both.joined(coarse) == both
    assert both.truncated(16) == both
    assert both.truncated(9) == coarse
    assert coarse.joined(both) == both
    for second, match in ((b"x", "1 payload bytes do not hold 16"), (b"xyz", "3 payload bytes do not hold 16")):
        with pytest.raises(ValueError, match=match):
            replace(whole, second=second)
    with pytest.raises(ValueError, match="unused payload bits"):
        Frame(0, 9, bytes(2), b"\0\1")


def test_a_change_of_bits_or_a_gap_closes_the_packet() -> None:
    sender = Sender(Plan(32, 3, (Repeat(0, 1, 64),)))
    assert sender.push(frame(0, 32)) == []
    (closed,) = sender.push(frame(1, 16))
    assert (closed.first_index, len(closed.frames), closed.bits) == (0, 1, 32)
    (closed,) = sender.push(frame(5, 16))
    assert (closed.first_index, repeated(closed)) == (1, [(0, 1, 32)])
    assert sender.push(frame(6, 16)) == []
    (full,) = sender.push(frame(7, 16))
    assert full.blocks == ()  # frame 4 never was


def test_repeated_frames_have_the_fewest_bits_among_them() -> None:
    sender = Sender(Plan(64, 1, (Repeat(0, 2, 64),)))
    packets = [p for i, bits in enumerate((32, 8, 64)) for p in sender.push(frame(i, bits))]
    assert packets[2].blocks == (Block(0, 8, (frame(0, 32).truncated(8).payload, frame(1, 8).payload)),)


AGREED = Agreed("m", 8, 64, 2, 1, 8)


def test_a_plan_knows_its_rate_on_the_wire() -> None:
    plan = Plan(16, 2, (Repeat(4, 2, 12),))
    packet = MediaPacket(9, 16, (b"ab", b"cd"), (Block(4, 12, (b"ab", b"c`")),))
    assert plan.packet_bytes == 28 + 7 + 8 + len(bytes(packet))
    assert plan.wire_bps == pytest.approx(plan.packet_bytes * 8 * 22050 / 256 / 2, abs=1)
    assert (plan.reach, Plan(16, 2).reach) == (6, 0)


@pytest.mark.parametrize("kbps", [5.0, 17.0, 20.0, 60.0])
@pytest.mark.parametrize("redundancy", [0, 2])
def test_a_fixed_plan_takes_the_most_bits_that_fit(kbps: float, redundancy: int) -> None:
    plan = fixed_plan(SessionSettings(wire_kbps=kbps, redundancy=redundancy), AGREED)
    assert plan.bits in (8, 64) or plan.wire_bps <= 1000 * kbps < replace(plan, bits=plan.bits + 1).wire_bps + 700
    assert (plan.bits == 8) == (kbps < 18)
    assert (plan.bits == 64) == (kbps == 60.0)


def test_copies_lie_the_same_distance_apart() -> None:
    settings = SessionSettings(redundancy=2, redundancy_distance=3, redundancy_copies=2, redundant_bits=10)
    assert fixed_plan(settings, AGREED) == Plan(64, 2, (Repeat(3, 2, 10), Repeat(8, 2, 10)))
    far = SessionSettings(redundancy=8, redundancy_distance=100, redundancy_copies=3)
    assert fixed_plan(far, AGREED).repeats == (Repeat(100, 8, 64),)


def test_indices_must_rise() -> None:
    sender = Sender(Plan(32, 2))
    sender.push(frame(4))
    with pytest.raises(LocalProtocolError, match="frame 4 after frame 4"):
        sender.push(frame(4))


# ---- arrivals ------------------------------------------------------------------------------------
def book(counters: list[int]) -> tuple[Stats, list[bool]]:
    stats = Stats()
    arrivals = Arrivals(stats)
    return stats, [arrivals.take(c, frames_to_ns(c), 20, frames_to_ns(c)) for c in counters]


def test_lost_duplicated_and_reordered_packets() -> None:
    stats, taken = book([0, 1, 1, 4, 3, 3, 6])
    assert taken == [True, True, False, True, True, False, True]
    assert (stats.packets_received, stats.packets_lost) == (5, 2)
    assert (stats.packets_duplicated, stats.packets_reordered) == (2, 1)


def test_packets_lost_before_the_first_one_count() -> None:
    assert book([3])[0].packets_lost == 3


def test_a_packet_behind_the_window_is_dropped() -> None:
    stats, taken = book([*range(1, WINDOW + 5), 0])
    assert taken[-1] is False
    assert stats.packets_lost == 1


def test_a_far_jump_needs_a_second_witness() -> None:
    far = MAX_JUMP + 500
    stats, taken = book([0, 1, far, 2, far + 10, far + 11, far + 12])
    assert taken == [True, True, False, True, False, True, True]
    assert stats.packets_lost < 5


@given(st.permutations(range(60)), st.integers(0, 59))
def test_any_order_and_loss_is_booked_exactly(order: list[int], lost: int) -> None:
    stats, _ = book(order[lost:])
    came = order[lost:]
    assert stats.packets_received == len(came)
    assert stats.packets_lost == max(came) + 1 - len(came)


def test_jitter_is_rfc_3550s() -> None:
    stats = Stats()
    arrivals = Arrivals(stats)
    rng, expected, last = random.Random(2), 0.0, None
    for i in range(400):
        delay_ns = rng.randint(0, 20 * NS_PER_MS)
        arrivals.take(i, frames_to_ns(i), 20, frames_to_ns(i) + delay_ns)
        expected += (abs(delay_ns - (delay_ns if last is None else last)) - expected) / 16 if last is not None else 0
        last = delay_ns
    assert stats.jitter_ns == pytest.approx(expected, abs=20)


# ---- exchange ------------------------------------------------------------------------------------
def test_requests_are_sent_again_ever_more_slowly_and_given_up() -> None:
    exchange: Exchange[Probe | End] = Exchange()
    probe = Probe(exchange.next_id())
    exchange.start(probe, HERE, 0, 3 * NS_PER_S)
    times_ms = []
    while (due_ns := exchange.next_due_ns()) is not None:
        again, over = exchange.due(due_ns)
        times_ms += [due_ns // NS_PER_MS] * len(again)
        if over:
            assert over == [probe]
    assert times_ms == [200, 600, 1400, 2200]


def test_only_the_asked_address_answers() -> None:
    exchange: Exchange[Probe | End] = Exchange()
    exchange.start(Probe(1), HERE, 0, NS_PER_S)
    assert exchange.answered(1, ("192.0.2.9", 5)) is None
    assert exchange.answered(2, HERE) is None
    assert exchange.answered(1, HERE) == Probe(1)
    assert exchange.answered(1, HERE) is None


# ---- statistics ----------------------------------------------------------------------------------
@given(st.lists(st.integers(0, NS_PER_S), min_size=1, max_size=200))
def test_samples_agree_with_a_sorted_list(values: list[int]) -> None:
    samples = Samples()
    for value in values:
        samples.add(value)
    assert samples.mean_ms == pytest.approx(sum(values) / len(values) / NS_PER_MS)
    exact = sorted(values)[max(0, -(-95 * len(values) // 100) - 1)] / NS_PER_MS
    assert exact - 0.1 <= samples.quantile_ms(0.95) <= exact


def test_wire_rate_counts_the_headers() -> None:
    stats = Stats(packets_sent=43, bytes_sent=43 * 19, connected_ns=NS_PER_S)
    assert stats.wire_kbps == pytest.approx(43 * 47 * 8 / 1000)
    plain = stats.to_dict()
    assert plain["packets_sent"] == 43
    assert plain["buffer_ms"] == {"mean": 0.0, "p95": 0.0}
    assert plain["rtt_ms"] is None
