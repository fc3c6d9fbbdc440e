"""Concealment: goes on for 100 ms, fades to comfort noise, comes back when frames do."""

import numpy as np
import pytest

from tests.models import speech_like
from voicelink.codec.api import Codec
from voicelink.codec.concealment import FADE_FRAMES, HOLD_FRAMES, fade, initial_comfort, track_comfort
from voicelink.codec.stream import Decoder
from voicelink.codec.vocoder import VocoderState
from voicelink.units import FRAME_SAMPLES, SAMPLE_RATE_HZ

LOUD = np.full((1, 80), -2.0, np.float32)


def test_holds_a_tenth_of_a_second_then_fades_for_good() -> None:
    comfort = initial_comfort()
    levels = [float(fade(LOUD, comfort, n).mean()) for n in range(1, HOLD_FRAMES + FADE_FRAMES + 5)]
    assert set(levels[:HOLD_FRAMES]) == {-2.0}
    assert pytest.approx(100, abs=6) == 1000 * HOLD_FRAMES * FRAME_SAMPLES / SAMPLE_RATE_HZ
    assert levels == sorted(levels, reverse=True)
    assert levels[-1] == pytest.approx(float(comfort.mean()))


def test_fading_never_makes_a_band_louder() -> None:
    quiet = np.full((1, 80), -11.0, np.float32)
    assert np.array_equal(fade(quiet, initial_comfort(), 100), quiet)


def test_comfort_follows_the_background_and_not_the_speech() -> None:
    comfort = initial_comfort()
    background = np.linspace(-8.0, -9.5, 80, dtype=np.float32)[None]
    for frame in range(86 * 20):
        comfort = track_comfort(comfort, LOUD if frame % 40 < 10 else background)
    assert np.abs(comfort - background).max() < 1.0


class MelKeeper:
    """A vocoder that keeps the mels it is given."""

    def __init__(self) -> None:
        self.levels: list[float] = []

    def initial_state(self) -> VocoderState:
        return VocoderState(np.zeros(1, np.float32), None)

    def step(self, mel: np.ndarray, state: VocoderState) -> tuple[np.ndarray, VocoderState]:
        self.levels.append(float(mel.mean()))
        return np.zeros(256, np.float32), state


def test_a_long_gap_ends_quiet_and_speech_returns(harmonic_codec: Codec) -> None:
    frames = harmonic_codec.encoder(bits=64).push(speech_like(256 * 30))
    keeper = MelKeeper()
    decoder = Decoder(harmonic_codec.engine, keeper)
    for frame in frames[:20]:
        decoder.play(frame)
    for _ in range(60):
        decoder.conceal()
    assert decoder.state.coder.concealed == 60
    decoder.play(frames[20])
    assert decoder.state.coder.concealed == 0
    spoken, held, faded = keeper.levels[:20], keeper.levels[20 : 20 + HOLD_FRAMES], keeper.levels[70:80]
    assert np.mean(held) == pytest.approx(np.mean(spoken), abs=1.0)
    assert np.mean(faded) < np.mean(spoken) - 3
    assert keeper.levels[80] == pytest.approx(np.mean(spoken), abs=1.0)


def test_joins_are_no_clicks(harmonic_codec: Codec) -> None:
    """The step between samples at a join is no larger than steps within the blocks beside it."""
    frames = harmonic_codec.encoder(bits=64).push(speech_like(256 * 40))
    decoder = harmonic_codec.decoder()
    blocks = [decoder.conceal() if 10 <= f.index < 14 else decoder.play(f) for f in frames]
    for join in (10, 14):
        within = np.abs(np.diff(np.concatenate(blocks[join - 2 : join + 2]))).max()
        assert abs(blocks[join][0] - blocks[join - 1][-1]) <= within
        assert within < 0.2
