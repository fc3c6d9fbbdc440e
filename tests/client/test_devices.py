"""Sound cards with PortAudio's Python package replaced: what is asked of it, and what its callbacks do."""

from __future__ import annotations

import json
import sys
import time
import tracemalloc
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from voicelink_client import devices
from voicelink_client.devices import GONE_NS, Loudspeaker, Microphone, is_open_loudspeaker, list_devices, rescan

from voicelink.errors import AudioError

NO_STATUS = SimpleNamespace(input_overflow=False, output_underflow=False)
DEVICES = [
    {"name": "Mic", "index": 0, "max_input_channels": 1, "max_output_channels": 0, "default_samplerate": 48_000.0},
    {"name": "Taken", "index": 7, "max_input_channels": 1, "max_output_channels": 1, "default_samplerate": 48_000.0},
    {
        "name": "Box",
        "index": 1,
        "max_input_channels": 0,
        "max_output_channels": 2,
        "default_samplerate": 44_100.0,
        "hostapi": 0,
    },
]


class Stream:
    latency = 0.01

    def __init__(self, **kwargs: Any) -> None:
        self.asked, self.running = kwargs, False

    @property
    def active(self) -> bool:
        return self.running

    def start(self) -> None:
        if self.asked.get("device") == 7:
            raise FakeSounddevice.PortAudioError("Device unavailable")
        self.running = True

    def close(self, ignore_errors: bool = True) -> None:
        self.running = False


class FakeSounddevice(SimpleNamespace):
    class PortAudioError(Exception):
        pass

    InputStream = OutputStream = Stream
    restarts = 0

    def query_hostapis(self, number: int) -> dict[str, str]:
        return {"name": "ALSA" if number == 1 else "Core Audio"}

    def check_output_settings(self, **asked: Any) -> None:
        if asked["device"] == 8:
            raise FakeSounddevice.PortAudioError("Invalid sample rate")

    def _terminate(self) -> None:
        self.restarts += 1

    def _initialize(self) -> None:
        pass

    default = SimpleNamespace(device=(0, 2))

    def query_devices(self, device: Any = None, kind: str | None = None) -> Any:
        if kind is None:
            return DEVICES
        if device is None:
            return DEVICES[0 if kind == "input" else 2]
        for found in DEVICES:
            if device in (found["name"], found["index"]):
                return found
        raise ValueError(f"No {kind} device matching {device!r}")


@pytest.fixture
def _sounddevice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", FakeSounddevice())


@pytest.mark.usefixtures("_sounddevice")
def test_list() -> None:
    found = list_devices()
    assert [d["name"] for d in found] == ["Mic", "Taken", "Box"]
    assert [d["default"] for d in found] == ["in", "", "out"]
    assert found[0]["rate_hz"] == 48_000


@pytest.mark.usefixtures("_sounddevice")
@pytest.mark.parametrize("name", ["default", "0", "Mic"])
def test_a_microphone_hands_on_what_its_callback_got(name: str) -> None:
    mic = Microphone(name)
    mic.start(0)
    asked = mic._stream.asked
    assert (mic.rate_hz, asked["channels"], asked["samplerate"]) == (48_000, 1, 48_000)
    assert mic.read(0) is None
    for k in range(3):
        asked["callback"](np.full((480, 1), k, np.float32), 480, None, NO_STATUS)
    block = mic.read(0)
    assert block is not None
    assert block.tolist() == [0.0] * 480 + [1.0] * 480 + [2.0] * 480
    assert mic.overruns == 0


@pytest.mark.usefixtures("_sounddevice")
def test_a_microphone_nobody_reads_counts_what_it_loses() -> None:
    mic = Microphone("default")
    for _ in range(60):
        mic._stream.asked["callback"](np.zeros((480, 1), np.float32), 480, None, NO_STATUS)
    assert mic.overruns == 10


@pytest.mark.usefixtures("_sounddevice")
def test_a_loudspeaker_plays_in_order_and_counts_where_it_runs_dry() -> None:
    box = Loudspeaker("Box")
    box.start(0)
    assert box._stream.running
    out = np.full((1_024, 1), 9.0, np.float32)
    assert not box.wants(0)
    box._stream.asked["callback"](out, 1_024, None, NO_STATUS)
    assert out.max() == 0.0
    assert box.wants(0)
    assert box.underruns == 0
    box.write(np.full(512, 0.5, np.float32), 0)
    box._stream.asked["callback"](out, 1_024, None, NO_STATUS)
    assert out[:512].min() == 0.5
    assert out[512:].max() == 0.0
    assert box.underruns == 1
    stream = box._stream
    box.close()
    box.close()
    assert not stream.running
    assert box.idle_ns(0) == GONE_NS


@pytest.mark.usefixtures("_sounddevice")
@pytest.mark.parametrize(("make", "kind"), [(Microphone, "input"), (Loudspeaker, "output")])
def test_an_unknown_device_is_one_line(make: Any, kind: str) -> None:
    with pytest.raises(AudioError, match=f"{kind} device 'Ghost' cannot be used .*voicelink devices"):
        make("Ghost")


@pytest.mark.usefixtures("_sounddevice")
def test_a_loudspeaker_that_runs_dry_keeps_more_ready_and_less_again_later() -> None:
    box = Loudspeaker("Box")
    box.start(0)

    def level() -> int:
        return box._ready_samples * 22_050 // box.rate_hz

    assert level() == 512
    second = 1_000_000_000
    for k in range(1, 10):
        box.underruns += 5
        box.wants(k * second)
        box.wants(k * second + 1)  # at once again: once a second is enough
        assert level() == min(1_024, 512 + 128 * k)
    for k in range(1, 10):
        box.wants((10 + 20 * k) * second)
        assert level() == max(512, 1_024 - 128 * k)


@pytest.mark.usefixtures("_sounddevice")
@pytest.mark.parametrize(("hostapi", "index", "rate_hz"), [(0, 2, 44_100), (1, 2, 48_000), (1, 8, 44_100)])
def test_what_goes_through_alsa_runs_at_48_khz_where_it_can(
    monkeypatch: pytest.MonkeyPatch, hostapi: int, index: int, rate_hz: int
) -> None:
    monkeypatch.setitem(DEVICES[2], "hostapi", hostapi)
    monkeypatch.setitem(DEVICES[2], "index", index)
    assert Loudspeaker("Box").rate_hz == rate_hz


@pytest.mark.usefixtures("_sounddevice")
@pytest.mark.parametrize("make", [Microphone, Loudspeaker])
def test_a_device_that_cannot_be_started_is_one_line(make: Any) -> None:
    with pytest.raises(AudioError, match=r"cannot be started .Device unavailable"):
        make("Taken").start(0)


@pytest.mark.usefixtures("_sounddevice")
@pytest.mark.parametrize(("make", "kind"), [(Microphone, "input"), (Loudspeaker, "output")])
def test_where_there_is_no_default_device_that_is_said(make: Any, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(self: Any, device: Any = None, kind: str | None = None) -> Any:
        raise FakeSounddevice.PortAudioError("Error querying device -1")

    monkeypatch.setattr(FakeSounddevice, "query_devices", none)
    with pytest.raises(AudioError, match=f"^there is no {kind} device; see"):
        make("default")


@pytest.mark.usefixtures("_sounddevice")
def test_an_open_loudspeaker_is_known_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not is_open_loudspeaker("Box")
    assert not is_open_loudspeaker("Ghost")
    monkeypatch.setitem(DEVICES[2], "name", "MacBook Pro Speakers")
    assert is_open_loudspeaker("MacBook Pro Speakers")
    assert is_open_loudspeaker("default")


@pytest.mark.usefixtures("_sounddevice")
def test_callbacks_count_xruns_and_allocate_no_sound() -> None:
    xrun = SimpleNamespace(input_overflow=True, output_underflow=True)
    mic, box = Microphone("default"), Loudspeaker("default")
    said, heard, out = np.ones((4_800, 1), np.float32), np.ones(4_800, np.float32), np.zeros((4_800, 1), np.float32)
    mic._callback(said, 4_800, None, xrun)
    box.write(heard, 0)
    box._callback(out, 4_800, None, xrun)
    assert (mic.device_xruns, box.device_xruns, mic.overruns, box.underruns) == (1, 1, 0, 0)
    box.write(heard, 0)
    tracemalloc.start()
    try:
        mic._callback(said, 4_800, None, NO_STATUS)
        box._callback(out, 4_800, None, NO_STATUS)
        assert tracemalloc.get_traced_memory()[1] < 4_000  # views and numbers; the sound is 19 200 bytes
    finally:
        tracemalloc.stop()
    assert out.min() == 1.0


@pytest.mark.usefixtures("_sounddevice")
def test_idle_is_the_time_since_the_callback_and_very_long_where_the_stream_is_over() -> None:
    mic = Microphone("Mic")
    mic.start(1_000)
    assert mic.idle_ns(5_000) == 4_000
    mic._callback(np.zeros((480, 1), np.float32), 480, None, NO_STATUS)
    assert mic.idle_ns(time.monotonic_ns()) < 1_000_000_000
    mic._stream.running = False
    assert mic.idle_ns(5_000) == GONE_NS


@pytest.mark.usefixtures("_sounddevice")
def test_a_rescan_closes_open_devices_where_another_was_plugged_in_and_only_then(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = ["Mic", "Taken", "Box"]
    monkeypatch.setattr(
        devices.subprocess, "run", lambda *a, **k: SimpleNamespace(returncode=0, stdout=json.dumps(now).encode())
    )
    mic = Microphone("Mic")
    mic.start(0)
    assert not rescan()
    assert mic.idle_ns(0) == 0
    now.append("Headset")
    assert rescan()
    assert mic.idle_ns(0) == GONE_NS
    assert sys.modules["sounddevice"].restarts == 1


def test_no_portaudio_library(monkeypatch: pytest.MonkeyPatch) -> None:
    class Finder:
        def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
            if name == "sounddevice":
                raise OSError("PortAudio library not found")

    monkeypatch.delitem(sys.modules, "sounddevice", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Finder(), *sys.meta_path])
    with pytest.raises(AudioError, match="libportaudio2"):
        list_devices()


def test_no_sounddevice_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    with pytest.raises(AudioError, match=r"pip install 'voicelink\[call\]'"):
        list_devices()
