"""Two servers that share their names through a real Redis."""

from __future__ import annotations

import asyncio
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.server.test_app import serving
from voicelink.core import events as ev
from voicelink.net.loop import run
from voicelink.net.udp import SessionDriver
from voicelink.settings import SessionSettings

pytest.importorskip("redis")
from voicelink_server.cluster import weight

needs_redis = pytest.mark.skipif(shutil.which("redis-server") is None, reason="redis-server is not installed")
LOOPBACK = ("127.0.0.1", 0)


def free_port(kind: socket.SocketKind) -> int:
    with socket.socket(socket.AF_INET, kind) as sock:
        sock.bind(LOOPBACK)
        return int(sock.getsockname()[1])


@pytest.fixture
def redis_url(tmp_path: Path) -> Iterator[str]:
    port = free_port(socket.SOCK_STREAM)
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        for _ in range(100):
            with socket.socket() as sock:
                if sock.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        yield f"redis://127.0.0.1:{port}/0"
        process.terminate()


def servers(stack: ExitStack, monkeypatch: pytest.MonkeyPatch, url: str, count: int = 2) -> list[str]:
    made = []
    for _ in range(count):
        at = f"127.0.0.1:{free_port(socket.SOCK_DGRAM)}"
        monkeypatch.setenv("VOICELINK_SERVER_REDIS", url)
        monkeypatch.setenv("VOICELINK_SERVER_ADVERTISE", at)
        stack.enter_context(serving("--workers", "1", listen=at))
        made.append(at)
    time.sleep(1.5)  # until each has seen the other
    return made


async def until(driver: SessionDriver, kind: type) -> ev.Event:
    async with asyncio.timeout(10):
        while not isinstance(event := await driver.next_event(), kind):
            assert not isinstance(event, ev.Ended), event
    return event


def client(name: str) -> SessionSettings:
    return SessionSettings(name=name, model_ids=("m",), direct_path=False)


@needs_redis
def test_a_name_at_one_server_is_called_at_the_other(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def calls(first: str, second: str) -> set[str]:
        relays: set[str] = set()
        for i in range(64):  # each call falls on either server with even odds
            if relays == {first, second}:
                break
            async with (
                await SessionDriver.open(client(f"bob{i}"), local=LOOPBACK) as bob,
                await SessionDriver.open(client("alice"), local=LOOPBACK) as alice,
            ):
                await bob.listen(first)
                await until(bob, ev.Registered)
                await alice.call(f"bob{i}", second)
                await until(bob, ev.IncomingCall)
                bob.accept()
                for end in (alice, bob):
                    connected = await until(end, ev.Connected)
                    assert isinstance(connected, ev.Connected)
                    assert connected.relayed
                    relays.add(f"{connected.path[0]}:{connected.path[1]}")
        return relays

    with ExitStack() as stack:
        first, second = servers(stack, monkeypatch, redis_url)
        assert run(calls(first, second)) == {first, second}


@needs_redis
def test_a_name_belongs_to_its_key_at_every_server(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def second_bob(first: str, second: str) -> ev.Event:
        async with await SessionDriver.open(client("bob"), local=LOOPBACK) as bob:
            await bob.listen(first)
            await until(bob, ev.Registered)
            async with await SessionDriver.open(client("bob"), local=LOOPBACK) as other:
                await other.listen(second)
                return await other.next_event()

    with ExitStack() as stack:
        denied = run(second_bob(*servers(stack, monkeypatch, redis_url)))
        assert isinstance(denied, ev.Ended)
        assert "belongs to another key" in denied.detail


@pytest.mark.parametrize(
    ("url", "advertise", "code", "says"),
    [
        ("redis://127.0.0.1:1/0", "127.0.0.1:2", 1, "no Redis answers at redis://127.0.0.1:1/0"),
        ("redis://127.0.0.1:1/0", "", 2, "server.redis needs server.advertise"),
        ("http://x", "127.0.0.1:2", 2, "server.redis = 'http://x'"),
    ],
)
def test_a_shared_directory_that_cannot_be_had(
    url: str, advertise: str, code: int, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VOICELINK_SERVER_REDIS", url)
    monkeypatch.setenv("VOICELINK_SERVER_ADVERTISE", advertise)
    from tests.server.test_app import COMMAND

    done = subprocess.run(
        [*COMMAND, "--listen", "127.0.0.1:0"], capture_output=True, text=True, timeout=20, check=False
    )
    assert done.returncode == code
    assert says in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_calls_are_spread_and_few_move_when_a_server_comes() -> None:
    two = [("192.0.2.1", 1), ("192.0.2.2", 1)]
    three = [*two, ("192.0.2.3", 1)]
    before = [max(two, key=lambda server: weight(call, server)) for call in range(3000)]
    after = [max(three, key=lambda server: weight(call, server)) for call in range(3000)]
    assert 1300 < before.count(two[0]) < 1700
    moved = [new for old, new in zip(before, after, strict=True) if old != new]
    assert 800 < len(moved) < 1200
    assert set(moved) == {three[2]}
