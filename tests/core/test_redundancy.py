"""What to send for a loss, a burst length and a budget."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicelink.core.plan import Plan
from voicelink.core.redundancy import FARTHEST, Limits, Path, choose, expected, leanest, worth_of

LIMITS = Limits(8, 64, 2, 8)
LOSS_20 = 200_000


@st.composite
def limits(draw: st.DrawFn) -> Limits:
    bits = sorted(draw(st.tuples(st.integers(1, 64), st.integers(1, 64))))
    frames = sorted(draw(st.tuples(st.integers(1, 8), st.integers(1, 8))))
    return Limits(bits[0], bits[1], frames[0], frames[1])


@given(st.integers(0, 80_000), st.integers(0, 1_000_000), st.integers(0, 255), limits())
def test_any_plan_is_within_the_limits_and_the_budget(budget: int, loss: int, burst: int, allowed: Limits) -> None:
    plan = choose(budget, Path(loss, burst), allowed)
    assert allowed.bits_min <= plan.bits <= allowed.bits_max
    assert allowed.frames_min <= plan.frames <= allowed.frames_max
    assert plan.reach <= FARTHEST
    assert all(1 <= repeat.bits <= plan.bits for repeat in plan.repeats)
    assert plan.wire_bps <= budget or plan == leanest(allowed)


def test_a_good_path_has_no_copies_and_the_bundling_asked_for() -> None:
    assert choose(60_000, Path(), LIMITS) == Plan(64, 2)


def test_less_room_means_longer_packets_and_then_fewer_bits() -> None:
    plans = [choose(kbps * 1000, Path(), LIMITS) for kbps in (60, 16, 12, 9, 6)]
    assert [p.frames for p in plans] == sorted(p.frames for p in plans)
    assert [p.bits for p in plans] == sorted((p.bits for p in plans), reverse=True)
    assert plans[-1].wire_bps > 5_000  # what there is, is used


@pytest.mark.parametrize("kbps", [9, 12, 16, 24])
def test_loss_brings_copies(kbps: int) -> None:
    copies = [len(choose(kbps * 1000, Path(loss), LIMITS).repeats) for loss in (0, 50_000, LOSS_20, 300_000)]
    assert copies == sorted(copies)
    assert copies[0] == 0 < copies[-1]


def test_long_bursts_bring_distance() -> None:
    def distance(path: Path) -> int:
        return max(r.distance for r in choose(30_000, path, LIMITS).repeats)

    chance, short, long = (distance(Path(100_000, burst)) for burst in (0, 10, 24))
    assert chance < short < long


def test_a_copy_near_its_frame_is_worth_little_on_a_bursty_path() -> None:
    near, far = choose(20_000, Path(LOSS_20), LIMITS), choose(20_000, Path(LOSS_20, 24), LIMITS)
    lag = far.repeats[0].distance // far.frames + 1
    bursty = Path(LOSS_20, 24)
    assert expected(far, bursty, lag) > expected(near, bursty, near.repeats[0].distance // near.frames + 1)


def test_more_bits_are_worth_more() -> None:
    worth = [worth_of(bits) for bits in range(1, 65)]
    assert worth == sorted(worth)
    assert worth[-1] == 868_000
