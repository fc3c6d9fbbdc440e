"""Losses of the vocoder on waveforms. All in float32."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from voicelink.codec.mel import INPUT_SCALE, mel_filter_bank
from voicelink.train.data import Segment
from voicelink.train.mos import MosDistance
from voicelink.train.perceptual import EstoiDistance, PesqDistance
from voicelink.train.speaker import SpeakerDistance
from voicelink.units import SAMPLE_RATE_HZ

WEIGHTS = ("spectral", "pesq", "estoi", "mos", "mos_layers", "speaker")


class WaveLoss(nn.Module):
    """Spectral and perceptual losses, each times its weight.

    Recipe keys: `spectral_weight`, `linear_weight`, `pesq_weight`, `estoi_weight`; `mos_weight` for DNSMOS scores below
    the reference's and `mos_layers_weight` for the distance of that network's layers (both 0: it is not loaded);
    `speaker_weight` for speaker similarity (0: its network is not loaded).
    """

    def __init__(self, recipe: dict) -> None:
        super().__init__()
        self.weights = {name: recipe[f"{name}_weight"] for name in WEIGHTS}
        self.spectral = SpectralLoss(linear=recipe["linear_weight"])
        self.pesq, self.estoi = PesqDistance(), EstoiDistance()
        self.mos = MosDistance() if self.weights["mos"] or self.weights["mos_layers"] else None
        self.speaker = SpeakerDistance() if self.weights["speaker"] else None

    def forward(self, made: Tensor, true: Tensor, segment: Segment) -> tuple[Tensor, dict[str, float]]:
        """made, true [B, n] samples of `segment` -> weighted sum, and each loss before weighting."""
        losses = {"spectral": self.spectral(made, true, segment.band_hz)}
        if self.weights["pesq"]:
            losses["pesq"] = self.pesq(made, true, segment.band_hz, segment.level).mean()
        if self.weights["estoi"]:
            losses["estoi"] = self.estoi(made, true, segment.level)
        if self.mos is not None:
            with torch.autocast(made.device.type, torch.bfloat16):
                losses["mos"], losses["mos_layers"] = self.mos(made / INPUT_SCALE, true / INPUT_SCALE)
        if self.speaker is not None:
            losses["speaker"] = self.speaker(made, true, segment.band_hz)
        total = sum((self.weights[name] * loss for name, loss in losses.items()), start=made.new_zeros(()))
        return total, {name: loss.item() for name, loss in losses.items()}


class SpectralLoss(nn.Module):
    """Mean over resolutions of L1 between log10 mel and between power-0.3 compressed magnitudes.

    Log-mel L1 at several resolutions as in Kumar et al. (DAC, NeurIPS 2023); the compressed linear magnitudes
    weigh loud harmonics, on which listeners and PESQ depend, finer than mel bands can.
    Bands above `band_hz` of an item are left out: a source that was low-passed must not teach silence there.
    """

    def __init__(
        self,
        fft_sizes: tuple[int, ...] = (2048, 1024, 512, 256),
        mels: tuple[int, ...] = (160, 128, 80, 40),
        linear: float = 1.0,
    ) -> None:
        super().__init__()
        self.fft_sizes, self.linear = fft_sizes, linear
        for n_fft, n_mels in zip(fft_sizes, mels, strict=True):
            bank = mel_filter_bank(n_fft, n_mels, SAMPLE_RATE_HZ / 2)
            top_hz = [np.flatnonzero(row)[-1] * SAMPLE_RATE_HZ / n_fft if row.any() else 0.0 for row in bank]
            self.register_buffer(f"bank_{n_fft}", torch.from_numpy(bank).T.contiguous())
            self.register_buffer(f"top_{n_fft}", torch.tensor(np.array(top_hz, np.float32)))
            self.register_buffer(f"window_{n_fft}", torch.hann_window(n_fft))

    def forward(self, made: Tensor, true: Tensor, band_hz: Tensor) -> Tensor:
        """made, true [B, n] samples; band_hz [B] -> scalar."""
        total = made.new_zeros(())
        for n_fft in self.fft_sizes:
            total = total + self._one(made, true, band_hz, n_fft)
        return total / len(self.fft_sizes)

    def _one(self, made: Tensor, true: Tensor, band_hz: Tensor, n_fft: int) -> Tensor:
        window, bank = getattr(self, f"window_{n_fft}"), getattr(self, f"bank_{n_fft}")
        a, b = (_magnitude(x, n_fft, window) for x in (made, true))
        keep = (getattr(self, f"top_{n_fft}") <= band_hz[:, None]).float()[:, None]
        log_a, log_b = (torch.log10((m @ bank).clamp(min=1e-5)) for m in (a, b))
        loss = _masked_mean((log_a - log_b).abs(), keep)
        if self.linear:
            hz = torch.arange(n_fft // 2 + 1, device=made.device) * (SAMPLE_RATE_HZ / n_fft)
            keep = (hz <= band_hz[:, None]).float()[:, None]
            scale = b.pow(0.3).mean(dim=(1, 2), keepdim=True) + 1e-3
            loss = loss + self.linear * _masked_mean((a.pow(0.3) - b.pow(0.3)).abs() / scale, keep) * 0.3
        return loss


def _magnitude(x: Tensor, n_fft: int, window: Tensor) -> Tensor:
    bins = torch.fft.rfft(x.unfold(-1, n_fft, n_fft // 4) * window)
    return torch.sqrt(bins.real**2 + bins.imag**2 + 1e-8)


def _masked_mean(x: Tensor, keep: Tensor) -> Tensor:
    return (x * keep).sum() / keep.expand_as(x).sum().clamp(min=1)
