"""Network figures of a trace, and what was said set against what was heard."""

from __future__ import annotations

from dataclasses import replace

import pytest

from voicelink.experiments.network import figures
from voicelink.sim.call import simulate
from voicelink.sim.scenario import Scenario, scenario_from

BASE = replace(Scenario(), fixed=True, seconds=10.0, seed=1)


def test_a_perfect_link_loses_nothing_and_costs_what_the_packets_cost() -> None:
    found = figures(simulate(BASE))
    assert found["packet_loss"] == found["frame_loss"] == found["interruptions"] == 0
    # Two frames of 35 bits in 9 bytes, 19 bytes of header, counts and seal, 28 of IP and UDP, 43.07 packets a second.
    assert found["wire_kbps"] == pytest.approx(19.2, abs=0.2)
    assert 60 < found["mouth_to_ear_p50_ms"] < 75
    assert found["convergence_s"] <= 2  # what the start holds too much is worked off


def test_loss_before_and_after_redundancy() -> None:
    plain = figures(simulate(replace(BASE, loss=0.2)))
    repeated = figures(simulate(replace(BASE, loss=0.2, redundancy=4)))
    assert plain["packet_loss"] == pytest.approx(0.2, abs=0.05)
    assert plain["frame_loss"] == pytest.approx(plain["packet_loss"], abs=0.02)
    assert repeated["packet_loss"] == pytest.approx(0.2, abs=0.05)
    assert repeated["frame_loss"] < plain["frame_loss"] / 2
    assert repeated["recovered"] > 0.05
    assert repeated["wire_kbps"] > plain["wire_kbps"]


def test_what_comes_too_late_is_told_apart_from_what_is_lost() -> None:
    found = figures(simulate(replace(BASE, jitter_ms=200.0, reorder=True, playout_delay_max_ms=60)))
    assert found["packet_loss"] == 0
    assert found["late_loss"] > 0.05
    assert found["transit_spread_ms"] == pytest.approx(200 / 12**0.5, rel=0.2)


def test_an_interruption_is_150_ms_without_speech() -> None:
    outage = [{"at_s": 4.0, "loss": 0.9, "burst": 100.0}, {"at_s": 6.0, "loss": 0.0, "burst": 0.0}]
    found = figures(simulate(scenario_from({"seconds": 10.0, "seed": 3, "changes": outage})))
    assert found["interruptions"] >= 1
    assert found["interruption_ms"] >= 150 * found["interruptions"]
