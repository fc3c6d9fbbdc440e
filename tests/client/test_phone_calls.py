"""Keys and sounds in whole calls between two ends in one process, over real sockets; the codec carries loudness."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from voicelink_client.call import CallOutcome, CallPlan, run_call
from voicelink_client.controls import Controls
from voicelink_client.engine import Engine
from voicelink_client.phone import PhoneState
from voicelink_client.recorder import Recorder
from voicelink_client.streams import PacedSink, PacedSource, null_source
from voicelink_client.tones import LEVEL

from tests.client.fake_codec import FakeCodec
from tests.client.test_call import LOCAL, View, settings
from voicelink.core.events import Condition, EndReason, IncomingCall, PeerChanged
from voicelink.net.loop import run
from voicelink.net.udp import SessionDriver
from voicelink.settings import SessionSettings, format_address
from voicelink.units import SAMPLE_RATE_HZ


def speech(seconds: float) -> np.ndarray:
    t = np.arange(round(seconds * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    return (0.5 * np.sin(2 * np.pi * 441 * t)).astype(np.float32)


class End:
    """One end: its engine, its knobs, and who watches."""

    def __init__(self, sink: PacedSink | None = None, recorder: Recorder | None = None) -> None:
        self.engine = Engine(FakeCodec(), PacedSource(speech(60)), sink or PacedSink(), recorder=recorder)
        self.controls, self.view = Controls(), View()

    def run(self, plan: CallPlan, **more: Any) -> Awaitable[CallOutcome]:
        return run_call(plan, FakeCodec(), self.engine, self.view, controls=self.controls, **more)

    async def until(self, condition: Callable[[], bool], seconds: float = 8.0) -> None:
        async with asyncio.timeout(seconds):
            while not condition():
                await asyncio.sleep(0.02)

    @property
    def state(self) -> PhoneState:
        return self.controls.phone.state


async def call(
    alice: End, bob: End, course: Callable[[], Awaitable[None]], **more: Any
) -> tuple[CallOutcome, CallOutcome]:
    """Alice calls Bob; `course` happens, then Alice hangs up."""
    taken = asyncio.ensure_future(bob.run(CallPlan(settings(name="bob"), local=LOCAL), **more))
    target = format_address(await bob.view.address)
    placed = asyncio.ensure_future(alice.run(CallPlan(settings(name="alice"), target, local=LOCAL), **more))
    try:
        await course()
    finally:
        alice.controls.hang_up()
    return await placed, await taken


async def both_talking(alice: End, bob: End) -> None:
    await alice.until(lambda: alice.state is bob.state is PhoneState.TALKING)
    await alice.until(lambda: alice.engine.seconds > 0.5)


def test_mute_hold_and_bitrate_reach_the_other_end(tmp_path: Path) -> None:
    async def scenario() -> None:
        recorder = Recorder(tmp_path / "alice.wav", SAMPLE_RATE_HZ)
        alice, bob = End(recorder=recorder), End()

        def packets() -> int:
            return alice.view.statuses[-1].stats.packets_sent

        async def course() -> None:
            await both_talking(alice, bob)
            alice.controls.toggle_mute()
            await bob.until(lambda: bob.controls.phone.peer.muted)
            await asyncio.sleep(0.15)
            before = packets()
            await asyncio.sleep(1.0)
            assert packets() == before
            assert bob.view.statuses[-1].stats.frames_comfort > 40
            alice.controls.toggle_mute()
            await bob.until(lambda: not bob.controls.phone.peer.muted)
            await alice.until(lambda: packets() > before + 10)
            bob.controls.toggle_hold()
            await alice.until(lambda: alice.controls.phone.peer.holding)
            await asyncio.sleep(0.15)
            before = packets()
            await asyncio.sleep(0.5)
            assert packets() == before
            assert bob.engine._gain == 0.0
            bob.controls.toggle_hold()
            await alice.until(lambda: packets() > before + 10)

        placed, taken = await call(alice, bob, course)
        for outcome in (placed, taken):
            outcome.raise_for_failure()
            assert outcome.figures["frames_concealed"] < 30
            assert outcome.figures["packets_lost"] == 0
        conditions = [e.condition for e in bob.view.events if isinstance(e, PeerChanged)]
        assert conditions[:2] == [Condition(muted=True), Condition()]

    run(scenario())
    said = soundfile.read(tmp_path / "alice.wav")[0][:, 0]
    seconds = [np.abs(said[i : i + 11_025]).max() for i in range(0, len(said) - 11_025, 2_205)]
    assert min(seconds) == 0.0  # what was not sent was not said
    assert max(seconds) == pytest.approx(0.5, abs=0.01)


def test_the_bitrate_knob_moves_both_directions_during_the_call() -> None:
    async def scenario() -> None:
        alice, bob = End(), End()
        wide = SessionSettings(bits_min=8, bits_max=64, direct_path=False, fixed=True)  # whatever else the machine does
        taken = asyncio.ensure_future(bob.run(CallPlan(wide, local=LOCAL)))
        target = format_address(await bob.view.address)
        placed = asyncio.ensure_future(alice.run(CallPlan(wide, target, local=LOCAL)))
        await both_talking(alice, bob)
        for _ in range(6):
            bob.controls.turn_bitrate(-1)
        await alice.until(lambda: alice.controls.send_bits == 16)
        first = [end.view.statuses[-1] for end in (alice, bob)]
        await asyncio.sleep(1.0)
        for end, old in zip((alice, bob), first, strict=True):
            new = end.view.statuses[-1]
            sent = new.stats.packets_sent - old.stats.packets_sent
            size = (new.stats.bytes_sent - old.stats.bytes_sent) / sent
            assert size == pytest.approx(19 + 4, abs=1.0)  # two frames of 16 bits
        alice.controls.hang_up()
        await placed
        await taken

    run(scenario())


def test_it_sounds_like_a_telephone(tmp_path: Path) -> None:
    """Ring and ring-back until the answer, then speech, then the tone of a call that the other end ended."""

    async def scenario() -> None:
        alice, bob = (End(PacedSink(tmp_path / f"{name}.wav")) for name in ("alice", "bob"))

        async def ask(call: IncomingCall) -> bool:
            return await bob.controls.decision()

        bob.view.ask = ask  # type: ignore[method-assign]

        async def course() -> None:
            await alice.until(lambda: alice.state is PhoneState.RINGING_THERE)
            await asyncio.sleep(0.8)
            bob.controls.answer()
            await both_talking(alice, bob)

        await call(alice, bob, course, tones=True)

    run(scenario())
    heard = {name: soundfile.read(tmp_path / f"{name}.wav")[0] for name in ("alice", "bob")}
    for name, sound in heard.items():
        ringing = np.abs(sound[: round(0.7 * SAMPLE_RATE_HZ)]).max()
        assert ringing == pytest.approx(LEVEL, rel=0.05), name
        assert np.abs(sound).max() > 3 * LEVEL, name
    end = heard["bob"][-round(0.6 * SAMPLE_RATE_HZ) :]
    assert np.abs(end).max() == pytest.approx(LEVEL, rel=0.05)  # alice hung up, bob hears it


def test_without_tones_nothing_sounds_but_the_call(tmp_path: Path) -> None:
    async def scenario() -> None:
        alice, bob = End(), End(PacedSink(tmp_path / "bob.wav"))
        bob.engine._source = null_source()
        alice.engine._source = null_source()
        await call(alice, bob, lambda: both_talking(alice, bob))

    run(scenario())
    assert np.abs(soundfile.read(tmp_path / "bob.wav")[0]).max() == 0.0


def test_a_call_reconnects_after_silence_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        alice, bob = End(), End()
        away = False
        receive = SessionDriver._on_datagram

        def drop(self: SessionDriver, data: bytes, source: Any) -> None:
            if not away:
                receive(self, data, source)

        monkeypatch.setattr(SessionDriver, "_on_datagram", drop)

        async def course() -> None:
            nonlocal away
            await both_talking(alice, bob)
            away = True
            await alice.until(lambda: alice.state is bob.state is PhoneState.RECONNECTING)
            await asyncio.sleep(2.0)
            away = False
            await alice.until(lambda: alice.state is bob.state is PhoneState.TALKING, 2.0)
            before = bob.view.statuses[-1].stats.frames_played
            await bob.until(lambda: bob.view.statuses[-1].stats.frames_played > before + 40)

        placed, taken = await call(alice, bob, course)
        assert placed.ended.reason is taken.ended.reason is EndReason.HUNG_UP

    run(scenario())


def test_refusing_by_key() -> None:
    async def scenario() -> None:
        alice, bob = End(), End()

        async def ask(call: IncomingCall) -> bool:
            return await bob.controls.decision()

        bob.view.ask = ask  # type: ignore[method-assign]

        async def course() -> None:
            await bob.until(lambda: bob.state is PhoneState.RINGING_HERE)
            bob.controls.refuse()
            await alice.until(lambda: alice.state is PhoneState.ENDED)

        placed, taken = await call(alice, bob, course)
        assert placed.ended.reason is EndReason.REFUSED
        assert (placed.connected, taken.connected) == (False, False)

    run(scenario())
