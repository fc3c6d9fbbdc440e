"""Alignment finds known shifts, to the sample, in either polarity."""

from __future__ import annotations

import numpy as np
import pytest

from tests.experiments.speech import RATE_HZ, speech_like
from voicelink.experiments.alignment import align, apply

SPEECH = speech_like(2.0)


def shifted(samples: int) -> np.ndarray:
    late = np.concatenate([np.zeros(max(0, samples), np.float32), SPEECH[max(0, -samples) :]])
    return (0.3 * late).astype(np.float32)


@pytest.mark.parametrize("shift", [0, 1, -1, 37, -512, 4410, -4409])
@pytest.mark.parametrize("sign", [1, -1])
def test_a_known_shift_is_found_to_the_sample_in_either_polarity(shift: int, sign: int) -> None:
    rng = np.random.default_rng(1)
    decoded = sign * shifted(shift)
    decoded = (decoded + 0.01 * rng.standard_normal(len(decoded))).astype(np.float32)
    found = align(SPEECH, decoded, RATE_HZ)
    assert (found.shift_samples, found.inverted, found.by) == (shift, sign < 0, "waveform")
    assert found.correlation > 0.7
    a, b = apply(found, SPEECH, decoded)
    assert len(a) == len(b) >= len(SPEECH) - abs(shift)
    assert np.corrcoef(a, b)[0, 1] > 0.9


@pytest.mark.parametrize("shift", [0, 441, -900])
def test_without_a_common_phase_the_envelopes_decide(shift: int) -> None:
    """A vocoder keeps the envelope and not the phase: here noise with the speech's envelope."""
    rng = np.random.default_rng(2)
    envelope = np.convolve(np.abs(SPEECH), np.ones(200) / 200, mode="same")
    vocoded = (envelope * rng.standard_normal(len(SPEECH))).astype(np.float32)
    late = np.concatenate([np.zeros(max(0, shift), np.float32), vocoded[max(0, -shift) :]])
    found = align(SPEECH, late, RATE_HZ)
    assert found.by == "envelope"
    assert abs(found.shift_samples - shift) <= 0.003 * RATE_HZ


def test_the_search_is_bounded() -> None:
    found = align(SPEECH, shifted(9_000), RATE_HZ, max_shift_s=0.1)
    assert abs(found.shift_samples) <= 2_205


def test_silence_aligns_at_zero() -> None:
    silence = np.zeros(5_000, np.float32)
    for pair in ((silence, silence), (SPEECH, silence), (silence, SPEECH)):
        found = align(*pair, RATE_HZ)
        assert (found.shift_samples, found.correlation) == (0, 0.0)
