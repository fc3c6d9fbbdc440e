"""Drivers over real loopback sockets: a few calls, codec threads included."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from dataclasses import replace
from typing import Any

import pytest

from tests.core.world import frame
from voicelink.core import events as ev
from voicelink.core.states import State
from voicelink.core.switchboard import Switchboard
from voicelink.errors import CallError, ConfigError, LocalProtocolError
from voicelink.net.address import bind_udp
from voicelink.net.loop import run
from voicelink.net.relay import RelayDriver
from voicelink.net.udp import SessionDriver
from voicelink.settings import Address, LinkSettings, ServerSettings, SessionSettings, format_address
from voicelink.sim.link import Link
from voicelink.units import frames_to_ns

LOOPBACK: Address = ("127.0.0.1", 0)
SETTINGS = SessionSettings(model_ids=("m",), playout_delay_ms=40)
BOB = replace(SETTINGS, name="bob")


async def wait_for(driver: SessionDriver, kind: type) -> Any:
    while not isinstance(event := await driver.next_event(), kind):
        assert not isinstance(event, ev.Ended), event
    return event


async def server() -> RelayDriver:
    return await RelayDriver.open(Switchboard(ServerSettings(), entropy=os.urandom), LOOPBACK)


async def client(settings: SessionSettings = SETTINGS, impairment: Link | None = None) -> SessionDriver:
    return await SessionDriver.open(settings, local=LOOPBACK, impairment=impairment)


async def connected(
    caller: SessionDriver, callee: SessionDriver, relay: RelayDriver | None = None
) -> tuple[ev.Connected, ev.Connected]:
    if relay is None:
        await callee.listen()
        await caller.call(format_address(callee.local_address))
    else:
        at = format_address(relay.local_address)
        await callee.listen(at)
        await wait_for(callee, ev.Registered)
        await caller.call("bob", at)
    await wait_for(callee, ev.IncomingCall)
    callee.accept()
    return await wait_for(caller, ev.Connected), await wait_for(callee, ev.Connected)


def speak(driver: SessionDriver, count: int, heard: list[ev.PlayoutDecision]) -> threading.Thread:
    """A codec thread: sends `count` frames in real time and pulls one a slot."""

    def work() -> None:
        start_ns = time.monotonic_ns()
        for i in range(count):
            time.sleep(max(0, start_ns + frames_to_ns(i) - time.monotonic_ns()) / 1e9)
            driver.send_frame(frame(i))
            while isinstance(decision := driver.pull_frame(), ev.Skip):
                heard.append(decision)
            heard.append(decision)

    thread = threading.Thread(target=work)
    thread.start()
    return thread


async def talk(a: SessionDriver, b: SessionDriver, count: int) -> list[list[ev.PlayoutDecision]]:
    heard: list[list[ev.PlayoutDecision]] = [[], []]
    threads = [speak(a, count, heard[0]), speak(b, count, heard[1])]
    loop = a._loop
    for thread in threads:
        await loop.run_in_executor(None, thread.join)
    return heard


def test_a_call_over_the_relay_with_codec_threads() -> None:
    async def main() -> None:
        patient = replace(SETTINGS, playout_delay_ms=250)
        bob = replace(patient, name="bob", direct_path=False)
        async with await server() as relay, await client(patient) as a, await client(bob) as b:
            connections = await connected(a, b, relay)
            assert all(c.relayed and c.path == relay.local_address for c in connections)
            for heard in await talk(a, b, 130):
                # each frame once and in order; which of them came in time is up to the machine's other work
                played = [d.frame for d in heard if isinstance(d, ev.Play)]
                assert played == [frame(i) for i in sorted({f.index for f in played})]
                assert len(played) > 60
            assert [d.stats().packets_lost for d in (a, b)] == [0, 0]
            assert relay.machine.relay.counts.datagrams_forwarded > 120
            a.end("bye")
            assert (await wait_for(a, ev.Ended)).by_peer is False
            assert (await wait_for(b, ev.Ended)).detail == "bye"
            with pytest.raises(LocalProtocolError, match="no more events"):
                await a.next_event()
            a.send_frame(frame(1000))  # the codec thread may be late to know
            assert a.pull_frame() == ev.Wait()

    run(main())


def test_both_ends_find_the_direct_path() -> None:
    async def main() -> None:
        async with await server() as relay, await client() as a, await client(BOB) as b:
            await connected(a, b, relay)
            assert (await wait_for(a, ev.PathChanged)).path == b.local_address
            assert (await wait_for(b, ev.PathChanged)).path == a.local_address
            await a.close()
            assert (await wait_for(b, ev.Ended)).by_peer

    run(main())


def test_an_impairment_delays_and_drops_media_only() -> None:
    async def main() -> None:
        link = Link(LinkSettings(loss=0.3, delay_ms=20, jitter_ms=10, seed=4))
        async with await client(impairment=link) as a, await client() as b:
            await connected(a, b)
            await talk(a, b, 130)
            await asyncio.sleep(0.1)  # what is still on the link
            at_b, at_a = b.stats(), a.stats()
        assert at_a.packets_sent == link.counts.sent == 65
        assert at_a.packets_lost == 0
        assert at_b.packets_received == (65 - link.counts.lost)
        assert at_b.packets_lost == pytest.approx(link.counts.lost, abs=3)  # the last ones may be the lost
        assert 8 < link.counts.lost < 35

    run(main())


def test_bad_addresses_are_told_in_one_line() -> None:
    async def main() -> None:
        async with await client() as a:
            with pytest.raises(CallError, match=r"no IPv4 address for host nowhere\.invalid"):
                await a.call("nowhere.invalid:5")
            with pytest.raises(ConfigError, match="'nonsense' is not HOST:PORT"):
                await a.call("nonsense")
            with pytest.raises(CallError, match=r"cannot listen at 127\.0\.0\.1:"):
                await SessionDriver.open(SETTINGS, local=a.local_address)

    run(main())


def test_a_frame_leaves_and_arrives_within_milliseconds() -> None:
    async def main() -> None:
        async with await client(replace(SETTINGS, frames_per_packet=1)) as a, await client() as b:
            await connected(a, b)
            loop = asyncio.get_running_loop()
            waits_ns = []
            for i in range(50):
                start_ns = time.monotonic_ns()
                await loop.run_in_executor(None, a.send_frame, frame(2 * i))
                await loop.run_in_executor(None, a.send_frame, frame(2 * i + 1))
                while b.session.stats.packets_received <= i:
                    await asyncio.sleep(0)
                waits_ns.append(time.monotonic_ns() - start_ns)
            assert sorted(waits_ns)[25] < 20_000_000

    run(main())


def test_a_socket_bound_to_all_addresses_names_the_one_that_leads_to_the_server() -> None:
    async def main() -> None:
        async with (
            await server() as relay,
            await SessionDriver.open(SETTINGS) as a,
            await SessionDriver.open(BOB) as b,
        ):
            await connected(a, b, relay)
            assert (await wait_for(a, ev.PathChanged)).path == ("127.0.0.1", b.local_address[1])

    run(main())


def test_a_call_over_ipv6() -> None:
    try:
        bind_udp(("::1", 0)).close()
    except CallError:
        pytest.skip("no IPv6 here")

    async def main() -> None:
        async with (
            await SessionDriver.open(SETTINGS, local=("::1", 0)) as a,
            await SessionDriver.open(SETTINGS, local=("::1", 0)) as b,
        ):
            connections = await connected(a, b)
            assert connections[0].path == b.local_address

    run(main())


def test_a_call_to_ourselves_ends_at_once() -> None:
    async def main() -> None:
        async with await client() as a:
            await a.call(format_address(a.local_address))
            async with asyncio.timeout(2):
                ended = await a.next_event()
            assert isinstance(ended, ev.Ended)
            assert "our own address" in ended.detail

    run(main())


def test_closing_twice_at_once_is_harmless() -> None:
    async def main() -> None:
        async with await client() as a, await client() as b:
            await connected(a, b)
            await asyncio.gather(a.close(), a.close(), b.close())

    run(main())


def test_a_cancelled_close_frees_the_socket() -> None:
    async def main() -> None:
        async with await client() as b:
            a = await client()
            await connected(a, b)
            closing = asyncio.ensure_future(a.close())
            await asyncio.sleep(0)
            closing.cancel()
            with pytest.raises(asyncio.CancelledError):
                await closing
            await asyncio.sleep(0.01)
            bind_udp(a.local_address).close()

    run(main())


def test_codec_threads_that_go_on_through_close_and_after_it_see_no_error() -> None:
    failures: list[BaseException] = []

    def work(driver: SessionDriver, stop: threading.Event) -> None:
        index = 0
        try:
            while not stop.is_set():
                driver.send_frame(frame(index))
                driver.pull_frame()
                driver.stats()
                index += 1
                time.sleep(0.001)
        except BaseException as error:
            failures.append(error)

    async def main() -> None:
        stop = threading.Event()
        async with await client() as a, await client() as b:
            await connected(a, b)
            threads = [threading.Thread(target=work, args=(d, stop)) for d in (a, b)]
            for thread in threads:
                thread.start()
            await asyncio.sleep(0.3)
            assert b.stats().packets_received > 10
        await asyncio.sleep(0.05)
        stop.set()
        for thread in threads:
            thread.join()
        assert (a.session.state, b.session.state) == (State.ENDED, State.ENDED)

    run(main())
    assert failures == []
