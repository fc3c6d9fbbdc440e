"""Microphone and loudspeaker around devices that stall, go away and come back, on a clock of the test's own."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from voicelink_client.engine import Engine
from voicelink_client.lasting import LastingSink, LastingSource
from voicelink_client.streams import PacedSink, PacedSource, null_source

from tests.client.fake_codec import FakeCodec
from voicelink.errors import AudioError
from voicelink.units import NS_PER_MS, NS_PER_S, SAMPLE_RATE_HZ, frames_to_ns

FRAME_NS = frames_to_ns(1)


class Device:
    """A sound card of the test: gives `ready`, keeps what it is given, and stands still since `moved_ns`."""

    def __init__(self, name: str = "", rate_hz: int = SAMPLE_RATE_HZ) -> None:
        self.name, self.rate_hz = name, rate_hz
        self.overruns = self.underruns = self.device_xruns = 0
        self.ready: list[np.ndarray] = []
        self.written: list[np.ndarray] = []
        self.moved_ns = 0
        self.started = self.closed = self.hungry = False
        self.ended = False

    def start(self, now_ns: int) -> None:
        if self.name == "dead":
            raise AudioError("dead cannot be started")
        self.started = True

    def read(self, now_ns: int) -> Any:
        return self.ready.pop(0) if self.ready else None

    def wants(self, now_ns: int) -> bool:
        return self.hungry

    def write(self, block: np.ndarray, now_ns: int) -> int:
        self.written.append(block)
        return now_ns + 5

    def due_ns(self, now_ns: int) -> int:
        return now_ns + 2 * NS_PER_MS

    def idle_ns(self, now_ns: int) -> int:
        return now_ns - self.moved_ns

    def close(self) -> None:
        self.closed = True


def begun(end: Any, now_ns: int = 0) -> Any:
    """Started, and the device taken up."""
    end.start(now_ns)
    until(lambda: end.keeper._opened.qsize() or end.keeper.lost)
    return end


class Shop:
    """Opens devices by name; `broken` are not to be had."""

    def __init__(self, **rates_hz: int) -> None:
        self.rates_hz, self.broken, self.rescans = rates_hz, set[str](), 0
        self.sold: list[Device] = []

    def open(self, text: str, stumbled: int = 0) -> Any:
        if text in self.broken:
            raise AudioError(f"{text} cannot be opened")
        self.stumbled = stumbled
        self.sold.append(Device(text, self.rates_hz.get(text, SAMPLE_RATE_HZ)))
        return self.sold[-1]

    def rescan(self) -> bool:
        self.rescans += 1
        return False


def until(what: Callable[[], Any], limit_s: float = 5.0) -> Any:
    end_s = time.monotonic() + limit_s
    while not (found := what()):
        assert time.monotonic() < end_s, "it did not come about"
        time.sleep(0.01)
    return found


@pytest.fixture
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("voicelink_client.keeper.RETRY_S", 0.05)


def read_for(source: LastingSource, from_ns: int, to_ns: int) -> list[np.ndarray]:
    """Everything read each millisecond of that time."""
    blocks = []
    for now_ns in range(from_ns, to_ns, NS_PER_MS):
        while (block := source.read(now_ns)) is not None:
            blocks.append(block)
    return blocks


def test_sound_comes_at_22050_hz_whatever_the_device_has() -> None:
    shop = Shop(card=44_100)
    source, sink = (kind("card", shop.open, shop.rescan) for kind in (LastingSource, LastingSink))
    for end in (source, sink):
        begun(end)
    shop.sold[0].ready = [np.ones(4_410, np.float32)]
    block = source.read(0)
    assert len(block) == pytest.approx(2_205, abs=40)
    sink.wants(0)
    assert sink.write(np.ones(2_205, np.float32), 100) == 105
    assert len(shop.sold[1].written[0]) == pytest.approx(4_410, abs=70)


def test_a_stalled_microphone_is_stood_in_for_by_silence_and_its_backlog_is_not_said_twice() -> None:
    shop = Shop()
    source = LastingSource("mic", shop.open, shop.rescan)
    begun(source)
    assert not read_for(source, 0, 140 * NS_PER_MS)
    silence = np.concatenate(read_for(source, 140 * NS_PER_MS, 400 * NS_PER_MS))
    assert not silence.any()
    assert len(silence) == pytest.approx(0.4 * SAMPLE_RATE_HZ, abs=300)
    mic = shop.sold[0]
    mic.ready, mic.moved_ns = [np.ones(8_820, np.float32)], 400 * NS_PER_MS  # all of the 0.4 s at once
    block = source.read(400 * NS_PER_MS)
    assert 0 < len(block) < 0.04 * SAMPLE_RATE_HZ


@pytest.mark.usefixtures("_quick")
def test_a_microphone_that_is_unplugged_is_closed_looked_for_and_taken_up_again() -> None:
    shop = Shop()
    source = LastingSource("mic", shop.open, shop.rescan)
    begun(source)
    first = shop.sold[0]
    first.overruns, first.device_xruns = 3, 2
    shop.broken.add("mic")
    blocks = read_for(source, 0, 3 * NS_PER_S)
    assert sum(map(len, blocks)) == pytest.approx(3 * SAMPLE_RATE_HZ, rel=0.01)
    assert until(lambda: first.closed)
    assert source.keeper.lost
    assert "'mic' is gone" in source.keeper.notice()
    assert until(lambda: shop.rescans)
    shop.broken.clear()
    until(lambda: len(shop.sold) == 2 and not source.keeper.lost)
    second = shop.sold[1]
    assert second.started
    second.moved_ns, second.ready = 3 * NS_PER_S, [np.ones(100, np.float32)]
    assert source.read(3 * NS_PER_S).tolist() == [1.0] * 100
    assert source.keeper.notice() == "input device 'mic' is back"
    assert (source.overruns, source.device_xruns) == (3, 2)
    source.close()
    assert second.closed


@pytest.mark.usefixtures("_quick")
def test_without_a_loudspeaker_frames_are_pulled_at_the_clocks_pace_and_playing_goes_on_with_the_next() -> None:
    shop = Shop()
    sink = LastingSink("box", shop.open, shop.rescan)
    begun(sink)
    pulled = 0
    shop.broken.add("box")
    for now_ns in range(0, 3 * NS_PER_S, NS_PER_MS):
        while sink.wants(now_ns):
            sink.write(np.ones(256, np.float32), now_ns)
            pulled += 1
    assert pulled == pytest.approx(3 * NS_PER_S / FRAME_NS, abs=3)
    assert not shop.sold[0].written
    shop.broken.clear()
    until(lambda: len(shop.sold) == 2)
    shop.sold[1].moved_ns, shop.sold[1].hungry = 3 * NS_PER_S, True
    until(lambda: sink.wants(3 * NS_PER_S))
    sink.write(np.ones(256, np.float32), 3 * NS_PER_S)
    assert len(shop.sold[1].written) == 1
    sink.close()


@pytest.mark.parametrize("kind", [LastingSource, LastingSink])
def test_a_device_with_one_xrun_after_another_is_opened_again_with_longer_buffers(kind: Any) -> None:
    shop = Shop()
    end = begun(kind("card", shop.open, shop.rescan))
    look = end.read if kind is LastingSource else end.wants
    card = shop.sold[0]
    for ms in range(0, 5_000, 10):  # three a second are none of its business
        card.moved_ns, card.device_xruns = ms * NS_PER_MS, ms // 333
        look(card.moved_ns)
    assert len(shop.sold) == 1
    card.device_xruns += 20
    look(card.moved_ns)
    until(lambda: len(shop.sold) == 2 and card.closed)
    assert shop.stumbled == 1
    assert end.device_xruns == card.device_xruns
    assert not end.keeper.lost
    end.close()


def test_a_changed_device_is_taken_up_and_the_old_one_closed() -> None:
    shop = Shop()
    source = begun(LastingSource("old", shop.open, shop.rescan))
    source.read(0)
    source.keeper.change("new")
    until(lambda: len(shop.sold) == 2 and shop.sold[1].started)
    until(lambda: source.read(0) is None and shop.sold[0].closed)
    assert not shop.sold[1].closed
    source.close()
    assert shop.sold[1].closed


def test_a_device_that_cannot_be_started_does_not_end_the_call() -> None:
    shop = Shop()
    for kind in (LastingSource, LastingSink):
        end = kind("dead", shop.open, shop.rescan)
        begun(end)
        assert end.keeper.lost
        assert "dead cannot be started" in end.keeper.notice()
        end.close()


def test_the_engine_changes_devices_in_the_background_and_says_how_it_went() -> None:
    shop = Shop()
    shop.broken.add("ghost")
    source, sink = (kind("first", shop.open, shop.rescan) for kind in (LastingSource, LastingSink))
    engine = Engine(FakeCodec(), source, sink)
    assert engine.devices() == {"input": ("first", False), "output": ("first", False)}
    engine.change_input("second")
    engine.change_output("ghost")
    told: list[str] = []
    until(lambda: told.extend(engine.notices()) or len(told) == 2)
    assert sorted(told) == [
        "ghost cannot be opened; the output device stays 'first'",
        "the input device is 'second' now",
    ]
    assert engine.devices() == {"input": ("second", False), "output": ("first", False)}
    engine.stop()
    assert all(device.closed for device in shop.sold)


def test_an_engine_on_plain_ends_cannot_change_them() -> None:
    engine = Engine(FakeCodec(), null_source(), PacedSink())
    assert engine.devices() == {}
    with pytest.raises(AudioError, match="no device"):
        engine.change_input("other")


def test_a_file_ends_through_the_wrapper() -> None:
    source = LastingSource("f", lambda text, stumbled=0: PacedSource(np.ones(256, np.float32)), lambda: False)
    begun(source)
    assert not source.ended
    now_ns = time.monotonic_ns() + FRAME_NS
    assert source.read(now_ns).all()
    assert source.ended
    source.close()
