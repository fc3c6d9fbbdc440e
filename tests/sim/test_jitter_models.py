"""Jitter models against their mean and spread."""

from __future__ import annotations

import math
import statistics
from itertools import pairwise

import pytest

from voicelink.settings import LinkSettings
from voicelink.sim.jitter import LEAST_SPIKE, jitter_process
from voicelink.sim.link import Link
from voicelink.sim.replay import Replay
from voicelink.units import NS_PER_MS, NS_PER_S

DRAWS = 200_000
JITTER_MS = 20.0
#: Mean and standard deviation in units of jitter_ms, worked out by hand from the densities.
EXPECTED = {
    "uniform": (0.5, 1 / math.sqrt(12)),
    "normal": (0.0, 1.0),
    "gamma": (math.sqrt(2), 1.0),
    # min((u^(-1/3) - 1.5) 4/3, 4): cut where u^(-1/3) = 4.5
    "pareto": (4 / 3 * (1.5 * (1 - 4.5**-2) + 4.5**-2 - 1.5), 0.82087),
}


@pytest.mark.parametrize("model", EXPECTED)
def test_mean_and_spread(model: str) -> None:
    settings = LinkSettings(jitter_ms=JITTER_MS, jitter_model=model)
    process = jitter_process(settings, "seed 1", Replay((), settings, 0))
    assert process is not None
    extra = [process.extra_ns(0) / NS_PER_MS for _ in range(DRAWS)]
    mean, spread = (JITTER_MS * x for x in EXPECTED[model])
    assert abs(statistics.fmean(extra) - mean) < 1.96 * spread / math.sqrt(DRAWS)
    assert statistics.pstdev(extra) == pytest.approx(spread, rel=0.01)


def test_spikes_come_and_last_as_often_and_long_as_said() -> None:
    settings = LinkSettings(jitter_ms=100, jitter_model="spikes", spike_every_s=1.0)
    process = jitter_process(settings, "seed", Replay((), settings, 0))
    assert process is not None
    step_ns, seconds = 5 * NS_PER_MS, 4000
    extra = [process.extra_ns(i * step_ns) for i in range(seconds * 200)]
    starts = [now for before, now in pairwise(extra) if now > before]
    mean_ms = 100 * (1 + LEAST_SPIKE) / 2
    assert len(starts) == pytest.approx(seconds / (1 + mean_ms / 1000), rel=0.05)
    assert max(starts) <= 100 * NS_PER_MS
    assert statistics.fmean(starts) / NS_PER_MS == pytest.approx(mean_ms - 2.5, abs=1.5)  # seen up to one step later


def test_what_waited_in_a_spike_leaves_together_and_in_order() -> None:
    link = Link(LinkSettings(delay_ms=10, jitter_ms=200, jitter_model="spikes", spike_every_s=0.5, seed=2))
    due = [link.carry(b"x", i * 10 * NS_PER_MS)[0][0] for i in range(2000)]
    assert due == sorted(due)
    assert max(due.count(d) for d in set(due)) >= 5


def test_normal_jitter_never_makes_a_packet_arrive_before_it_left() -> None:
    link = Link(LinkSettings(delay_ms=5, jitter_ms=20, jitter_model="normal", reorder=True))
    assert all(link.carry(b"x", NS_PER_S)[0][0] >= NS_PER_S for _ in range(2000))


def test_a_traces_delays_are_replayed() -> None:
    link = Link(LinkSettings(jitter_model="trace", reorder=True, delay_ms=1), trace=(0, 3000, -1, 250))
    extra = [link.carry(b"x", 0)[0][0] // 1000 - 1000 for _ in range(4)]
    assert extra == [0, 3000, 0, 250]
