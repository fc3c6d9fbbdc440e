from __future__ import annotations

import pytest

from voicelink.errors import ConfigError
from voicelink.settings import LinkSettings
from voicelink.sim.netem import netem_commands
from voicelink.sim.scenario import scenario_from


def options(link: LinkSettings) -> list[str]:
    """What follows the device in each command."""
    commands = netem_commands(link, "eth0")
    assert all(command.startswith("tc qdisc ") and " dev eth0 " in command for command in commands)
    return [command.partition(" dev eth0 ")[2] for command in commands]


@pytest.mark.parametrize(
    ("link", "expected"),
    [
        (LinkSettings(), "netem limit 10000"),
        (LinkSettings(delay_ms=20, loss=0.05), "netem limit 10000 delay 20ms loss random 5%"),
        (LinkSettings(loss=0.1, burst=2), "netem limit 10000 loss gemodel 5.55556% 50%"),
        (LinkSettings(loss_model="markov4", p13=0.1), "netem limit 10000 loss state 10% 90% 0% 100% 0%"),
        (LinkSettings(delay_ms=20, jitter_ms=10, reorder=True), "netem limit 10000 delay 25ms 5ms"),
        (
            LinkSettings(delay_ms=100, jitter_ms=25, jitter_model="pareto"),
            "netem limit 10000 delay 100ms 25ms distribution pareto rate 10gbit",
        ),
        (
            LinkSettings(delay_ms=9, duplicate=0.02, corrupt=0.01, overtake=0.05),
            "netem limit 10000 delay 9ms duplicate 2% corrupt 1% reorder 5%",
        ),
        (LinkSettings(rate_kbps=300, queue_packets=30), "netem limit 30 rate 300kbit"),
        (LinkSettings(rate_kbps=64), "tbf rate 64kbit burst 1600 latency 100ms"),
    ],
)
def test_one_qdisc(link: LinkSettings, expected: str) -> None:
    assert options(link) == [f"root handle 1: {expected}"]


def test_delay_and_a_rate_are_two() -> None:
    assert options(LinkSettings(delay_ms=50, rate_kbps=64, queue_ms=200)) == [
        "root handle 1: netem limit 10000 delay 50ms",
        "parent 1:1 handle 10: tbf rate 64kbit burst 1600 latency 200ms",
    ]


@pytest.mark.parametrize("profile", ["lan", "wifi", "g1050-C"])
def test_what_the_kernel_cannot_do_is_said(profile: str) -> None:
    with pytest.raises(ConfigError, match="netem has no jitter model"):
        netem_commands(scenario_from({"profile": profile}).link(0), "eth0")
