from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voicelink.audio.resampler import StreamResampler, resample

RATES = [
    (48_000, 22_050),
    (22_050, 48_000),
    (44_100, 22_050),
    (16_000, 22_050),
    (22_050, 8_000),
    (11_025, 22_050),
]


def stream(x: np.ndarray, from_hz: int, to_hz: int, cuts: list[int]) -> np.ndarray:
    resampler = StreamResampler(from_hz, to_hz)
    blocks = [resampler.push(block) for block in np.split(x, sorted(min(c, len(x)) for c in cuts))]
    return np.concatenate([*blocks, resampler.flush()])


def sines(n: int, rate: int, hz: list[float]) -> np.ndarray:
    t = np.arange(n) / rate
    return sum(0.3 * np.sin(2 * np.pi * f * t) for f in hz).astype(np.float32)


@settings(max_examples=40, deadline=None)
@given(
    rates=st.sampled_from(RATES),
    n=st.integers(0, 2_000),
    cuts=st.lists(st.integers(0, 2_000)),
    seed=st.integers(0, 99),
)
def test_output_does_not_depend_on_the_blocks(rates: tuple[int, int], n: int, cuts: list[int], seed: int) -> None:
    x = np.random.default_rng(seed).standard_normal(n).astype(np.float32)
    whole, cut = stream(x, *rates, []), stream(x, *rates, cuts)
    assert len(whole) == -(-n * rates[1] // rates[0])
    assert np.array_equal(whole, cut)


@pytest.mark.parametrize(("from_hz", "to_hz"), RATES)
def test_a_band_below_the_transition_is_kept_in_time_and_level(from_hz: int, to_hz: int) -> None:
    hz = [0.11 * min(from_hz, to_hz), 0.41 * min(from_hz, to_hz)]
    y = stream(sines(from_hz // 2, from_hz, hz), from_hz, to_hz, [100, 777])
    expected = sines(len(y), to_hz, hz)
    inner = slice(200, -200)
    assert np.abs(y - expected)[inner].max() < 1e-3


def test_nothing_folds_back() -> None:
    y = stream(sines(48_000, 48_000, [11_100.0, 15_000.0, 23_000.0]), 48_000, 22_050, [])
    assert np.abs(y[200:-200]).max() < 3e-4


@pytest.mark.parametrize(("from_hz", "to_hz"), RATES)
def test_delay_is_what_is_said_and_short(from_hz: int, to_hz: int) -> None:
    resampler = StreamResampler(from_hz, to_hz)
    given_samples = len(resampler.push(np.zeros(5_000, np.float32)))
    held_back = 5_000 - given_samples * from_hz / to_hz
    assert resampler.delay_samples - from_hz / to_hz <= held_back <= resampler.delay_samples
    assert resampler.delay_samples / from_hz <= 0.0042


def test_equal_rates_pass_through() -> None:
    x = sines(1_000, 22_050, [440.0])
    assert stream(x, 22_050, 22_050, [300]).tobytes() == x.tobytes()


@pytest.mark.parametrize(("from_hz", "to_hz"), RATES)
def test_whole_signal(from_hz: int, to_hz: int) -> None:
    y = resample(sines(from_hz, from_hz, [440.0]), from_hz, to_hz)
    assert len(y) == to_hz
    assert y.dtype == np.float32
    assert np.abs(y - sines(to_hz, to_hz, [440.0]))[500:-500].max() < 1e-3
    assert len(resample(np.zeros(0, np.float32), from_hz, to_hz)) == 0


def test_a_long_block_costs_memory_in_proportion_to_its_own() -> None:
    x = np.zeros(600_000, np.float32)
    resampler = StreamResampler(48_000, 22_050)
    tracemalloc.start()
    try:
        made = resampler.push(x)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(made) == pytest.approx(600_000 * 22_050 / 48_000, abs=40)
    assert peak < 100_000_000  # filtered in one piece: 500 MB


def test_pieces_of_a_long_block_join_without_a_seam(monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.random.default_rng(2).standard_normal(5_000).astype(np.float32)
    whole = stream(x, 48_000, 22_050, [])
    monkeypatch.setattr("voicelink.audio.resampler.PIECE_SAMPLES", 700)
    np.testing.assert_array_equal(stream(x, 48_000, 22_050, []), whole)
