"""The proxy between real sockets on the loopback interface, beside the simulator's link."""

from __future__ import annotations

import asyncio
import json
import math
import signal
import socket
import subprocess
import sys
import time

import pytest

from voicelink.errors import CallError
from voicelink.net.address import plain
from voicelink.net.loop import run
from voicelink.net.proxy import Proxy
from voicelink.sim.link import Link
from voicelink.sim.scenario import Scenario, scenario_from
from voicelink.sim.timedlink import TimedLink
from voicelink.units import NS_PER_MS

COUNT, EVERY_NS = 1500, 2 * NS_PER_MS


class Echo(asyncio.DatagramProtocol):
    """Keeps what comes with its time, and answers `ping`."""

    def __init__(self) -> None:
        self.came: list[tuple[int, bytes]] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: tuple[object, ...]) -> None:
        self.came.append((time.monotonic_ns(), data))
        if data == b"ping":
            self.transport.sendto(b"pong", plain(addr))  # type: ignore[attr-defined]


async def through_proxy(scenario: Scenario) -> tuple[list[int], list[tuple[int, int]]]:
    """Times of sending, and (number, delay in ns) of what came through a proxy."""
    loop = asyncio.get_running_loop()
    receiving, echo = await loop.create_datagram_endpoint(Echo, local_addr=("127.0.0.1", 0))
    target = "{}:{}".format(*plain(receiving.get_extra_info("sockname")))
    sent: list[int] = []
    async with await Proxy.open("127.0.0.1:0", target, lambda way: TimedLink(scenario, way)) as proxy:
        sending, _ = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, remote_addr=proxy.local_address)
        begin = time.monotonic_ns()
        for i in range(COUNT):
            await asyncio.sleep(max(0, begin + i * EVERY_NS - time.monotonic_ns()) / 1e9)
            sent.append(time.monotonic_ns())
            sending.sendto(i.to_bytes(4, "big"))
        await asyncio.sleep(0.3)
        assert proxy.counts.received[0] == COUNT
        assert proxy.counts.sent[0] == len(echo.came)
        sending.close()
    receiving.close()
    await asyncio.sleep(0)
    numbered = [(int.from_bytes(data, "big"), when_ns) for when_ns, data in echo.came]
    return sent, [(number, when_ns - sent[number]) for number, when_ns in numbered]


def test_proxy_and_simulator_have_the_same_statistics() -> None:
    """One profile, the same seed: the very same packets are lost, and delays agree within bounds of 95 %."""
    scenario = scenario_from({"loss": 0.1, "burst": 2, "delay_ms": 30, "jitter_ms": 8, "jitter_model": "gamma"})
    sent, came = run(through_proxy(scenario))
    link = Link(scenario.link(0), 0)
    expected = {i: out[0][0] - t for i, t in enumerate(sent) if (out := link.carry(b"data", t))}
    assert {number for number, _ in came} == set(expected)
    late_ms = sorted((delay - expected[number]) / NS_PER_MS for number, delay in came)
    assert late_ms[0] > -1.5  # timers of the loop have steps of 1 ms
    assert late_ms[len(late_ms) // 2] < 5  # the loop's own delay, on a busy machine
    other = Link(scenario_from({**scenario.to_mapping(), "seed": 6}).link(0), 0)
    rates = [len(came) / COUNT, sum(bool(other.carry(b"data", t)) for t in sent) / COUNT]
    memory = 1 - 1 / 2 - 0.1 / (2 * 0.9)
    error = math.sqrt(2 * 0.1 * 0.9 / COUNT * (1 + memory) / (1 - memory))
    assert abs(rates[0] - rates[1]) < 1.96 * error


def test_replies_go_back_and_each_peer_has_its_own_path() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        receiving, echo = await loop.create_datagram_endpoint(Echo, local_addr=("127.0.0.1", 0))
        target = "{}:{}".format(*plain(receiving.get_extra_info("sockname")))
        scenario = scenario_from({"delay_ms": 20})
        async with await Proxy.open("127.0.0.1:0", target, lambda way: TimedLink(scenario, way)) as proxy:
            ends = [await loop.create_datagram_endpoint(Echo, remote_addr=proxy.local_address) for _ in range(2)]
            begin = time.monotonic_ns()
            for transport, _ in ends:
                transport.sendto(b"ping")
            await asyncio.sleep(0.3)
            for transport, end in ends:
                ((when_ns, data),) = end.came
                assert data == b"pong"
                assert when_ns - begin >= 40 * NS_PER_MS
                transport.close()
            assert len(proxy.links) == 4
            assert (proxy.counts.sent, len(echo.came)) == ([2, 2], 2)
        receiving.close()
        await asyncio.sleep(0)

    run(main())


def test_a_taken_port_is_said() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(CallError, match="taken"):
            run(Proxy.open(address, "127.0.0.1:9", lambda way: Link(Scenario().link(way))))


def test_the_command_runs_until_it_is_told_to_stop() -> None:
    command = [
        sys.executable,
        "-m",
        "voicelink.cli",
        "proxy",
        "--listen",
        "127.0.0.1:0",
        "--to",
        "127.0.0.1:9",
        "--json",
    ]
    with subprocess.Popen([*command, "--loss", "0.5", "--json"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        host, _, port = json.loads(process.stdout.readline())["listening"].rpartition(":")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            for _ in range(40):
                sock.sendto(b"x", (host, int(port)))
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        figures = json.loads(process.stdout.read().splitlines()[-1])
        assert process.wait() == 0
    assert figures["received"] == [40, 0]
    assert figures["sent"][0] + figures["lost"][0] == 40
    assert figures["peers"] == 1
