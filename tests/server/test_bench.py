"""The speed test itself, on a small scale."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from voicelink_server import bench
from voicelink_server.bench import bench_memory, bench_relay, soak

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the load comes from many loopback addresses")


def test_relay_and_echo_are_measured_in_one_run_and_nothing_is_lost_at_a_small_load() -> None:
    figures = bench_relay(1000, rounds=1, window_s=0.5)
    assert figures["packets_per_s"] > 5_000
    assert figures["ratio"] == pytest.approx(figures["packets_per_s"] / figures["raw_echo_packets_per_s"], abs=0.001)
    assert figures["load_lost"] == 0
    assert figures["load_sent"] == pytest.approx(500 - figures["load_held_up_ms"], abs=30)


def test_a_registered_client_takes_less_than_4_kb() -> None:
    figures = bench_memory(1000)
    assert figures["bytes_per_client"] < 4096


def test_a_soak_says_what_was_lost_in_each_part() -> None:
    parts = list(soak(20, 2.0, 10.0))
    assert [part["part"] for part in parts] == list(range(10))
    assert sum(part["lost"] for part in parts) == 0


def test_no_server_outlives_a_bench_that_is_terminated() -> None:
    command = [sys.executable, "-m", "voicelink.cli", "bench", "relay", "--calls", "2", "--seconds", "30"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as made:
        assert made.stderr is not None
        assert "'part': 0" in made.stderr.readline()
        (server,) = Path(f"/proc/{made.pid}/task/{made.pid}/children").read_text().split()
        made.terminate()
        assert made.wait(timeout=60) == 130
    assert not Path(f"/proc/{server}").exists()


def test_a_load_that_was_held_up_does_not_make_up_for_it_in_one_burst(monkeypatch: pytest.MonkeyPatch) -> None:
    receive, stalls = bench._receive, [0.5]

    def stalling(*args: Any) -> None:
        if stalls and args[3] == 0.0:
            time.sleep(stalls.pop())
        receive(*args)

    with contextlib.ExitStack() as stack:
        ends = []
        for sock in (stack.enter_context(bench._End(socket.AF_INET, socket.SOCK_DGRAM)) for _ in range(2)):
            sock.bind(("127.0.0.1", 0))
            sock.setblocking(False)
            ends.append(sock)
        monkeypatch.setattr(bench, "_receive", stalling)
        found = bench._pace([(ends[0], ends[1])], None, 2_000, 1.0)
    assert 400 <= found["held_up_ms"] < 1_000
    assert 0 < found["sent"] <= 2_000 * (1 - 0.4)
    assert found["lost"] == 0
