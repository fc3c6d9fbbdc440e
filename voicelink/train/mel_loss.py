"""Distance of coded log-mel frames from true ones, weighted by what can be heard of it."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from voicelink.codec.mel import N_MELS, mel_filter_bank
from voicelink.train.perceptual import unit
from voicelink.units import SAMPLE_RATE_HZ, WINDOW_SAMPLES

#: Frames of one ESTOI window (384 ms).
ESTOI_FRAMES = 33


class MelDistance(nn.Module):
    """Weighted L1 of log mels plus `estoi_weight` times an ESTOI distance of mel magnitudes.

    At a fixed rate, bits that describe what is 40 dB below the speech are missing where they would be heard. Bands far
    below the level of the utterance, in the true and in the coded frame alike, weigh `quiet_weight`, those at it 1 (a
    logistic curve with its middle 28 dB below the level; 1 everywhere: plain L1). The second term compares envelopes
    of third-octave bands over 384 ms as ESTOI does (Jensen and Taal, IEEE/ACM TASLP 24, 2016).
    """

    MIDDLE = 28 / 8.686
    SLOPE = 5 / 8.686

    def __init__(self, quiet_weight: float, estoi_weight: float) -> None:
        super().__init__()
        self.quiet_weight, self.estoi_weight = quiet_weight, estoi_weight
        bank = mel_filter_bank()
        hz = np.arange(bank.shape[1]) * SAMPLE_RATE_HZ / WINDOW_SAMPLES
        centre = (bank @ hz) / bank.sum(axis=1)
        third = 150 * 2 ** (np.arange(15) / 3)
        nearest = np.abs(np.log2(centre[:, None] / third)) < 1 / 6
        # A mel band is a weighted mean of magnitudes: its width gives back the sum.
        widths = 1 / bank.max(axis=1)
        empty = ~nearest.any(axis=0)
        nearest[np.abs(np.log2(centre[:, None] / third[empty])).argmin(axis=0), np.flatnonzero(empty)] = True
        self.register_buffer("thirds", torch.from_numpy(nearest * widths[:, None]).float(), persistent=False)
        # What loud bands of speech at level 1 reach, with half of speech's own tilt (95th percentiles: 2.4 to -1.8).
        self.register_buffer("loud", torch.linspace(1.5, 0.0, N_MELS), persistent=False)

    def forward(self, made: Tensor, true: Tensor, level: Tensor) -> Tensor:
        """made, true [B, T, 80] natural-log mels; level [B] rms of the clip's speech -> scalar."""
        louder = torch.maximum(true, made.detach())
        above = louder - (torch.log(level)[:, None, None] + self.loud) + self.MIDDLE
        weight = self.quiet_weight + (1 - self.quiet_weight) * torch.sigmoid(above / self.SLOPE)
        total = (weight * (made - true).abs()).mean()
        if self.estoi_weight and made.shape[1] >= ESTOI_FRAMES:
            total = total + self.estoi_weight * self._estoi(made, true, weight)
        return total

    def _estoi(self, made: Tensor, true: Tensor, weight: Tensor) -> Tensor:
        a, b = (unit(unit(self._bands(x), dim=3), dim=2) for x in (made, true))
        active = weight.mean(dim=2).unfold(1, ESTOI_FRAMES, 5).mean(dim=2)
        correlation = (a * b).sum(dim=(2, 3)) / ESTOI_FRAMES
        return ((1 - correlation) * active).sum() / active.sum()

    def _bands(self, mel: Tensor) -> Tensor:
        """[B, T, 80] -> [B, windows, 15, 33] magnitudes of third octaves."""
        power = torch.exp(2 * mel) @ self.thirds
        return (power + 1e-9).sqrt().unfold(1, ESTOI_FRAMES, 5)
