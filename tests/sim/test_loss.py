from __future__ import annotations

from itertools import groupby

import pytest

from voicelink.errors import ConfigError
from voicelink.sim.loss import GilbertLoss

DRAWS = 400_000


def achieved(rate: float, burst: float, seed: int = 7) -> tuple[float, float]:
    model = GilbertLoss(rate, burst, seed)
    lost = [model.lost() for _ in range(DRAWS)]
    runs = [len(list(run)) for bad, run in groupby(lost) if bad]
    return sum(lost) / DRAWS, sum(runs) / len(runs)


@pytest.mark.parametrize("rate", [0.05, 0.1, 0.3, 0.5])
@pytest.mark.parametrize("burst", [1.0, 2.0, 4.0])
def test_both_rate_and_mean_burst_come_out(rate: float, burst: float) -> None:
    got_rate, got_burst = achieved(rate, burst)
    assert got_rate == pytest.approx(rate, rel=0.06)
    assert got_burst == pytest.approx(burst, rel=0.06)


def test_burst_zero_is_independent_loss() -> None:
    got_rate, got_burst = achieved(0.4, 0)
    assert got_rate == pytest.approx(0.4, rel=0.02)
    assert got_burst == pytest.approx(1 / 0.6, rel=0.02)


def test_no_loss_is_no_loss() -> None:
    model = GilbertLoss(0.0, 3.0, 1)
    assert not any(model.lost() for _ in range(1000))


def test_the_seed_decides() -> None:
    one, same, other = (GilbertLoss(0.2, 2, seed) for seed in (5, 5, 6))
    first = [one.lost() for _ in range(500)]
    assert first == [same.lost() for _ in range(500)]
    assert first != [other.lost() for _ in range(500)]


def test_short_runs_have_the_right_rate_too() -> None:
    lost = sum(GilbertLoss(0.2, 10, seed).lost() for seed in range(5000))
    assert lost / 5000 == pytest.approx(0.2, abs=0.02)


@pytest.mark.parametrize(("rate", "burst"), [(0.6, 1), (-0.1, 1), (1.0, 5), (0.1, 0.5)])
def test_impossible_figures_are_refused(rate: float, burst: float) -> None:
    with pytest.raises(ConfigError, match="is not possible"):
        GilbertLoss(rate, burst, 0)
