"""Low-fluctuation noise: white, steady wherever one looks, and what the code makes."""

import numpy as np
import pytest

from voicelink.codec.noise import FILE, HOPS, make_loop, noise_hops, noise_loop

LOOP = np.concatenate([noise_loop().ravel(), noise_loop()[:4].ravel()])  # over the seam, too


def fluctuation(samples: np.ndarray, window: int, first: int) -> float:
    """Standard deviation of short-time spectra over their mean."""
    segments = np.lib.stride_tricks.sliding_window_view(samples, window)[first :: window // 2]
    spectra = np.abs(np.fft.rfft(segments * np.hanning(window)))[:, 2:-2]
    return float(spectra.std() / spectra.mean())


def test_noise_is_white_and_of_unit_power() -> None:
    """Hops must not be shifted copies of each other: that is heard as a fixed line spectrum."""
    noise = noise_loop().ravel()
    assert np.mean(noise**2) == pytest.approx(1.0)
    correlation = np.fft.irfft(np.abs(np.fft.rfft(noise)) ** 2)[1 : len(noise) // 2] / len(noise)
    assert np.abs(correlation).max() < 0.03
    assert np.mean(noise**4) == pytest.approx(3.0, abs=0.1)  # no pulses


@pytest.mark.parametrize("first", [0, 77, 128])
def test_noise_fluctuates_less_than_gaussian_noise_wherever_one_looks(first: int) -> None:
    gaussian = np.random.default_rng(3).standard_normal(len(LOOP))
    assert fluctuation(gaussian, 512, first) > 0.5
    assert fluctuation(LOOP, 512, first) < 0.3


def test_the_seam_is_like_any_other_place() -> None:
    seam = np.roll(noise_loop().ravel(), 2048)[:4096]
    assert fluctuation(seam, 512, 0) < 0.32


def test_hops_go_round_and_cannot_be_written() -> None:
    assert np.array_equal(noise_hops(HOPS + 7), noise_hops(7))
    assert not np.array_equal(noise_hops(8), noise_hops(7))
    with pytest.raises(ValueError, match="read-only"):
        noise_hops(7)[0] = 1.0


def test_file_is_what_the_code_makes() -> None:
    difference = make_loop().astype(int) - np.load(FILE)
    assert np.mean(np.abs(difference) <= 1) > 0.999
