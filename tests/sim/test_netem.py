from __future__ import annotations

import pytest

from voicelink.errors import ConfigError
from voicelink.settings import LinkSettings
from voicelink.sim.netem import netem_commands, netem_script
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


def test_changes_wait_for_their_time_and_are_made_in_place_where_the_kernel_can() -> None:
    assert netem_script(scenario_from({"profile": "spiky"}), "eth0") == [
        "tc qdisc replace dev eth0 root handle 1: netem limit 10000 delay 50ms 10ms distribution pareto rate 10gbit",
        "sleep 10",
        "tc qdisc del dev eth0 root",  # a loss comes anew
        "tc qdisc replace dev eth0 root handle 1: netem limit 10000 delay 100ms 20ms distribution pareto "
        "loss gemodel 11.0023% 25% rate 10gbit",
        "sleep 10",
        "tc qdisc del dev eth0 root",  # the kernel would keep it
        "tc qdisc replace dev eth0 root handle 1: netem limit 10000 delay 50ms 10ms distribution pareto rate 10gbit",
    ]
    values = {
        "rate_kbps": 64,
        "delay_ms": 5,
        "changes": [{"at_s": 2.5, "rate_kbps": 16}, {"at_s": 4, "bitrate_bps": 900}],
    }
    assert netem_script(scenario_from(values), "lo") == [
        "tc qdisc replace dev lo root handle 1: netem limit 10000 delay 5ms",
        "tc qdisc replace dev lo parent 1:1 handle 10: tbf rate 64kbit burst 1600 latency 100ms",
        "sleep 2.5",
        "tc qdisc replace dev lo root handle 1: netem limit 10000 delay 5ms",
        "tc qdisc replace dev lo parent 1:1 handle 10: tbf rate 16kbit burst 1600 latency 100ms",
    ]


def test_the_way_back_is_a_script_of_its_own() -> None:
    scenario = scenario_from({"loss": 0.1, "back": {"loss": 0.2}})
    assert netem_script(scenario, "lo", 1) == [
        "tc qdisc replace dev lo root handle 1: netem limit 10000 loss random 20%"
    ]
