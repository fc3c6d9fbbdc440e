"""The rate limiter: its rate, its queue, and the kernel's tbf beside it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from voicelink.settings import LinkSettings
from voicelink.sim.bottleneck import Bottleneck
from voicelink.sim.link import Link
from voicelink.sim.netem import netem_commands
from voicelink.units import IP_UDP_HEADER_BYTES, NS_PER_MS, NS_PER_S

SIZE = 40
ON_WIRE_BITS = (SIZE + IP_UDP_HEADER_BYTES) * 8


def passed(settings: LinkSettings, every_ns: int, seconds: int) -> list[tuple[int, int]]:
    """(in, out) times of the packets that pass when one comes every `every_ns`."""
    hop = Bottleneck(settings)
    times = [(t, hop.passed_ns(SIZE, t)) for t in range(0, seconds * NS_PER_S, every_ns)]
    return [(t, out) for t, out in times if out is not None]


@pytest.mark.parametrize("rate_kbps", [6.0, 16.0, 64.0, 300.0])
@pytest.mark.parametrize("queue", [{"queue_ms": 100.0}, {"queue_packets": 5}])
def test_an_overloaded_hop_passes_its_rate_within_a_percent(rate_kbps: float, queue: dict[str, float]) -> None:
    seconds = 60
    out = passed(LinkSettings(rate_kbps=rate_kbps, **queue), int(ON_WIRE_BITS / rate_kbps * 300_000), seconds)
    got_kbps = len(out) * ON_WIRE_BITS / (out[-1][1] / NS_PER_S) / 1000
    assert got_kbps == pytest.approx(rate_kbps, rel=0.01)


def test_a_queue_in_milliseconds_bounds_the_wait() -> None:
    send_ns = ON_WIRE_BITS * NS_PER_S // 16_000
    waits = [out - came - send_ns for came, out in passed(LinkSettings(rate_kbps=16, queue_ms=80), 10 * NS_PER_MS, 10)]
    assert 80 * NS_PER_MS - 10 * NS_PER_MS < max(waits) <= 80 * NS_PER_MS


def test_a_queue_in_packets_holds_so_many() -> None:
    hop = Bottleneck(LinkSettings(rate_kbps=16, queue_packets=3))
    out = [hop.passed_ns(SIZE, 0) for _ in range(6)]
    assert [o is None for o in out] == [False] * 4 + [True] * 2  # one on the wire, three waiting


def test_an_idle_hop_takes_a_packet_of_any_size() -> None:
    hop = Bottleneck(LinkSettings(rate_kbps=6, queue_ms=0))
    assert hop.passed_ns(1000, 0) == (1000 + IP_UDP_HEADER_BYTES) * 8 * NS_PER_S // 6000
    assert hop.passed_ns(10, 1) is None


def test_no_rate_is_no_hop() -> None:
    assert Bottleneck(LinkSettings()).passed_ns(1000, 77) == 77


# ---- the kernel ----------------------------------------------------------------------------------
RATE_KBPS, QUEUE_MS, EVERY_NS, LENGTH_S = 64.0, 100.0, 8 * NS_PER_MS, 4.0
ETHERNET_BYTES = 14
RECEIVE = """
import socket, sys, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("10.200.77.2", 9000))
s.settimeout(1.5)
print("ready", flush=True)
try:
    while True:
        data = s.recv(2000)
        print(int.from_bytes(data[:4], "big"), int.from_bytes(data[4:12], "big"), time.monotonic_ns())
except TimeoutError:
    pass
"""
SEND = f"""
import socket, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
begin = time.monotonic_ns()
for i in range({int(LENGTH_S * NS_PER_S / EVERY_NS)}):
    due = begin + i * {EVERY_NS}
    time.sleep(max(0, due - time.monotonic_ns()) / 1e9)
    s.sendto(i.to_bytes(4, "big") + time.monotonic_ns().to_bytes(8, "big") + bytes({SIZE - 12}), ("10.200.77.2", 9000))
"""


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, timeout=20)


@pytest.fixture
def namespaces() -> Iterator[tuple[str, str]]:
    """Two network namespaces joined by a pair of devices; skipped where they cannot be made."""
    if sys.platform != "linux" or not shutil.which("ip") or not shutil.which("tc"):
        pytest.skip("network namespaces need Linux with ip and tc (iproute2)")
    one, other = (f"vl{os.getpid()}{end}" for end in "ab")
    try:
        try:
            for name in (one, other):
                _run("ip", "netns", "add", name)
            _run("ip", "link", "add", "vl0", "netns", one, "type", "veth", "peer", "name", "vl0", "netns", other)
            for name, host in ((one, 1), (other, 2)):
                _run("ip", "-n", name, "addr", "add", f"10.200.77.{host}/24", "dev", "vl0")
                _run("ip", "-n", name, "link", "set", "vl0", "up")
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            pytest.skip(f"no network namespaces here ({getattr(error, 'stderr', b'').decode().strip() or error})")
        yield one, other
    finally:
        for name in (one, other):
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)


def _through_kernel(namespaces: tuple[str, str], link: LinkSettings) -> list[tuple[int, int, int]]:
    """(number, sent, arrived) of what comes through the kernel's qdiscs of `link`."""
    one, other = namespaces
    for command in netem_commands(link, "vl0"):
        try:
            _run("ip", "netns", "exec", one, *command.split())
        except subprocess.CalledProcessError as error:
            pytest.skip(f"this kernel does not take `{command}`: {error.stderr.decode().strip()}")
    receive = ["ip", "netns", "exec", other, sys.executable, "-c", RECEIVE]
    with subprocess.Popen(receive, stdout=subprocess.PIPE, text=True) as receiver:
        assert receiver.stdout is not None
        assert receiver.stdout.readline() == "ready\n"
        time.sleep(0.1)
        _run("ip", "netns", "exec", one, sys.executable, "-c", SEND)
        lines = receiver.stdout.read().splitlines()
    return [tuple(int(part) for part in line.split()) for line in lines]  # type: ignore[misc]


def test_the_kernels_tbf_passes_as_much_and_holds_it_as_long(namespaces: tuple[str, str]) -> None:
    link = LinkSettings(rate_kbps=RATE_KBPS, queue_ms=QUEUE_MS)
    came = _through_kernel(namespaces, link)
    settled = [row for row in came if row[0] * EVERY_NS > NS_PER_S]  # tbf lets a burst pass at first
    span_s = (settled[-1][2] - settled[0][2]) / NS_PER_S
    kernel_kbps = (len(settled) - 1) * (ON_WIRE_BITS + ETHERNET_BYTES * 8) / span_s / 1000
    kernel_ms = sum(arrived - sent for _, sent, arrived in settled) / len(settled) / NS_PER_MS

    ours = Link(link)  # fed the Ethernet header as well, which tbf counts
    data = bytes(SIZE + ETHERNET_BYTES)
    out = [(t, due) for t in range(0, int(LENGTH_S * NS_PER_S), EVERY_NS) for due, _ in ours.carry(data, t)]
    kept = [(t, due) for t, due in out if t > NS_PER_S]
    our_kbps = (len(kept) - 1) * (ON_WIRE_BITS + ETHERNET_BYTES * 8) / ((kept[-1][1] - kept[0][1]) / NS_PER_S) / 1000
    our_ms = sum(due - t for t, due in kept) / len(kept) / NS_PER_MS

    assert our_kbps == pytest.approx(RATE_KBPS, rel=0.01)
    assert kernel_kbps == pytest.approx(our_kbps, rel=0.02)
    burst_ms = 1600 * 8 / RATE_KBPS  # tbf's queue holds latency * rate + burst
    assert our_ms - 15 < kernel_ms < our_ms + burst_ms + 15


def test_netem_loses_and_delays_as_our_link(namespaces: tuple[str, str]) -> None:
    link = LinkSettings(delay_ms=30, loss=0.2, burst=2, jitter_ms=10, jitter_model="normal")
    came = _through_kernel(namespaces, link)
    sent = int(LENGTH_S * NS_PER_S / EVERY_NS)
    numbers = [row[0] for row in came]
    assert numbers == sorted(numbers)  # as netem_commands asks for
    assert 1 - len(came) / sent == pytest.approx(0.2, abs=0.09)  # 500 packets in bursts: 1.96 sigma is 0.07
    delay_ms = sorted((arrived - left) / NS_PER_MS for _, left, arrived in came)
    assert delay_ms[len(delay_ms) // 2] == pytest.approx(32, abs=6)  # in order: a little above 30
