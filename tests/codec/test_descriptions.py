"""Second descriptions: worth a copy alone, more together, and nothing else is changed by them."""

from __future__ import annotations

import numpy as np
import pytest

from tests.models import speech_like
from voicelink.audio.files import read_audio
from voicelink.audio.resampler import resample
from voicelink.codec import decoding
from voicelink.codec.api import Codec, load_codec
from voicelink.codec.bits import sent_mask, unpack_code, unpack_second
from voicelink.codec.courses import encode_courses, windows
from voicelink.codec.descriptions import second_code
from voicelink.codec.mel import log_mel_frame
from voicelink.experiments.clips import bundled
from voicelink.frame import Frame
from voicelink.units import SAMPLE_RATE_HZ

FRAMES = 60


@pytest.fixture(scope="module")
def speech() -> np.ndarray:
    return speech_like(256 * (FRAMES + 2))


def coded(codec: Codec, speech: np.ndarray, *, twice: bool, rounds: int = 1, bits: int = 64) -> list[Frame]:
    encoder = codec.encoder(bits=bits, rounds=rounds)
    encoder.describes_twice = twice
    return encoder.push(speech)


def test_two_descriptions_tell_more_than_either() -> None:
    """Of the shipped model on real speech."""
    engine = load_codec(engine="torch").engine
    samples = resample(*read_audio(bundled()["english-male"]), SAMPLE_RATE_HZ)
    sent, state = sent_mask(64)[None], engine.coder_state()
    errors = []
    for window in windows(samples[22_050:], 80):
        mel = log_mel_frame(window)[None]
        _, one, following = engine.encode_step(mel, sent, state, 2)
        other, _ = engine.decode_step(second_code(engine, mel, one, sent, state, 2), state)
        errors.append([np.abs(made - mel).mean() for made in (one, other, (one + other) / 2)])
        state = following
    one, other, both = np.mean(errors[20:], axis=0)
    assert both < 0.97 * one
    assert other < 1.05 * one


def test_the_first_codes_are_those_of_an_encoder_without(harmonic_codec: Codec, speech: np.ndarray) -> None:
    plain, twice = (coded(harmonic_codec, speech, twice=which) for which in (False, True))
    assert [frame.payload for frame in twice] == [frame.payload for frame in plain]
    assert all(frame.second and not other.second for frame, other in zip(twice, plain, strict=True))
    assert any(frame.second != frame.payload for frame in twice)


def test_there_are_none_without_the_search(harmonic_codec: Codec, speech: np.ndarray) -> None:
    assert not any(frame.second for frame in coded(harmonic_codec, speech, twice=True, rounds=0))


def test_the_mean_is_heard_and_the_state_follows_the_first(harmonic_codec: Codec, speech: np.ndarray) -> None:
    decoder, plain = harmonic_codec.decoder(), harmonic_codec.decoder()
    for frame in coded(harmonic_codec, speech, twice=True, bits=20):
        second = unpack_second(frame)
        assert second is not None
        steps = decoding.play(decoder.state.coder, frame.index, second[None], frame.bits)
        alone, _ = decoding.run(harmonic_codec.engine, steps)
        decoder.play(frame)
        plain.play(Frame(frame.index, frame.bits, frame.payload))
        np.testing.assert_array_equal(decoder.state.coder.state, plain.state.coder.state)
        np.testing.assert_allclose(decoder.state.coder.mel, (alone + plain.state.coder.mel) / 2, atol=1e-6)


def test_courses_have_the_same(harmonic_codec: Codec, speech: np.ndarray) -> None:
    frames = coded(harmonic_codec, speech, twice=True)[:40]
    course = np.full(len(frames), 64, np.uint8)
    made, plain = (encode_courses(harmonic_codec, speech, [course], 1, twice=twice)[0] for twice in (True, False))
    np.testing.assert_array_equal(made.first, np.stack([unpack_code(frame) for frame in frames]))
    np.testing.assert_array_equal(made.second, np.stack([unpack_second(frame) for frame in frames]))
    np.testing.assert_array_equal(made.first, plain.first)
    assert plain.second is None
