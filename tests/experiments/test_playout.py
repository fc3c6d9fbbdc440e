"""Others' rules for the playout delay, the optima, and the bench around them."""

from __future__ import annotations

import itertools
import json
import math
from typing import Any

import numpy as np
import pytest

from voicelink.experiments import playout, session_bench
from voicelink.experiments.playout import Arrivals
from voicelink.sim.call import simulate
from voicelink.sim.scenario import scenario_from
from voicelink.units import NS_PER_MS, NS_PER_S, frames_to_ns


def arrivals(delays_ms: list[float], frames: int = 1) -> Arrivals:
    """Packets sent in real time that take so long."""
    first = np.arange(len(delays_ms), dtype=np.int64) * frames
    sent_ns = np.array([frames_to_ns(int(i) + frames) for i in first], np.int64)
    came_ns = sent_ns + np.array([round(ms * NS_PER_MS) for ms in delays_ms], np.int64)
    order = np.argsort(came_ns, kind="stable")
    return Arrivals(came_ns[order], first[order], frames)


def test_arrivals_of_a_trace_are_what_the_session_saw() -> None:
    trace = simulate(scenario_from({"seconds": 5.0, "loss": 0.1, "jitter_ms": 30.0, "reorder": True}))
    got = Arrivals.of(trace, 1)
    assert len(got.came_ns) >= trace.ends[1].stats["packets_received"]
    assert (np.diff(got.came_ns) >= 0).all()
    assert (got.first % 2 == 0).all()
    assert 25 < got.relative_ns().max() / NS_PER_MS <= 31 + 0.01


def test_the_constant_optimum_is_the_quantile() -> None:
    path = arrivals([10.0 + (i % 100) for i in range(2000)])
    assert playout.optimum_ms(path, 0.01, 0.0) == pytest.approx(98, abs=0.1)


def test_late_and_delay_are_judged_frame_by_frame() -> None:
    """Two frames a packet: after the fastest frame the first of a packet needs a frame more."""
    path = arrivals([5.0] * 500, frames=2)
    for target_ms, late in ((0.001, 0.0), (-5.0, 0.5), (-20.0, 1.0)):
        outcome = playout.judge(path, np.full(500, round(target_ms * NS_PER_MS), np.int64), 0.0)
        assert outcome.late_rate == late
        assert outcome.delay_ms == pytest.approx(target_ms + frames_to_ns(1) / NS_PER_MS, abs=1e-3)


def test_the_optimum_by_spurts_is_the_best_of_all_choices() -> None:
    """Against trying all of them: three spurts, every number of late frames in each."""
    rng = np.random.default_rng(1)
    spurt = int(playout.SPURT_S * NS_PER_S / frames_to_ns(1))
    path = arrivals([float(ms) for ms in rng.gamma(1.0, 20.0, 3 * spurt)])
    relative = np.sort(playout._frames_ns(path, 0.0).reshape(3, spurt), axis=1)[:, ::-1]
    budget = int(0.02 * 3 * spurt)
    best = math.inf
    for late in itertools.product(range(budget + 1), repeat=3):
        if sum(late) <= budget:
            best = min(best, sum(float(relative[k, n]) * (spurt - n) for k, n in enumerate(late)))
    found = playout.spurt_optimum_ms(path, 0.02, 0.0)
    assert found == pytest.approx(best / (3 * spurt - budget) / NS_PER_MS, rel=1e-9)
    assert found <= playout.optimum_ms(path, 0.02, 0.0)


def test_neteqs_rule_has_its_floor_and_its_start() -> None:
    targets = playout.neteq(arrivals([1.0] * 3000))
    assert targets[0] == 80 * NS_PER_MS
    assert targets[-1] == 20 * NS_PER_MS


def test_neteqs_rule_follows_what_most_half_seconds_hold() -> None:
    targets = playout.neteq(arrivals([70.0 if i % 20 == 0 else 0.0 for i in range(3000)]))
    assert targets[-1] == 80 * NS_PER_MS
    rare = playout.neteq(arrivals([70.0 if i % 1500 == 0 else 0.0 for i in range(6000)]))
    assert rare[-1] == 20 * NS_PER_MS


def test_speexs_rule_lets_single_late_packets_go_and_pays_for_many() -> None:
    step_ns = frames_to_ns(1)
    one = playout.speex(arrivals([300.0 if i == 500 else 0.0 for i in range(1000)]))
    assert one[-1] < 3 * step_ns
    many = playout.speex(arrivals([float(i % 50) for i in range(3000)]))
    assert 40 * NS_PER_MS < many[-1] <= 49 * NS_PER_MS + step_ns
    assert not (many % step_ns).any()


def test_the_bench_gives_every_documented_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_bench, "PATHS", {"lan": session_bench.PATHS["lan"]})
    monkeypatch.setattr(session_bench, "DRIFT_S", 20.0)
    told: list[float] = []
    figures = session_bench.bench_session(1, 10.0, 0.01, lambda _, share: told.append(share))
    json.dumps(figures)
    path: dict[str, Any] = figures["paths"]["lan"]
    assert path["late_rate"] == pytest.approx(0.01, abs=0.01)
    assert path["over_optimum"] < 1.1
    assert set(path["session"]) == {"concealed", "level_ms", "buffer_mean_ms", "buffer_p95_ms"}
    assert figures["step_up"][0]["beyond_the_gap"] <= 3
    assert figures["step_down"][0]["recovered_s"] <= 3
    assert [row["concealed"] for row in figures["drift"]] == [0, 0]
    assert told == sorted(told)
    assert len(list(session_bench.lines(figures))) == 7
