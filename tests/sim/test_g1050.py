from __future__ import annotations

import statistics

import pytest

from voicelink.settings import LinkSettings
from voicelink.sim.g1050 import SEVERITIES, G1050Path, Segment
from voicelink.sim.link import Link
from voicelink.units import NS_PER_MS, NS_PER_S

STEP_NS = 20 * NS_PER_MS


def delays(severity: str, seconds: int = 600, **more: bool) -> tuple[list[float], float]:
    """Delays in ms of what came, and the share lost."""
    link = Link(LinkSettings(jitter_model="g1050", severity=severity, seed=1, **more))
    out = [(t, link.carry(bytes(40), t)) for t in range(0, seconds * NS_PER_S, STEP_NS)]
    return [(came[0][0] - t) / NS_PER_MS for t, came in out if came], sum(not came for _, came in out) / len(out)


@pytest.mark.parametrize("severity", SEVERITIES)
def test_delay_is_that_of_the_core_with_its_jitter(severity: str) -> None:
    row = SEVERITIES[severity]
    found, lost = delays(severity)
    assert min(found) >= row.regional_ms
    median = row.regional_ms + row.core_jitter_ms / 2 + 1.5 + 0.8
    assert statistics.median(found) == pytest.approx(median, abs=3 + row.flap_ms + 0.05 * row.core_jitter_ms)
    least = row.core_loss / 100 + (row.failure_ms / 1000 / row.period_s if row.period_s else 0)
    assert 0.5 * least <= lost <= 2 * least + 0.012


def test_intercontinental_is_farther() -> None:
    near, far = (statistics.median(delays("D", 60, intercontinental=far)[0]) for far in (False, True))
    assert far - near == pytest.approx(128 - 32, abs=6)


def test_only_the_core_reorders() -> None:
    path = G1050Path("H", intercontinental=False, seed="x")
    path._core = lambda since_ns: (0.0, 0.0)  # type: ignore[method-assign]
    out = [path.out_ns(40, t) for t in range(0, 60 * NS_PER_S, STEP_NS)]
    came = [o for o in out if o is not None]
    assert came == sorted(came)


def test_quiet_slices_may_be_skipped() -> None:
    """A segment asked about every slice and one asked rarely go through the same process."""
    every, rarely = (Segment(768_000, 1508, 50, lan=False, seed="s") for _ in range(2))
    for at in range(20_001):
        seen = every.advance(at)
        if at % 1000 == 0:
            assert rarely.advance(at)[0] == pytest.approx(seen[0])
