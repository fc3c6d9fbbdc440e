"""The speed test itself, on a small scale."""

from __future__ import annotations

import sys

import pytest
from voicelink_server.bench import bench_memory, bench_relay, soak

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the load comes from many loopback addresses")


def test_relay_and_echo_are_measured_in_one_run_and_nothing_is_lost_at_a_small_load() -> None:
    figures = bench_relay(1000, rounds=1, window_s=0.5)
    assert figures["packets_per_s"] > 5_000
    assert figures["ratio"] == pytest.approx(figures["packets_per_s"] / figures["raw_echo_packets_per_s"], abs=0.001)
    assert (figures["load_lost"], figures["load_sent"]) == (0, 500)


def test_a_registered_client_takes_less_than_4_kb() -> None:
    figures = bench_memory(1000)
    assert figures["bytes_per_client"] < 4096


def test_a_soak_says_what_was_lost_in_each_part() -> None:
    parts = list(soak(20, 2.0, 10.0))
    assert [part["part"] for part in parts] == list(range(10))
    assert sum(part["lost"] for part in parts) == 0
