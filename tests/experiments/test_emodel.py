"""The E-model against figures of the standard, and the fit against a known codec."""

from __future__ import annotations

import numpy as np
import pytest

from voicelink.experiments.emodel import Codec, delay_impairment, fit, loss_impairment, mos_of, rating, rating_of


def test_a_perfect_narrow_band_call_rates_93_2_and_4_41() -> None:
    """G.107's default: R = 93.2, MOS-CQE 4.41."""
    assert rating(0, 0, Codec(0, 4.3)) == pytest.approx(93.2)
    assert mos_of(93.2) == pytest.approx(4.41, abs=0.005)


@pytest.mark.parametrize(("delay_ms", "idd"), [(50, 0), (100, 0), (200, 3.0), (400, 23.6)])
def test_delay_costs_what_g107_says(delay_ms: float, idd: float) -> None:
    assert delay_impairment(delay_ms) == pytest.approx(idd, abs=0.6)


def test_bursts_cost_more_than_single_losses() -> None:
    codec = Codec(11, 19)  # G.729A with VAD (G.113 appendix I)
    assert float(loss_impairment(3, codec)) == pytest.approx(11 + 84 * 3 / 22)
    assert loss_impairment(3, codec, burst_ratio=2) > loss_impairment(3, codec)


def test_mos_and_rating_are_inverse() -> None:
    r = np.linspace(7, 99, 50)
    np.testing.assert_allclose(rating_of(mos_of(r)), r, atol=0.05)


def test_the_fit_finds_a_known_codec_again() -> None:
    true, lost = Codec(20, 15), np.array([0, 1, 3, 5, 10, 20, 30, 50.0])
    found = fit(lost, mos_of(93.2 - loss_impairment(lost, true)))
    assert (found.ie, found.bpl) == (pytest.approx(20, abs=0.2), pytest.approx(15, abs=0.3))
    assert found.rms_error < 0.1


def test_too_few_points_are_refused() -> None:
    with pytest.raises(ValueError, match="three points"):
        fit([0, 0, 0], [3, 3, 3])
