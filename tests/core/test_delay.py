"""The delay estimator alone: transits in, the target out."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import pytest

from voicelink.core.delay import START_NS, WINDOW_FRAMES, DelayEstimator
from voicelink.units import NS_PER_MS, NS_PER_S, frames_to_ns


def feed(
    estimator: DelayEstimator, frames: int, delay_ms: Callable[[int], float], first: int = 0
) -> tuple[float, float]:
    """Frames in real time, each `delay_ms` late; share that came after its time's target, and the mean target, ms."""
    late, targets = 0, 0.0
    for i in range(first, first + frames):
        transit_ns = round(delay_ms(i) * NS_PER_MS)
        before_ns = estimator.target_ns
        estimator.add(transit_ns, frames_to_ns(i) + transit_ns)
        late += estimator.relative_ns > before_ns
        targets += before_ns / NS_PER_MS
    return late / frames, targets / frames


def gamma(rng: random.Random, sigma_ms: float) -> float:
    return -sigma_ms / math.sqrt(2) * math.log((1 - rng.random()) * (1 - rng.random()))


@pytest.mark.parametrize("asked", [0.002, 0.01, 0.05])
@pytest.mark.parametrize(
    "path", [lambda rng: gamma(rng, 0.2), lambda rng: gamma(rng, 20.0), lambda rng: rng.uniform(0, 40.0)]
)
def test_the_asked_late_rate_comes_true_at_the_least_delay(
    path: Callable[[random.Random], float], asked: float
) -> None:
    rng = random.Random(1)
    estimator = DelayEstimator(asked)
    feed(estimator, 500, lambda i: path(rng))
    late, target_ms = feed(estimator, 20_000, lambda i: path(rng), 500)
    assert late == pytest.approx(asked, abs=max(0.0015, 0.15 * asked))
    best_ms = sorted(path(rng) for _ in range(20_000))[int(20_000 * (1 - asked))]
    assert target_ms < 1.12 * best_ms


def test_spikes_are_weighed_by_how_often_they_come() -> None:
    for every, length, covered in ((100, 10, True), (5000, 5, False)):
        estimator = DelayEstimator(0.01)
        late, _ = feed(estimator, 20_000, lambda i, n=every, k=length: 90.0 if i % n >= n - k else 1.0)
        assert late < 0.02
        assert (estimator.target_ns > 80 * NS_PER_MS) == covered


def test_the_start_gives_way_to_what_is_known() -> None:
    estimator = DelayEstimator(0.01)
    assert estimator.target_ns == START_NS
    feed(estimator, 90, lambda i: 5.0 + 0.01 * (i % 3))
    assert 0 < estimator.target_ns < 0.6 * START_NS
    feed(estimator, 90, lambda i: 5.0 + 0.01 * (i % 3), 90)
    assert estimator.target_ns < NS_PER_MS


def test_a_step_of_the_path_is_met_and_then_forgotten() -> None:
    estimator = DelayEstimator(0.01)
    feed(estimator, 1000, lambda i: 10.0 + (i % 2))
    feed(estimator, 100, lambda i: 90.0 + (i % 2), 1000)
    assert estimator.target_ns > 79 * NS_PER_MS  # against the path as it was
    feed(estimator, 100, lambda i: 90.0 + (i % 2), 1100)
    assert estimator.target_ns < 3 * NS_PER_MS  # against the path as it is
    feed(estimator, 100, lambda i: 10.0 + (i % 2), 1200)
    assert estimator.target_ns < 3 * NS_PER_MS


def test_drift_of_the_clocks_is_not_delay() -> None:
    for ppm in (-1000, 1000):
        estimator = DelayEstimator(0.01)
        feed(estimator, 20_000, lambda i, p=ppm: 500 + frames_to_ns(i) / NS_PER_MS * p / 1e6)
        assert estimator.target_ns <= 2.1 * NS_PER_MS


def test_a_pause_is_no_jitter() -> None:
    """Half an hour of silence, and the first frames after it a little late."""
    estimator = DelayEstimator(0.01)
    feed(estimator, 1000, lambda i: 10.0)
    pause = 155_000
    feed(estimator, 3, lambda i: 30.0, 1000 + pause)
    assert estimator.relative_ns == 20 * NS_PER_MS
    feed(estimator, 500, lambda i: 10.0, 1003 + pause)
    assert estimator.target_ns == 0


def test_bounds_act_at_once_and_do_not_wind_up() -> None:
    rng = random.Random(3)
    estimator = DelayEstimator(0.01, 0, 30 * NS_PER_MS)
    late, _ = feed(estimator, 3000, lambda i: gamma(rng, 20.0))
    assert estimator.target_ns == 30 * NS_PER_MS
    assert late > 0.2
    estimator.bounds_ns = (0, NS_PER_S)
    assert 80 * NS_PER_MS < estimator.target_ns < 140 * NS_PER_MS
    estimator.bounds_ns = (200 * NS_PER_MS, NS_PER_S)
    assert estimator.target_ns == 200 * NS_PER_MS
    feed(estimator, 3000, lambda i: gamma(rng, 20.0), 3000)
    estimator.bounds_ns = (0, NS_PER_S)
    assert 80 * NS_PER_MS < estimator.target_ns < 140 * NS_PER_MS


def test_the_knob_acts_at_once() -> None:
    rng = random.Random(4)
    estimator = DelayEstimator(0.001)
    feed(estimator, 3000, lambda i: gamma(rng, 20.0))
    safe_ns = estimator.target_ns
    estimator.target_late_rate = 0.1
    assert estimator.target_ns < 0.6 * safe_ns


def test_the_curve_of_shadow_buffers_is_what_fixed_buffers_would_have_had() -> None:
    rng = random.Random(5)
    delays = [rng.uniform(0, 100.0) for _ in range(WINDOW_FRAMES)]
    delays[::50] = [0.0] * len(delays[::50])
    estimator = DelayEstimator(0.01)
    feed(estimator, WINDOW_FRAMES, delays.__getitem__)
    curve = estimator.curve(12)
    assert [share for _, share in curve] == sorted((share for _, share in curve), reverse=True)
    for delay_ns, share in curve:
        assert share == pytest.approx(sum(d * NS_PER_MS > delay_ns for d in delays) / len(delays), abs=0.002)


def test_what_is_kept_is_bounded_and_agrees_with_itself() -> None:
    rng = random.Random(6)
    estimator = DelayEstimator(0.01)
    for part in range(20):
        path_ms = rng.uniform(0, 300)
        feed(estimator, 500, lambda i, ms=path_ms: ms + gamma(rng, 10.0), 500 * part)
        if part % 5 == 4:
            estimator.restart()
        assert len(estimator._samples) == len(estimator._sorted) <= WINDOW_FRAMES
        assert sorted(relative for _, _, relative in estimator._samples) == estimator._sorted
        assert len(estimator._fastest) <= 250
