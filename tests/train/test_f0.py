"""The pitch track that training learns from."""

import numpy as np
import pytest

from voicelink.train.f0 import f0_track

RATE_HZ = 22_050


def pulses(f0_hz: np.ndarray) -> np.ndarray:
    """A voice of ten falling harmonics whose pitch is `f0_hz` sample by sample."""
    phase = 2 * np.pi * np.cumsum(f0_hz) / RATE_HZ
    return (0.1 * sum(np.sin(k * phase) / k for k in range(1, 11))).astype(np.float32)


@pytest.mark.parametrize("f0_hz", [75.0, 120.0, 233.0, 440.0])
def test_a_steady_pitch_is_found(f0_hz: float) -> None:
    track = f0_track(pulses(np.full(RATE_HZ, f0_hz)))[6:-6]
    assert (track > 0).all()
    assert np.abs(np.log2(track / f0_hz)).max() < 0.01


def test_a_glide_is_found_where_it_is() -> None:
    glide = np.geomspace(100, 300, 2 * RATE_HZ)
    track = f0_track(pulses(glide))
    assert np.abs(np.log2(track[6:-6] / glide[::256][: len(track)][6:-6])).max() < 0.01


def test_noise_and_silence_have_no_pitch() -> None:
    rng = np.random.default_rng(1)
    voice, hiss = pulses(np.full(RATE_HZ, 150.0)), 0.003 * rng.standard_normal(RATE_HZ)
    track = f0_track(np.concatenate([voice, hiss, np.zeros(RATE_HZ)]).astype(np.float32))
    assert (track[6:80] > 0).all()
    assert (track[92:] > 0).mean() < 0.05


@pytest.mark.parametrize("samples", [0, 100, 256, 3000])
def test_pieces_too_short_for_a_pitch(samples: int) -> None:
    assert not f0_track(np.zeros(samples, np.float32)).any()
    assert len(f0_track(pulses(np.full(samples, 200.0)))) == samples // 256


def test_a_border_between_pieces_is_not_seen() -> None:
    voice = pulses(np.full(256 * 2100, 180.0))
    track = f0_track(voice)
    assert np.abs(np.log2(track[1900:2090] / 180.0)).max() < 0.01
