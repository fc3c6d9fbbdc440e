"""Loss models against the figures they were made from, over a million packets, within 95 % bounds."""

from __future__ import annotations

import math
from itertools import groupby

import pytest

from voicelink.errors import ConfigError
from voicelink.settings import LinkSettings
from voicelink.sim.loss import GilbertLoss, LossProcess, Markov4Loss, loss_process
from voicelink.sim.replay import Replay

PACKETS = 1_000_000
Z95 = 1.96


def drawn(process: LossProcess, packets: int = PACKETS) -> tuple[float, list[int]]:
    """Share lost, and the lengths of the runs of losses."""
    lost = [process.lost() for _ in range(packets)]
    return sum(lost) / packets, [sum(1 for _ in run) for bad, run in groupby(lost) if bad]


def misses(rate: float, burst: float, seed: int, packets: int) -> tuple[bool, bool]:
    """Whether rate and mean burst of a run are outside their 95 % bounds."""
    got, runs = drawn(GilbertLoss(rate, burst, seed), packets)
    mean_burst = burst or 1 / (1 - rate)
    memory = 1 - 1 / mean_burst - rate / (mean_burst * (1 - rate))  # the chain's correlation from packet to packet
    rate_error = math.sqrt(rate * (1 - rate) / packets * (1 + memory) / (1 - memory))
    burst_error = math.sqrt(mean_burst * (mean_burst - 1) / len(runs))
    return abs(got - rate) > Z95 * rate_error, abs(sum(runs) / len(runs) - mean_burst) > Z95 * burst_error


@pytest.mark.parametrize(("rate", "burst"), [(0.01, 0), (0.2, 0), (0.05, 2), (0.1, 4), (0.3, 3)])
def test_gilbert_has_its_rate_and_burst(rate: float, burst: float) -> None:
    """A million packets within 95 % bounds; and those bounds hold for about 19 of 20 seeds, so this one is no luck."""
    assert misses(rate, burst, 1, PACKETS) == (False, False)
    found = [misses(rate, burst, seed, PACKETS // 40) for seed in range(20)]
    assert sum(rate_missed for rate_missed, _ in found) <= 4
    assert sum(burst_missed for _, burst_missed in found) <= 4


def test_markov4_has_the_rate_of_its_chain() -> None:
    p13, p31, p32, p23, p14 = 0.02, 0.2, 0.3, 0.4, 0.01
    got, runs = drawn(Markov4Loss(p13, p31, p32, p23, p14, seed=3))
    in_burst = p13 / p31
    total = 1 + in_burst * p32 / p23 + in_burst + p14
    rate = (in_burst + p14) / total
    shares = _block_means(Markov4Loss(p13, p31, p32, p23, p14, seed=4), 100, 10_000)
    spread = math.sqrt(sum((s - rate) ** 2 for s in shares) / len(shares) / len(shares))
    assert abs(got - rate) < Z95 * spread
    alone = p14 / (p14 + in_burst * (p31 + p32))  # share of runs that are single losses outside bursts
    mean_run = alone + (1 - alone) / (p31 + p32)
    assert sum(runs) / len(runs) == pytest.approx(mean_run, rel=0.01)


def test_markov4_with_one_figure_is_as_tc_has_it() -> None:
    """`loss state 10%` alone: p31 = 90 %, so that 10 % are lost, independently."""
    got, runs = drawn(Markov4Loss(0.1, 0, 0, 0, 0, seed=1), 200_000)
    assert got == pytest.approx(0.1, abs=0.002)
    assert sum(runs) / len(runs) == pytest.approx(1 / 0.9, abs=0.01)


def _block_means(process: LossProcess, blocks: int, size: int) -> list[float]:
    return [sum(process.lost() for _ in range(size)) / size for _ in range(blocks)]


def test_a_trace_is_replayed_as_it_is() -> None:
    trace = (0, -1, -1, 500, 0)
    settings = LinkSettings(loss_model="trace")
    replay = Replay(trace, settings, 0)
    process = loss_process(settings, "seed", replay)
    seen = []
    for i in range(10):
        replay.step(i)
        seen.append(process.lost())
    assert seen == [False, True, True, False, False] * 2


def test_a_trace_with_an_interval_goes_by_time() -> None:
    replay = Replay((0, -1, 7), LinkSettings(loss_model="trace", trace_interval_ms=20), 0)
    seen = []
    for at_ms in (100, 110, 125, 139, 141, 160):
        replay.step(at_ms * 1_000_000)
        seen.append(replay.entry)
    assert seen == [0, 0, -1, -1, 7, 0]


@pytest.mark.parametrize(
    ("settings", "what"),
    [
        (LinkSettings(loss_model="markov4", loss=0.1), "p13"),
        (LinkSettings(loss_model="trace", burst=2), "the trace"),
        (LinkSettings(loss_model="bernoulli", loss=0.1, burst=2), "no bursts"),
        (LinkSettings(loss_model="markov4", p13=0.6, p14=0.6), "more than 1"),
        (LinkSettings(loss_model="markov4", p13=0.1, p32=1.0), "never end"),
        (LinkSettings(loss=0.8, burst=2), "is not possible"),
    ],
)
def test_figures_that_do_not_go_together(settings: LinkSettings, what: str) -> None:
    with pytest.raises(ConfigError, match=what):
        loss_process(settings, "seed", Replay((), settings, 0))
