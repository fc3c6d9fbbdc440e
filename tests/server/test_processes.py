"""A server of several processes, as its users start it: steering, restarts, stopping, both families, logs."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from voicelink_server.listening import bind_all, can_share
from voicelink_server.logs import redact

from tests.server.test_app import COMMAND, scrape, serving
from voicelink.core import events as ev
from voicelink.net.loop import run
from voicelink.net.udp import SessionDriver
from voicelink.settings import SessionSettings
from voicelink.wire.packet import Header, Kind, join

LOOPBACK = ("127.0.0.1", 0)
shared = pytest.mark.skipif(not can_share(), reason="processes share ports on Linux only")


async def until(driver: SessionDriver, kind: type) -> ev.Event:
    async with asyncio.timeout(15):
        while not isinstance(event := await driver.next_event(), kind):
            assert not isinstance(event, ev.Ended), event
    return event


class Pair:
    """Two clients in a call that stays with the relay."""

    def __init__(self, server: str, number: int = 0, local: tuple[tuple[str, int], tuple[str, int]] = (LOOPBACK,) * 2):
        self._server, self._name, self._local = server, f"bob{number}", local

    async def __aenter__(self) -> Pair:
        settings = [SessionSettings(name=n, model_ids=("m",), direct_path=False) for n in (self._name, "alice")]
        self.bob, self.alice = [
            await SessionDriver.open(s, local=at) for s, at in zip(settings, self._local, strict=True)
        ]
        port = self._server.rpartition(":")[2]
        at = ["[::1]:" + port if ":" in local[0] else "127.0.0.1:" + port for local in self._local]
        await self.bob.listen(at[0])
        await until(self.bob, ev.Registered)
        await self.alice.call(self._name, at[1])
        await until(self.bob, ev.IncomingCall)
        self.bob.accept()
        for end in (self.alice, self.bob):
            await until(end, ev.Connected)
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.alice.close()
        await self.bob.close()

    async def hears(self, limit_s: float = 5.0) -> bool:
        """Whether reports come through both ways from now on (they are sent every second)."""
        for end in (self.alice, self.bob):
            while not end._events.empty():
                await end.next_event()
        try:
            async with asyncio.timeout(limit_s):
                for end in (self.alice, self.bob):
                    await until(end, ev.PeerReport)
        except TimeoutError:
            return False
        return True


def children(process: subprocess.Popen[str]) -> list[int]:
    return [int(p) for p in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]


@shared
def test_datagrams_of_a_call_meet_in_one_process_and_requests_in_the_first() -> None:
    groups = bind_all(LOOPBACK, 3)
    try:
        at = groups[0][0].getsockname()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one, socket.socket(socket.AF_INET, 2) as other:
            for call in range(1, 31):
                for sender in (one, other):
                    for kind in (Kind.MEDIA, Kind.CONTROL, Kind.HANDSHAKE):
                        sender.sendto(join(Header(kind, call, 0), b"x"), at)
                one.sendto(join(Header(Kind.SERVER, call, 0), b"x"), at)
            one.sendto(b"\x12", at)
        time.sleep(0.1)
        found: list[list[bytes]] = []
        for (sock,) in groups:
            found.append([])
            while True:
                try:
                    found[-1].append(sock.recv(100))
                except BlockingIOError:
                    break
        assert [sum(d[0] >> 4 == Kind.SERVER for d in box) for box in found] == [30, 0, 0]
        for number, box in enumerate(found):
            calls = [int.from_bytes(d[1:5], "big") for d in box if len(d) > 5 and d[0] >> 4 != Kind.SERVER]
            assert len(calls) == 60
            assert {call % 3 for call in calls} == {number}
    finally:
        for (sock,) in groups:
            sock.close()


@shared
def test_calls_go_through_all_processes_and_outlive_the_end_of_each() -> None:
    async def calls(server: str, process: subprocess.Popen[str], page: str) -> None:
        async with Pair(server, 1) as a, Pair(server, 2) as b, Pair(server, 3) as c, Pair(server, 4) as d:
            pairs = (a, b, c, d)
            pids = children(process)
            assert len(pids) == 2
            for pid in (pids[1], pids[0]):
                os.kill(pid, signal.SIGKILL)
                assert all(await asyncio.gather(*(pair.hears() for pair in pairs)))
            assert len(children(process)) == 2
            assert scrape(page)["voicelink_calls"] == 4

    with serving("--workers", "2", "--metrics", "127.0.0.1:0") as (where, process):
        run(calls(where["listening"], process, where["metrics"]))
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=10) == 0


@shared
def test_all_processes_end_with_the_one_that_started_them() -> None:
    with serving("--workers", "2") as (where, process):
        pids = children(process)
        process.kill()
        process.wait()
        end_s = time.monotonic() + 5
        while any(Path(f"/proc/{pid}").exists() for pid in pids) and time.monotonic() < end_s:
            time.sleep(0.05)
        assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
        port = int(where["listening"].rpartition(":")[2])
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind(("127.0.0.1", port))


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_server_that_is_told_to_stop_relays_running_calls_on(workers: str) -> None:
    async def call(server: str, process: subprocess.Popen[str]) -> None:
        async with Pair(server) as pair:
            process.send_signal(signal.SIGTERM)
            for end in (pair.alice, pair.bob):
                closing = await until(end, ev.ServerClosing)
                assert isinstance(closing, ev.ServerClosing)
                assert closing.in_s == 30
            assert await pair.hears()
            assert process.poll() is None

    with serving("--workers", workers) as (where, process):
        run(call(where["listening"], process))
        assert process.wait(timeout=10) == 0  # nobody talks any more


def test_the_end_of_a_stop_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    async def call(server: str, process: subprocess.Popen[str]) -> None:
        async with Pair(server):
            process.send_signal(signal.SIGTERM)
            start_s = time.monotonic()
            await asyncio.to_thread(process.wait, 10)
            assert 0.8 < time.monotonic() - start_s < 4

    monkeypatch.setenv("VOICELINK_SERVER_DRAIN_S", "1")
    with serving("--workers", "1") as (where, process):
        run(call(where["listening"], process))


def test_one_end_has_ipv6_and_the_other_ipv4() -> None:
    async def call(server: str) -> None:
        async with Pair(server, local=(("::1", 0), LOOPBACK)) as pair:
            assert await pair.hears()

    if not socket.has_ipv6 or not Path("/proc/net/if_inet6").exists():
        pytest.skip("this machine has no IPv6")
    with serving("--workers", "1", listen="[::]:0") as (where, _):
        run(call(where["listening"]))


@pytest.mark.parametrize("addresses", [False, True])
def test_the_log_says_what_happens_and_not_to_whom_unless_asked(addresses: bool) -> None:
    async def call(server: str) -> None:
        async with Pair(server):
            pass

    options = ["--workers", "1", "--log-json", "-v", *(["--log-addresses"] if addresses else [])]
    with serving(*options) as (where, process):
        run(call(where["listening"]))
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=10)
        assert process.stderr is not None
        text = process.stderr.read()
    lines = [json.loads(line) for line in text.splitlines()]
    messages = [line["message"] for line in lines]
    assert "a name is registered" in messages
    assert "a call is relayed" in messages
    assert ("127.0.0.1" in text, "bob0" in text) == (addresses, addresses)


@pytest.mark.parametrize(
    ("text", "without"),
    [
        ("from 192.0.2.7:9 on", "from (address):9 on"),
        ("[2001:db8::7]:47600 and ::1", "(address):47600 and (address)"),
        ("fe80::1%eth0", "(address)%eth0"),
        ("at 12:30:45, dead beef 1.2.3", "at 12:30:45, dead beef 1.2.3"),
        ("12:30 o'clock, version 1.2.3, 5 calls", "12:30 o'clock, version 1.2.3, 5 calls"),
    ],
)
def test_addresses_are_blotted_out(text: str, without: str) -> None:
    assert redact(text) == without


def test_the_sample_settings_and_the_unit_are_good(tmp_path: Path) -> None:
    from voicelink.config import load

    folder = Path(__file__).parents[2] / "server" / "systemd"
    effective = load(folder / "server.toml", environ={})
    assert effective.settings.server.drain_s == 30
    unit = (folder / "voicelink-server.service").read_text()
    (stop_s,) = re.findall(r"TimeoutStopSec=(\d+)", unit)
    assert int(stop_s) > effective.settings.server.drain_s
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified:
        notified.bind(str(tmp_path / "notify"))
        notified.settimeout(10)
        environ = os.environ | {"NOTIFY_SOCKET": str(tmp_path / "notify")}
        command = [*COMMAND, "--listen", "127.0.0.1:0", "--workers", "2"]
        with subprocess.Popen(command, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            assert notified.recv(100) == b"READY=1"
            process.terminate()
            assert notified.recv(100) == b"STOPPING=1"
    assert sys.platform != "linux" or process.returncode == 0
