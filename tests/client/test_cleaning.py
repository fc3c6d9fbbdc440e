"""Echo cancellation, noise suppression and gain in a simulated room; what is told where the package is missing."""

from __future__ import annotations

import sys
import time

import numpy as np
import pytest
from voicelink_client.cleaning import MAX_APART_SAMPLES, Cleaner
from voicelink_client.ends import cleaner_for
from voicelink_client.engine import Engine
from voicelink_client.streams import PacedSink, PacedSource

from tests.client.fake_codec import FakeCodec
from tests.sound.room import Room, measure
from voicelink.core.events import PlayoutDecision, Wait
from voicelink.errors import AudioError
from voicelink.frame import Frame
from voicelink.settings import AudioSettings
from voicelink.units import FRAME_SAMPLES


@pytest.fixture
def _package() -> None:
    pytest.importorskip("pywebrtc_audio")


@pytest.mark.usefixtures("_package")
def test_echo_of_an_open_loudspeaker_goes_and_the_voice_stays() -> None:
    found = measure(Room(echo_db=-10), echo=True)
    assert found.erle_db > 25
    assert found.after > 0.5
    assert found.level_db == pytest.approx(-26, abs=3)
    assert found.delay_ms < 20  # 8 of them its own, up to 10 since blocks are not of 10 ms here
    without = measure(Room(echo_db=-10), echo=False)
    assert without.erle_db < 2


@pytest.mark.usefixtures("_package")
def test_it_does_no_harm_where_there_is_no_echo() -> None:
    assert measure(Room(echo_db=-100), echo=True).after > 0.95


@pytest.mark.usefixtures("_package")
def test_noise_falls_and_a_quiet_voice_rises() -> None:
    noisy = measure(Room(echo_db=-100, noise_db=-42), echo=False, noise=True)
    assert noisy.erle_db > 4
    assert noisy.after > noisy.before
    quiet = measure(Room(echo_db=-100, near_db=-46), echo=False, gain=True)
    assert quiet.level_db > -30


@pytest.mark.usefixtures("_package")
def test_sound_is_neither_lost_nor_made_and_what_was_played_cannot_pile_up() -> None:
    made = Cleaner(echo=True, noise=True, gain=True)
    count = 0
    assert len(made.said(np.zeros(290, np.float32))) == 320  # the first of a resampler is short
    assert [len(made.said(np.zeros(320, np.float32))) for _ in range(5)] == [320] * 5
    for size in (1, 255, 256, 100, 512, 2_000, 3):
        made.played(np.zeros(5 * size, np.float32))
        count += len(made.said(np.zeros(size, np.float32)))
        assert len(made._far) <= MAX_APART_SAMPLES
    assert 3_127 - 320 < count <= 3_127


@pytest.mark.usefixtures("_package")
def test_the_engine_gives_it_both_directions() -> None:
    class Spy:
        heard, spoken = 0, 0

        def played(self, block: np.ndarray) -> None:
            self.heard += len(block)

        def said(self, block: np.ndarray) -> np.ndarray:
            self.spoken += len(block)
            return block * 0

    spy = Spy()
    engine = Engine(FakeCodec(), PacedSource(np.zeros(9)), PacedSink(), cleaner=spy)  # type: ignore[arg-type]
    played: list[int] = []

    class Port:
        def send_bits(self) -> int:
            return 8

        def send_frame(self, frame: Frame) -> None:
            played.append(frame.index)

        def pull_frame(self, *, quiet: bool = False) -> PlayoutDecision:
            return Wait()

    engine.start(Port(), 8, lambda error: None)  # type: ignore[arg-type]
    time.sleep(0.3)
    engine.stop()
    assert spy.heard >= 5 * FRAME_SAMPLES
    assert spy.spoken >= 5 * FRAME_SAMPLES
    assert played


@pytest.mark.usefixtures("_package")
@pytest.mark.parametrize(
    ("audio", "is_there"),
    [
        (AudioSettings(), False),
        (AudioSettings(output="Built-in Speakers"), True),
        (AudioSettings(output="Built-in Speakers", echo_cancel="off"), False),
        (AudioSettings(output="Built-in Speakers", input="null"), False),
        (AudioSettings(output="heard.wav"), False),
        (AudioSettings(output="heard.wav", echo_cancel="on"), True),
        (AudioSettings(input="null", noise_suppression=True), True),
        (AudioSettings(input="null", gain=True), True),
    ],
)
def test_it_is_there_by_default_where_the_loudspeaker_is_an_open_one(
    audio: AudioSettings, is_there: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("voicelink_client.ends.is_open_loudspeaker", lambda device: "Speaker" in device)
    assert (cleaner_for(audio) is not None) == is_there


def test_without_the_package_the_default_goes_without_and_a_wish_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pywebrtc_audio", None)
    monkeypatch.setattr("voicelink_client.ends.is_open_loudspeaker", lambda device: True)
    assert cleaner_for(AudioSettings()) is None
    for audio in (AudioSettings(echo_cancel="on"), AudioSettings(noise_suppression=True), AudioSettings(gain=True)):
        with pytest.raises(AudioError, match=r"need pywebrtc-audio: pip install 'voicelink\[call\]'"):
            cleaner_for(audio)
