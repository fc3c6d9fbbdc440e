"""Compensation: finds what a vocoder misses, band by band; bounded; and it is what searching encoders send."""

import numpy as np
import pytest

import voicelink
from tests.models import speech_like
from voicelink.codec.api import Codec
from voicelink.codec.compensation import MOST, SHARE, Compensation, share
from voicelink.codec.courses import encode_courses, windows
from voicelink.codec.excitation import BINS
from voicelink.codec.mel import log_mel_frame, mel_to_hz
from voicelink.codec.noise import noise_hops
from voicelink.experiments.losstable import speech
from voicelink.frame import Pause

MEL_HZ = mel_to_hz(np.linspace(0.0, 45.245640471924965, 82))[1:-1]


class NoiseVocoder:
    """A network that asks for noise of one level below and another above a frequency, whatever the mel."""

    def __init__(self, below: float, above: float) -> None:
        gains = np.where(np.arange(BINS) * 22_050 / 512 < 1500, below, above).astype(np.float32)[None, None]
        zero = np.zeros((1, 1), np.float32)
        self.outputs = [zero, zero, 0 * gains, 0 * gains, gains]

    def vocoder_state(self):
        return np.zeros((1, 1), np.float32)

    def vocoder_step(self, mel, state):
        return [*self.outputs, state + 1]


def noise_window(t: int) -> np.ndarray:
    """What stands in frame t's window of the very noise that the vocoder has."""
    return np.concatenate([noise_hops(t + hop) for hop in (-1, 0, 1, 2)]).astype(np.float32)


def lacks(below: float, above: float, level: float = 0.0) -> np.ndarray:
    compensation = Compensation(NoiseVocoder(below, above))
    return np.stack([compensation.step(np.zeros(80, np.float32), np.exp(level) * noise_window(t)) for t in range(6)])


def test_a_vocoder_that_makes_what_was_said_lacks_nothing() -> None:
    assert np.abs(lacks(0.0, 0.0)).max() < 1e-4


@pytest.mark.parametrize("level", [-0.4, 0.7])
def test_all_bands_too_quiet_or_too_loud_by_as_much(level: float) -> None:
    found = lacks(0.0, 0.0, level)
    np.testing.assert_allclose(found[:, MEL_HZ > 149], level, atol=1e-3)
    assert not found[:, MEL_HZ < 75].any()  # rumble


def test_what_is_missed_stays_in_its_band() -> None:
    found = lacks(-0.5, 0.0)
    assert found[:, (MEL_HZ > 149) & (MEL_HZ < 1100)] == pytest.approx(0.5, abs=0.05)
    assert found[:, MEL_HZ > 2200] == pytest.approx(0.0, abs=0.05)


def test_no_more_is_asked_for_than_so_much() -> None:
    assert lacks(0.0, 0.0, 3.0).max() == pytest.approx(MOST)
    assert lacks(0.0, 0.0, -3.0).min() == pytest.approx(-MOST)


def test_silence_is_not_made_up_for() -> None:
    compensation = Compensation(NoiseVocoder(-20.0, -20.0))
    assert np.abs(compensation.step(np.zeros(80, np.float32), np.zeros(1024, np.float32))).max() < 1e-3


def test_fewer_bits_ask_for_less() -> None:
    assert share(64) == pytest.approx(SHARE)
    assert share(40) == pytest.approx(SHARE / 2)
    assert share(16) == share(1) == 0


def _codes(codec: Codec, said: np.ndarray, *, rounds: int, pauses: bool = False) -> list:
    return codec.encoder(bits=40, rounds=rounds, pauses=pauses).hear(said)


def test_encoders_that_search_send_it_and_others_do_not(harmonic_codec: Codec, monkeypatch) -> None:
    said = speech_like(8_000)
    with_it, without = (_codes(harmonic_codec, said, rounds=rounds) for rounds in (1, 0))
    monkeypatch.setattr("voicelink.codec.compensation.SHARE", 0.0)
    assert _codes(harmonic_codec, said, rounds=0) == without
    assert _codes(harmonic_codec, said, rounds=1) != with_it


def test_only_the_harmonic_vocoder_can_be_heard_beforehand(harmonic_codec: Codec, bigvgan_codec: Codec) -> None:
    assert harmonic_codec.compensates
    assert not bigvgan_codec.compensates
    bigvgan_codec.encoder(rounds=1).push(speech_like(4_000))


def test_courses_of_searching_encoders_equal_streams(harmonic_codec: Codec) -> None:
    """With a pause in the middle, through which the vocoder is heard as well."""
    said = np.concatenate([speech_like(256 * 30), np.zeros(256 * 150, np.float32), speech_like(256 * 30)])
    heard = _codes(harmonic_codec, said, rounds=1, pauses=True)
    course = np.array([0 if isinstance(frame, Pause) else 40 for frame in heard], np.uint8)
    assert 5 < np.count_nonzero(course == 0) < len(course) - 40
    made = encode_courses(harmonic_codec, said, [course, np.full(len(course), 9, np.uint8)], 1)[0].first
    for code, bits, frame in zip(made, course, heard, strict=True):
        if bits:
            assert frame.payload == np.packbits(code[:bits].astype(np.uint8)).tobytes()


def test_what_is_asked_for_brings_the_vocoder_nearer() -> None:
    """Heard again with it, segments of real speech lack less."""
    codec, frames = voicelink.load_codec(), windows(speech(1, 4.0), 300)
    mels = [log_mel_frame(window) for window in frames]
    first, again = Compensation(codec.engine), Compensation(codec.engine)
    asked = np.stack([first.step(mel, window) for mel, window in zip(mels, frames, strict=True)])
    more = np.stack(mels) + share(64) * asked
    left = np.stack([again.step(mel, window) for mel, window in zip(more, frames, strict=True)])
    assert np.abs(left).mean() < 0.9 * np.abs(asked).mean()
