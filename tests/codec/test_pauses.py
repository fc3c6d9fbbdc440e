"""Pauses of speech: where they are, what the background is told to be like, and two coders that stay together."""

from __future__ import annotations

import numpy as np
import pytest

from tests.models import speech_like
from voicelink.codec import decoding
from voicelink.codec.api import Codec
from voicelink.codec.mel import log_mel
from voicelink.codec.pauses import FIRST_HANGOVER, HANGOVER, PauseDetector, pack_noise, spread, unpack_noise
from voicelink.frame import Frame, Pause
from voicelink.units import FRAME_SAMPLES

RATE = 22_050


def talk(noise: float, *, gain: float = 1.0, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Two seconds of speech, two of silence, twice; and of each frame whether it holds speech."""
    spoken = np.tile(np.repeat([1.0, 0.0], 2 * RATE), 2).astype(np.float32)
    speech = speech_like(len(spoken)) * spoken * gain
    heard = speech + noise * np.random.default_rng(seed).standard_normal(len(speech))
    frames = len(speech) // FRAME_SAMPLES
    speaks = spoken[: frames * FRAME_SAMPLES].reshape(frames, FRAME_SAMPLES).any(axis=1)
    return heard.astype(np.float32), speaks


def pauses(speech: np.ndarray) -> np.ndarray:
    detector = PauseDetector()
    return np.array([detector.step(mel) for mel in log_mel(speech)])


@pytest.mark.parametrize("noise", [0.0, 1e-4, 1e-3, 5e-3])
def test_pauses_are_found_in_any_steady_noise_and_no_speech_is_cut(noise: float) -> None:
    heard, speaks = talk(noise)
    found = pauses(heard)
    loud = np.sqrt(np.mean(speech_frames(heard) ** 2, axis=1)) > 3 * noise + 1e-3
    assert not (found & speaks & loud).any()
    silent = np.flatnonzero(~speaks)
    late = silent[(silent % 344) > 172 + HANGOVER + 4]  # 172 frames of each
    assert found[late].mean() > 0.95


def speech_frames(speech: np.ndarray) -> np.ndarray:
    return speech[: len(speech) // FRAME_SAMPLES * FRAME_SAMPLES].reshape(-1, FRAME_SAMPLES)


def test_noise_that_sets_in_becomes_the_background_after_some_seconds() -> None:
    noise = 0.01 * np.random.default_rng(2).standard_normal(12 * RATE).astype(np.float32)
    noise[: 2 * RATE] *= 0.1
    found = pauses(noise)
    assert found[FIRST_HANGOVER + 2 : 168].all()
    assert not found[174:200].any()
    assert found[-86:].all()


def test_a_pause_begins_after_the_hangover_and_never_at_once() -> None:
    found = pauses(np.zeros(3 * RATE, np.float32))
    assert int(np.argmax(found)) == FIRST_HANGOVER
    t = np.arange(RATE) / RATE
    word = 0.1 * np.sin(2 * np.pi * (300 * t + 100 * t**2))
    found = pauses(np.concatenate([np.zeros(2 * RATE), word, np.zeros(2 * RATE)]).astype(np.float32))
    begins, ends = 2 * RATE // FRAME_SAMPLES, 3 * RATE // FRAME_SAMPLES
    assert not found[begins : ends + HANGOVER].any()
    assert found[FIRST_HANGOVER : begins - 3].all()
    assert found[ends + HANGOVER + 4 :].all()


def test_noise_bytes_are_its_levels() -> None:
    levels = np.linspace(-11.5, 3.5, 8).astype(np.float32)
    assert np.abs(unpack_noise(pack_noise(levels)) - levels).max() <= 1 / 32
    assert pack_noise(np.array([-50.0] * 4 + [50.0] * 4, np.float32)) == bytes([0] * 4 + [255] * 4)
    heard, _ = talk(3e-3)
    detector = PauseDetector()
    for mel in log_mel(heard):
        detector.step(mel)
    background = log_mel(heard)[-100:].reshape(-1, 8, 10).mean(axis=(0, 2))
    assert np.abs(unpack_noise(detector.noise) - background).max() < 0.25  # 2 dB


def test_the_background_keeps_its_finer_shape_at_the_levels_told() -> None:
    comfort = (-6 + np.sin(np.arange(80) * 2.0)).astype(np.float32)[None]
    made = spread(pack_noise(np.full(8, -4.0, np.float32)), comfort)
    assert np.abs(made.reshape(8, 10).mean(axis=1) + 4.0).max() < 0.15
    assert np.corrcoef(made[0], comfort[0])[0, 1] > 0.98


def test_both_coders_stand_still_in_a_pause_and_speech_goes_on_in_step(harmonic_codec: Codec) -> None:
    heard, _ = talk(1e-3)
    encoder = harmonic_codec.encoder(bits=24, pauses=True, rounds=0)
    made = [item for block in np.split(heard, len(heard) // 441) for item in encoder.hear(block)]
    assert [item.index for item in made] == list(range(len(made)))
    left_out = sum(isinstance(item, Pause) for item in made)
    assert left_out > 200
    decoder = harmonic_codec.decoder()
    for item in made:
        if isinstance(item, Frame):
            decoder.play(item)
        else:
            decoder.comfort_noise(item.index, item.noise)
    assert np.array_equal(decoder.state.coder.state, encoder._state)
    plain = harmonic_codec.encoder(bits=24, pauses=True, rounds=0)
    assert len(plain.push(heard)) == len(made) - left_out


def test_without_pauses_every_frame_is_coded(harmonic_codec: Codec) -> None:
    items = harmonic_codec.encoder(bits=24, rounds=0).hear(np.zeros(3 * RATE, np.float32))
    assert all(isinstance(item, Frame) for item in items)
    assert len(items) == 256


def test_what_is_heard_in_a_pause_has_the_level_that_was_told(harmonic_codec: Codec) -> None:
    state = decoding.initial(harmonic_codec.engine)
    noise = pack_noise(np.linspace(-3.0, -7.0, 8).astype(np.float32))
    for index in range(40):
        mel, state = decoding.run(harmonic_codec.engine, decoding.comfort_noise(state, index, noise))
    assert np.abs(mel.reshape(8, 10).mean(axis=1) - unpack_noise(noise)).max() < 0.1
    again, _ = decoding.run(harmonic_codec.engine, decoding.comfort_noise(state, 41))
    assert np.abs(again - mel).max() < 1e-3  # an older way of silence goes on with what was told
