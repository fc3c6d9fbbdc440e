"""Whole calls between two ends in one process, over real sockets, with a codec that carries loudness."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from voicelink_client.call import CallOutcome, CallPlan, CallStatus, run_call, split_target
from voicelink_client.controls import Controls
from voicelink_client.engine import Engine
from voicelink_client.recorder import Recorder
from voicelink_client.streams import PacedSink, PacedSource, null_source

from tests.client.fake_codec import FakeCodec
from voicelink.core.events import Connected, EndReason, Event, IncomingCall
from voicelink.errors import CallError, ConfigError
from voicelink.net.loop import run
from voicelink.net.udp import SessionDriver
from voicelink.settings import Address, LinkSettings, SessionSettings, format_address
from voicelink.sim.link import Link
from voicelink.units import SAMPLE_RATE_HZ

LOCAL = ("127.0.0.1", 0)


class View:
    def __init__(self, answer: bool = True) -> None:
        self.answer = answer
        self.events: list[Event] = []
        self.statuses: list[CallStatus] = []
        self.address: asyncio.Future[Address] = asyncio.get_running_loop().create_future()

    def ready(self, local: Address) -> None:
        self.address.set_result(local)

    def event(self, event: Event) -> None:
        self.events.append(event)

    def status(self, status: CallStatus) -> None:
        self.statuses.append(status)

    async def ask(self, call: IncomingCall) -> bool:
        return self.answer


def settings(**kwargs: Any) -> SessionSettings:
    return SessionSettings(bits_min=32, bits_max=32, direct_path=False, **kwargs)


def bursts(seconds: float) -> np.ndarray:
    """0.1 s of tone every half second."""
    t = np.arange(round(seconds * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    return (0.5 * np.sin(2 * np.pi * 441 * t) * (t % 0.5 < 0.1)).astype(np.float32)


async def both(
    caller: Engine, callee: Engine, *, answer: bool = True, link: LinkSettings | None = None, **plan: Any
) -> tuple[CallOutcome, CallOutcome, View, View]:
    codec, called, calling = FakeCodec(), View(answer), View()
    waiting = asyncio.ensure_future(run_call(CallPlan(settings(name="bob"), local=LOCAL), codec, callee, called))
    target = format_address(await called.address)
    call = CallPlan(settings(name="alice"), target, local=LOCAL, **plan)
    impairment = None if link is None else Link(link)
    placed = await run_call(call, codec, caller, calling, impairment=impairment)
    return placed, await waiting, calling, called


def test_a_call_carries_sound_both_ways_and_counts_it(tmp_path: Path) -> None:
    async def scenario() -> None:
        files = [tmp_path / "alice.wav", tmp_path / "bob.wav"]
        recorder = Recorder(tmp_path / "call.wav", SAMPLE_RATE_HZ)
        caller = Engine(FakeCodec(), PacedSource(bursts(3)), PacedSink(files[0]), recorder=recorder)
        callee = Engine(FakeCodec(), PacedSource(bursts(3)), PacedSink(files[1]))
        placed, taken, calling, called = await both(caller, callee, seconds=1.5)
        for outcome, view in ((placed, calling), (taken, called)):
            outcome.raise_for_failure()
            assert outcome.ended.reason is EndReason.HUNG_UP
            figures = outcome.figures
            assert figures["bitrate_bps"] == 2756
            assert figures["frames_sent"] == pytest.approx(1.5 * 86.13, abs=40)
            assert figures["frames_played"] > 60
            assert 8 < figures["wire_kbps"] < 20
            assert figures["seconds"] == pytest.approx(1.5, abs=0.5)
            assert figures["cpu_rtf"] > 0
            assert any(isinstance(event, Connected) for event in view.events)
            assert view.statuses
        for file in files:
            heard, _ = soundfile.read(file)
            assert 0.3 < np.abs(heard).max() < 0.7
            assert np.mean(np.abs(heard) > 0.01) < 0.5
        both_sides, _ = soundfile.read(tmp_path / "call.wav")
        assert both_sides.shape[1] == 2
        assert np.abs(both_sides).max(axis=0) == pytest.approx([0.5, 0.5], abs=0.15)

    run(scenario())


class SleepySink(PacedSink):
    """Its thread is kept from working for 80 ms, once."""

    slept = False

    def write(self, block: np.ndarray, now_ns: int) -> int:
        if not self.slept:
            self.slept = True
            time.sleep(0.08)
        return super().write(block, now_ns)


def test_time_that_the_thread_neither_worked_nor_waited_is_told() -> None:
    async def scenario() -> None:
        sleepy = Engine(FakeCodec(), null_source(), SleepySink())
        placed, _, _, _ = await both(sleepy, Engine(FakeCodec(), null_source(), PacedSink()), seconds=0.5)
        assert placed.figures["stalls"] >= 1
        assert placed.figures["stalled_ms"] >= placed.figures["longest_stall_ms"] >= 79

    run(scenario())


def test_pauses_of_a_call_are_left_out_where_that_is_asked_for() -> None:
    async def scenario() -> None:
        caller = Engine(FakeCodec(), PacedSource(bursts(3)), PacedSink(), dtx=True)
        placed, taken, _, _ = await both(caller, Engine(FakeCodec(), PacedSource(bursts(3)), PacedSink()), seconds=1.8)
        assert 0 < placed.figures["frames_sent"] < 0.45 * taken.figures["frames_sent"]
        assert placed.figures["wire_kbps"] < 0.7 * taken.figures["wire_kbps"]
        assert taken.figures["frames_comfort"] > 50
        assert placed.figures["frames_comfort"] == 0

    run(scenario())


def test_a_muted_end_under_a_constant_rate_goes_on_sending_silence() -> None:
    async def scenario() -> None:
        view = View()
        engine = Engine(FakeCodec(), PacedSource(bursts(3)), PacedSink())
        waiting = asyncio.ensure_future(run_call(CallPlan(settings(), local=LOCAL), FakeCodec(), engine, view))
        plan = CallPlan(settings(constant_rate=True), format_address(await view.address), local=LOCAL, seconds=1.5)
        muted = Engine(FakeCodec(), PacedSource(bursts(3)), PacedSink(), constant_rate=True)
        controls = Controls()
        controls.toggle_mute()
        placed = await run_call(plan, FakeCodec(), muted, View(), controls=controls)
        taken = await waiting
        assert placed.figures["frames_sent"] == pytest.approx(1.5 * 86.13, abs=40)
        assert taken.figures["frames_played"] > 60
        assert taken.figures["frames_comfort"] == 0
        assert engine.heard.peak_dbfs < -60

    run(scenario())


def test_a_file_that_is_the_microphone_ends_the_call() -> None:
    async def scenario() -> None:
        caller = Engine(FakeCodec(), PacedSource(bursts(0.3)), PacedSink())
        placed, taken, _, _ = await both(caller, Engine(FakeCodec(), null_source(), PacedSink()), end_with_input=True)
        assert placed.figures["seconds"] == pytest.approx(1.3, abs=0.5)
        assert (placed.ended.by_peer, taken.ended.by_peer) == (False, True)

    run(scenario())


def test_loss_is_counted_and_concealed() -> None:
    async def scenario() -> None:
        engines = [Engine(FakeCodec(), PacedSource(bursts(3)), PacedSink()) for _ in range(2)]
        link = LinkSettings(loss=0.3, burst=2, seed=5)
        _, taken, _, _ = await both(engines[0], engines[1], link=link, seconds=1.5)
        assert taken.figures["packets_lost"] > 3
        assert taken.figures["frames_concealed"] > 2  # most of it is repeated

    run(scenario())


def test_refused() -> None:
    async def scenario() -> None:
        engines = [Engine(FakeCodec(), null_source(), PacedSink()) for _ in range(2)]
        placed, taken, _, _ = await both(engines[0], engines[1], answer=False)
        assert (placed.connected, taken.connected) == (False, False)
        with pytest.raises(CallError):
            placed.raise_for_failure()

    run(scenario())


def test_nobody_there() -> None:
    async def scenario() -> None:
        plan = CallPlan(settings(name="a", setup_timeout_ms=300), "127.0.0.1:9", local=LOCAL)
        outcome = await run_call(plan, FakeCodec(), Engine(FakeCodec(), null_source(), PacedSink()), View())
        assert outcome.ended.reason is EndReason.UNREACHABLE
        with pytest.raises(CallError):
            outcome.raise_for_failure()

    run(scenario())


def test_a_codec_thread_that_breaks_down_ends_the_call_with_one_line() -> None:
    class Broken(PacedSink):
        def write(self, block: np.ndarray, now_ns: int) -> int:
            raise ValueError("out of paper")

    async def scenario() -> None:
        engines = [Engine(FakeCodec(), null_source(), sink) for sink in (Broken(), PacedSink())]
        with pytest.raises(CallError, match="ValueError: out of paper"):
            await asyncio.wait_for(both(engines[0], engines[1]), 10)

    run(scenario())


def test_the_socket_is_closed_where_the_end_of_a_call_is_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    closed, stopping = [], threading.Event()

    class Slow(Engine):
        def stop(self) -> None:
            stopping.set()
            time.sleep(0.3)
            super().stop()

    close = SessionDriver.close

    async def noted(driver: SessionDriver) -> None:
        await close(driver)
        closed.append(driver.local_address)

    monkeypatch.setattr(SessionDriver, "close", noted)

    async def scenario() -> None:
        view, stop = View(), asyncio.Event()
        engine = Slow(FakeCodec(), null_source(), PacedSink())
        call = run_call(CallPlan(settings(), local=LOCAL), FakeCodec(), engine, view, hang_up=stop)
        task = asyncio.ensure_future(call)
        address = await view.address
        stop.set()
        await asyncio.to_thread(stopping.wait, 5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(task, 10)
        assert closed == [address]

    run(scenario())


def test_waiting_for_a_call_can_be_given_up() -> None:
    async def scenario() -> None:
        view, stop = View(), asyncio.Event()
        engine = Engine(FakeCodec(), null_source(), PacedSink())
        task = asyncio.ensure_future(
            run_call(CallPlan(settings(), local=LOCAL), FakeCodec(), engine, view, hang_up=stop)
        )
        await view.address
        stop.set()
        outcome = await asyncio.wait_for(task, 5)
        assert not outcome.connected

    run(scenario())


def test_targets() -> None:
    assert split_target("192.0.2.1:4000", None) == ("192.0.2.1:4000", None)
    assert split_target("192.0.2.1:4000", "192.0.2.9:47600") == ("192.0.2.1:4000", None)
    assert split_target("bob", "192.0.2.9:47600") == ("bob", "192.0.2.9:47600")
    with pytest.raises(ConfigError, match="--server"):
        split_target("bob", None)
    with pytest.raises(ConfigError):
        split_target("bob", "nowhere")
