"""`python -m tests.flood`: a flood of hellos at a server that relays calls; loopback only, by hand.

A server, a process with `--calls` calls through it (both ends of each, at the pace of real ones), and a process that
sends `--rate` requests a second from some hundred addresses of 127.0.0.0/8. Prints one JSON line: what was sent, what
the calls lost, and how much memory the server took before, during and after.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import socket
import subprocess
import sys
import time
import urllib.request
from multiprocessing import Pipe, Process
from multiprocessing.connection import Connection
from pathlib import Path

from tests.core.world import frame
from voicelink.core import events as ev
from voicelink.core.stats import Stats
from voicelink.net.loop import run
from voicelink.net.udp import SessionDriver
from voicelink.settings import SessionSettings
from voicelink.units import frames_to_ns
from voicelink.wire.handshake import NO_COOKIE
from voicelink.wire.packet import Header, Kind, join
from voicelink.wire.rendezvous import Register, Ring, encode_request, padded

SOURCES = 512
LEAD_S = 3.0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.flood", description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--rate", type=int, default=30_000)
    parser.add_argument("--calls", type=int, default=20)
    options = parser.parse_args()
    arguments = [
        sys.executable,
        "-m",
        "voicelink_server",
        "--listen",
        "127.0.0.1:0",
        "--metrics",
        "127.0.0.1:0",
        "--json",
    ]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            where = json.loads(server.stdout.readline())
            sys.stdout.write(json.dumps(measure(server.pid, where, options)) + "\n")
        finally:
            server.kill()
    return 0


def measure(pid: int, where: dict[str, str], options: argparse.Namespace) -> dict[str, object]:
    ours, theirs = Pipe()
    callers = Process(target=hold_calls, args=(where["listening"], options.calls, options.seconds + 2 * LEAD_S, theirs))
    callers.start()
    assert ours.recv() == "connected"
    memory = {"before": resident_kib(pid)}
    cpu_s = cpu(pid)
    time.sleep(LEAD_S)
    flooder = Process(target=flood, args=(where["listening"], options.rate, options.seconds, theirs))
    flooder.start()
    flooded = ours.recv()
    memory["after_flood"] = resident_kib(pid)
    lost = ours.recv()
    for process in (flooder, callers):
        process.join()
    memory["peak"] = int(
        next(s for s in Path(f"/proc/{pid}/status").read_text().splitlines() if "VmHWM" in s).split()[1]
    )
    share = cpu(pid) - cpu_s
    return flooded | lost | {"server_memory_kib": memory, "server_cpu_s": round(share, 1)} | scrape(where["metrics"])


def flood(server: str, rate: int, seconds: float, result: Connection) -> None:
    """Send, in slices of a millisecond, from SOURCES addresses."""
    host, _, port = server.rpartition(":")
    rng = random.Random(1)
    sockets = []
    for i in range(SOURCES):
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        made.bind((f"127.{1 + i // 250}.{rng.randrange(256)}.{1 + i % 250}", 0))
        made.connect((host, int(port)))
        made.setblocking(False)
        sockets.append(made)
    datagrams = []
    for i in range(64):
        request = padded(Register(i, f"n{i}", bytes(32), bytes(16), b"") if i % 2 else Ring(i, "user0", b""))
        cookie = NO_COOKIE if i % 4 else rng.randbytes(16)
        datagrams.append(join(Header(Kind.SERVER, i, 0), encode_request(request, cookie)))
    start_s = time.monotonic()
    sent = failed = slices = 0
    while (passed_s := time.monotonic() - start_s) < seconds:
        while sent + failed < passed_s * rate:
            try:
                sockets[sent % SOURCES].send(datagrams[sent % 64])
                sent += 1
            except OSError:
                failed += 1
        slices += 1
        time.sleep(0.001)
    result.send({"flood_sent": sent, "flood_failed": failed, "flood_per_s": round(sent / seconds), "sources": SOURCES})


def hold_calls(server: str, count: int, seconds: float, result: Connection) -> None:
    run(_hold_calls(server, count, seconds, result))


async def _hold_calls(server: str, count: int, seconds: float, result: Connection) -> None:
    drivers: list[SessionDriver] = []
    for i in range(count):
        ends = [
            await SessionDriver.open(
                SessionSettings(name=name, model_ids=("m",), direct_path=False), local=("127.0.0.1", 0)
            )
            for name in (f"user{i}", "")
        ]
        callee, caller = ends
        await callee.listen(server)
        await _wait_for(callee, ev.Registered)
        await caller.call(f"user{i}", server)
        await _wait_for(callee, ev.IncomingCall)
        callee.accept()
        for end in ends:
            await _wait_for(end, ev.Connected)
        drivers += ends
    result.send("connected")
    await asyncio.gather(*(_talk(driver, seconds) for driver in drivers))
    await asyncio.sleep(0.5)
    result.send(_losses([driver.stats() for driver in drivers]))
    await asyncio.gather(*(driver.close() for driver in drivers))


async def _wait_for(driver: SessionDriver, kind: type) -> None:
    async with asyncio.timeout(10):
        while not isinstance(event := await driver.next_event(), kind):
            assert not isinstance(event, ev.Ended), event


async def _talk(driver: SessionDriver, seconds: float) -> None:
    start_ns = time.monotonic_ns()
    index = 0
    while (now_ns := time.monotonic_ns()) < start_ns + seconds * 1e9:
        while start_ns + frames_to_ns(index) <= now_ns:
            driver.send_frame(frame(index))
            driver.pull_frame()
            index += 1
        await asyncio.sleep(0.02 + random.random() * 0.003)


def _losses(stats: list[Stats]) -> dict[str, object]:
    shares = [s.packets_lost / max(1, s.packets_lost + s.packets_received) for s in stats]
    received, lost = sum(s.packets_received for s in stats), sum(s.packets_lost for s in stats)
    return {
        "calls": len(stats) // 2,
        "call_packets_received": received,
        "call_packets_lost": lost,
        "loss_percent": round(100 * lost / (lost + received), 4),
        "worst_loss_percent": round(100 * max(shares), 4),
    }


def scrape(url: str) -> dict[str, object]:
    with urllib.request.urlopen(url, timeout=5) as response:
        lines = [line.split() for line in response.read().decode().splitlines() if not line.startswith("#")]
    values = {name.removeprefix("voicelink_"): int(value) for name, value in lines}
    wanted = ("datagrams_received_total", "cookies_total", "strangers_dropped_total", "names_kept", "calls")
    return {f"server_{name}": values[name] for name in wanted}


def resident_kib(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024


def cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    sys.exit(main())
