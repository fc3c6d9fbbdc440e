"""Differentiable relatives of PESQ and ESTOI, as training losses. All in float32.

Both follow the published measures step by step as far as a batch of short, time-aligned segments allows; a test holds
them against the reference implementations. They steer training toward what a listener notices of an error, where a
log-spectral distance weighs every band of every frame alike. They stand beside spectral losses and discriminators,
never alone: a measure that is trained on alone is soon satisfied in ways nobody wants to hear.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from voicelink.codec.mel import band_shares
from voicelink.units import SAMPLE_RATE_HZ

#: Samples of 22.05 kHz are analysed with the measures' own window lengths, zero-padded to this.
N_FFT = 1024
ACTIVE_RANGE_DB = 40.0

# ITU-T P.862 at 16 kHz, one value a Bark band: bins of 31.25 Hz, width in Bark, density correction, hearing threshold.
_BINS = "1 1 1 1 1 1 1 1 2 1 1 1 1 1 2 1 1 2 2 2 2 2 2 2 2 3 3 3 3 4 3 4 5 4 5 6 6 7 8 9 9 12 12 15 16 18 21 25 20"
_WIDTH_BARK = (
    ".1573 .3180 .3224 .3269 .3315 .3361 .3407 .3454 .3501 .3549 .3597 .3646 .3695 .3745 .3796 .3847 .3898 .3950 .4002 "
    ".4055 .4109 .4163 .4218 .4273 .4329 .4385 .4442 .4500 .4558 .4616 .4676 .4736 .4796 .4857 .4919 .4982 .5045 .5108 "
    ".5173 .5237 .5303 .5369 .5436 .5504 .5572 .5641 .5711 .5781 .5852"
)
_CORRECTION = (
    "100 100 100 100 100 100 100 100 50 100 100 100 100 100 53.05 110 117.99 65 68.76 70 71.43 75 76.84 80.97 88.65 "
    "63.86 68.16 72.55 75.58 58.38 80.95 64.14 54.38 73.82 64.44 59.18 65.52 61.4 58.14 57 64.13 54.31 61.11 55.08 "
    "56.85 55.63 53.14 54.99 79.55"
)
_THRESHOLD = (
    "51286152 2454709.5 70794.6 4897.79 1174.9 389.045 104.713 45.7088 17.7828 9.77237 4.89779 3.0903 1.90546 1.25893 "
    ".977237 .724436 .562341 .457088 .389045 .331131 .295121 .269153 .25704 .251189 .251189 .251189 .251189 .263027 "
    ".288403 .30903 .338844 .371535 .398107 .436516 .467735 .489779 .501187 .501187 .512861 .524807 .524807 .524807 "
    ".512861 .47863 .42658 .371535 .363078 .416869 .537032"
)
_BIN_HZ = 31.25
_POWER_SCALE = 6.910853e-6
_LOUDNESS_SCALE = 0.1866055
_ALIGNED_POWER = 1e7  # of speech between 325 and 3250 Hz


class PesqDistance(nn.Module):
    """0.1 * symmetric + 0.0309 * asymmetric disturbance of ITU-T P.862.2, for segments that are aligned in time.

    Left out: time alignment, and the equalisation of the reference over the whole file, which would forgive filtering
    that a codec has no reason for. Level alignment takes the level of the whole clip, so that a pause is not blown
    up to the level of speech.
    """

    def __init__(self) -> None:
        super().__init__()
        self.window_samples = round(0.032 * SAMPLE_RATE_HZ)
        self.register_buffer("window", torch.hann_window(self.window_samples), persistent=False)
        edges_hz = np.concatenate([[0.0], np.cumsum(_numbers(_BINS))]) * _BIN_HZ
        bank = _band_matrix(edges_hz) * _numbers(_CORRECTION) * _POWER_SCALE
        power_of_padding = 512**2 / (self.window_samples * N_FFT)
        bank[0] = 0  # the standard leaves out the mean
        bank *= _wide_band_filter(_bin_hz())[:, None] * power_of_padding
        width = _numbers(_WIDTH_BARK)
        centre = np.cumsum(width) - width / 2
        width[0] = 0  # ... and the first band
        for name, value in {
            "bank": bank,
            "width": width,
            "top_hz": edges_hz[1:],
            "threshold": _numbers(_THRESHOLD),
            "exponent": 0.23 * np.clip(6 / (centre + 2), 1, 2) ** 0.15,
        }.items():
            self.register_buffer(name, torch.from_numpy(value).float(), persistent=False)

    def forward(self, made: Tensor, true: Tensor, band_hz: Tensor, level: Tensor) -> Tensor:
        """made, true [B, n] samples; band_hz [B]; level [B] rms of the whole clip, 325 to 3250 Hz -> distance [B]."""
        keep = (self.top_hz <= band_hz[:, None]).float() * (_ALIGNED_POWER / level.square().clamp(min=1e-12))[:, None]
        a, b = ((_power(x, self.window) @ self.bank) * keep[:, None] for x in (made, true))
        ratio = (self._audible(b) + 5e3) / (self._audible(a) + 5e3)
        ratio = torch.cat([ratio[:, :1], 0.8 * ratio[:, 1:] + 0.2 * ratio[:, :-1]], dim=1).clamp(3e-4, 5.0)
        a = a * ratio[..., None]
        loud_a, loud_b = self._loudness(a), self._loudness(b)
        masked = 0.25 * torch.minimum(loud_a, loud_b)
        difference = ((loud_a - loud_b).abs() - masked).clamp(min=0) * self.width
        symmetric = (self.width.sum() * difference.square().sum(2) + 1e-6).sqrt()
        added = ((a + 50) / (b + 50)) ** 1.2
        asymmetric = (difference * torch.where(added < 3, torch.zeros_like(added), added.clamp(max=12))).sum(2)
        weight = ((self._audible(b) + 1e5) / 1e7) ** 0.04
        distances = [_over_time((d / weight).clamp(max=45)) for d in (symmetric, asymmetric)]
        return 0.1 * distances[0] + 0.0309 * distances[1]

    def _audible(self, power: Tensor) -> Tensor:
        """Power above the hearing threshold, over bands -> [B, T]."""
        return (power * (power > self.threshold)).sum(dim=2)

    def _loudness(self, power: Tensor) -> Tensor:
        """Zwicker's loudness as in the standard; zero below the threshold."""
        above = (power / self.threshold).clamp(min=1.0)
        return _LOUDNESS_SCALE * (2 * self.threshold) ** self.exponent * ((0.5 + 0.5 * above) ** self.exponent - 1)


class EstoiDistance(nn.Module):
    """1 - ESTOI (Jensen and Taal, IEEE/ACM TASLP 24, 2016) over windows of 384 ms; 0 for segments too short for one.

    Frames more than 40 dB below the loudest level of the clip are left out of the mean by windows, not cut out of the
    signal.
    """

    FRAMES = 30
    BANDS = 15

    def __init__(self) -> None:
        super().__init__()
        self.window_samples = round(0.0256 * SAMPLE_RATE_HZ)
        self.register_buffer("window", torch.hann_window(self.window_samples), persistent=False)
        centre = 150 * 2 ** (np.arange(self.BANDS) / 3)
        edges = np.concatenate([centre * 2 ** (-1 / 6), centre[-1:] * 2 ** (1 / 6)])
        self.register_buffer("bank", torch.from_numpy(_band_matrix(edges)).float(), persistent=False)

    def forward(self, made: Tensor, true: Tensor, level: Tensor) -> Tensor:
        """made, true [B, n] samples, level [B] as in `PesqDistance` -> mean distance of active windows, scalar."""
        power_a, power_b = (_power(x, self.window) @ self.bank for x in (made, true))
        frame = power_b.sum(2) / (self.window_samples * N_FFT / 2 * 0.375)
        if frame.shape[1] < self.FRAMES:
            return frame.new_zeros(())
        active = (frame > level.square()[:, None] * 10 ** ((6 - ACTIVE_RANGE_DB) / 10)).float()
        weight = active.unfold(1, self.FRAMES, 1).mean(2)
        weight = torch.where(weight > 0.5, weight, torch.zeros_like(weight))
        correlation = (self._normalised(power_a) * self._normalised(power_b)).sum((2, 3)) / self.FRAMES
        return ((1 - correlation) * weight).sum() / weight.sum().clamp(min=1)

    def _normalised(self, power: Tensor) -> Tensor:
        """[B, T, bands] -> [B, windows, bands, 30]: zero mean and unit norm over time, then over bands."""
        x = (power + 1e-9).sqrt().unfold(1, self.FRAMES, 1)
        return unit(unit(x, dim=3), dim=2)


def unit(x: Tensor, dim: int) -> Tensor:
    """Zero mean and unit norm along `dim`."""
    x = x - x.mean(dim=dim, keepdim=True)
    return x / (x.square().sum(dim=dim, keepdim=True) + 1e-9).sqrt()


def _over_time(disturbance: Tensor) -> Tensor:
    """[B, T] -> [B]: sixth-power mean over windows of 20 frames, square mean over those."""
    windows = disturbance.unfold(1, min(20, disturbance.shape[1]), 10)
    return (windows**6).mean(2).clamp(min=1e-12).pow(1 / 3).mean(1).sqrt()


def _power(x: Tensor, window: Tensor) -> Tensor:
    """Power spectra [B, T, N_FFT / 2 + 1] at half-overlapping windows."""
    bins = torch.fft.rfft(x.unfold(-1, len(window), len(window) // 2) * window, n=N_FFT)
    return bins.real**2 + bins.imag**2


def _bin_hz() -> NDArray[np.float64]:
    return np.arange(N_FFT // 2 + 1) * SAMPLE_RATE_HZ / N_FFT


def _band_matrix(edges_hz: NDArray[np.float64]) -> NDArray[np.float64]:
    """[bins, bands]: which part of each bin's width lies in a band."""
    return band_shares(edges_hz[:-1], edges_hz[1:], N_FFT)


def _wide_band_filter(hz: NDArray[np.float64]) -> NDArray[np.float64]:
    """Power response of the wide-band input filter of P.862.2 (a second-order section at 16 kHz)."""
    z = np.exp(-2j * math.pi * np.minimum(hz, 8000) / 16_000)
    response = 2.740826 * (1 - 2 * z + z**2) / (1 - 1.9444777 * z + 0.94597794 * z**2)
    return np.abs(response) ** 2


def _numbers(text: str) -> NDArray[np.float64]:
    return np.array(text.split(), np.float64)
