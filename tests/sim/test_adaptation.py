"""Calls that follow their path: caps, loss, bursts, silence."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from voicelink.sim.call import simulate
from voicelink.sim.scenario import scenario_from
from voicelink.sim.trace import DROPPED, EndTrace, Trace

CAP_S, FREE_S = 10.0, 30.0


def call(**values: Any) -> Trace:
    return simulate(scenario_from({"seconds": 30.0, "bitrate_bps": 5500, "delay_ms": 20.0, **values}))


def kbps(end: EndTrace, from_s: float, to_s: float) -> float:
    within = (end.packet_sent_ns >= from_s * 1e9) & (end.packet_sent_ns < to_s * 1e9)
    return float((end.packet_bytes[within] + 28).sum() * 8 / (to_s - from_s) / 1000)


@pytest.mark.parametrize("queue_ms", [100.0, 300.0, 1000.0])
def test_a_cap_is_followed_within_three_seconds_without_a_standing_queue_and_left_again(queue_ms: float) -> None:
    changes = [{"at_s": CAP_S, "rate_kbps": 6.0}, {"at_s": FREE_S, "rate_kbps": 64.0}]
    trace = call(rate_kbps=64.0, queue_ms=queue_ms, changes=changes, seconds=50.0, seed=3)
    for end in trace.ends:
        assert kbps(end, 5.0, CAP_S) > 21
        assert kbps(end, CAP_S + 3, FREE_S) < 6.0
        capped = (end.packet_sent_ns > (CAP_S + 3) * 1e9) & (end.packet_sent_ns < FREE_S * 1e9)
        assert (end.packet_came_ns[capped] == DROPPED).mean() < 0.08
        came = capped & (end.packet_came_ns > 0)
        delay_ms = (end.packet_came_ns - end.packet_sent_ns)[came] / 1e6
        assert np.median(delay_ms) < 180  # 20 of the path, and 73 to 100 that a packet takes
        assert np.quantile(delay_ms, 0.95) < 550  # a step too far now and then
        assert kbps(end, FREE_S + 16, FREE_S + 20) > 19


def test_a_good_path_is_left_as_it_was_set_up() -> None:
    adaptive, fixed = call(), call(fixed=True)
    for one, other in zip(adaptive.ends, fixed.ends, strict=True):
        assert np.array_equal(one.sent_bits, other.sent_bits)
        assert np.array_equal(one.kind, other.kind)
        told = one.packet_bytes - other.packet_bytes
        assert set(told.tolist()) == {0, 12}
        assert (told > 0).sum() == pytest.approx(30 / 0.4, abs=12)
        assert one.stats["plan_changes"] == 0 == other.stats["feedback_received"]


@pytest.mark.parametrize("loss", [0.05, 0.2])
def test_loss_brings_redundancy_within_the_budget(loss: float) -> None:
    adaptive = call(loss=loss, wire_kbps=16.0, seconds=40.0, seed=2)
    bare = call(loss=loss, wire_kbps=16.0, seconds=40.0, seed=2, fixed=True, frames_per_packet=4)
    assert adaptive.summary()["frames_concealed"] < 0.4 * bare.summary()["frames_concealed"]
    assert all(kbps(end, 0.0, 40.0) <= 16.0 for end in adaptive.ends)
    assert adaptive.ends[0].stats["path_loss_ppm"] == pytest.approx(1e6 * loss, rel=0.7)


def test_bursts_bring_distance() -> None:
    by_chance, in_bursts = (call(loss=0.1, burst=burst, seconds=60.0, seed=1) for burst in (0.0, 6.0))
    delays = [trace.summary()["mouth_to_ear_ms"]["p50"] for trace in (by_chance, in_bursts)]
    assert delays[1] > delays[0] + 60


@pytest.mark.parametrize("profile", ["g1050-H", "international"])
def test_delays_that_vary_by_themselves_are_not_taken_for_queues(profile: str) -> None:
    """Where packets are late by chance, sending less helps nothing, and what is repeated does."""
    adaptive, fixed = (call(profile=profile, fixed=fixed, bitrate_bps=3000, seed=2) for fixed in (False, True))
    assert adaptive.summary()["frames_concealed"] < 0.85 * fixed.summary()["frames_concealed"]
    assert adaptive.summary()["wire_kbps"] > 11


def test_the_agreed_range_is_honoured() -> None:
    trace = call(rate_kbps=8.0, loss=0.1, bits_min=24, frames_per_packet_max=4)
    bits = trace.ends[0].sent_bits
    assert (int(bits.min()), int(bits.max())) == (24, 64)
    assert np.diff(trace.ends[0].packet_frame).max() <= 4


def test_a_path_that_was_dead_is_used_again() -> None:
    changes = [{"at_s": 8.0, "loss": 0.9, "burst": 1000.0}, {"at_s": 14.0, "loss": 0.0, "burst": 0.0}]
    trace = call(changes=changes, silence_timeout_ms=20_000, seconds=24.0, seed=5)
    assert kbps(trace.ends[0], 20.0, 24.0) > 20


def test_adaptation_decides_alike_every_time() -> None:
    one, same = (call(loss=0.1, rate_kbps=14.0, seconds=10.0).digest() for _ in range(2))
    assert one == same
