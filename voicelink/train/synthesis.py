"""Differentiable batch twin of `codec.excitation`: spectra of many segments -> waveforms, in torch.

A test holds it against the numpy synthesis that calls use.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from voicelink.codec.excitation import IDLE_F0_HZ, SEGMENT_SAMPLES
from voicelink.codec.harmonic import Spectrum
from voicelink.units import FRAME_SAMPLES, SAMPLE_RATE_HZ

HOP = FRAME_SAMPLES


def border_tracks(f0_hz: Tensor, voiced: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """F0 and amplitude at both borders of each hop from tracks at borders [B, J] -> four [B, J - 1].

    Where one border is unvoiced it takes the F0 of the other, so that pitch does not chirp at an onset.
    """
    f0, f1, v0, v1 = f0_hz[:, :-1], f0_hz[:, 1:], voiced[:, :-1], voiced[:, 1:]
    start = torch.where(v0 > 0, f0, torch.where(v1 > 0, f1, torch.full_like(f0, IDLE_F0_HZ)))
    end = torch.where(v1 > 0, f1, start)
    return start, end, v0, v1


def pulse_train(f0_hz: Tensor, voiced: Tensor, initial_phase: Tensor) -> Tensor:
    """Band-limited pulse train of unit power [B, 256 (J - 1)] from tracks at hop borders [B, J].

    `initial_phase` [B] in cycles. Sum of all cosines below half the sampling rate by the closed form of the
    Dirichlet kernel.
    """
    start, end, a0, a1 = border_tracks(f0_hz, voiced)
    ramp = torch.arange(HOP, device=f0_hz.device, dtype=torch.float64) / HOP
    f = start[..., None].double() + (end - start)[..., None].double() * ramp
    amplitude = a0[..., None] + (a1 - a0)[..., None] * ramp.float()
    batch = f.shape[0]
    advance = (f / SAMPLE_RATE_HZ).reshape(batch, -1)
    cycles = torch.cumsum(advance, dim=1) - advance + initial_phase[:, None].double()
    cycles = (cycles - torch.floor(cycles)).float().reshape(f.shape)
    harmonics = torch.floor(SAMPLE_RATE_HZ / 2 / torch.maximum(start, end))[..., None]
    half = math.pi * cycles
    low = torch.sin(half)
    safe = torch.where(low.abs() < 1e-4, torch.ones_like(low), low)
    kernel = (torch.sin((2 * harmonics + 1) * half) / safe - 1) / 2
    kernel = torch.where(low.abs() < 1e-4, harmonics.expand_as(kernel), kernel)
    return (kernel * torch.sqrt(2 / harmonics) * amplitude).reshape(batch, -1)


def synthesise(spectrum: Spectrum, pulses: Tensor, noise: Tensor) -> Tensor:
    """Overlap-added segments: spectra of T frames, excitations [B, 256 (T + 1)] -> [B, 256 (T + 1)].

    The first and the last 256 samples lack their second segment and are to be left out by the caller.
    """
    made = segments(spectrum, pulses, noise)
    first, second = made[..., :HOP], made[..., HOP:]
    batch, frames = made.shape[:2]
    zero = torch.zeros(batch, 1, HOP, device=pulses.device)
    return (torch.cat([first, zero], dim=1) + torch.cat([zero, second], dim=1)).reshape(batch, HOP * (frames + 1))


def segments(spectrum: Spectrum, pulses: Tensor, noise: Tensor) -> Tensor:
    """Windowed segments [B, T, 512], before they are added; arguments as of `synthesise`."""
    device = pulses.device
    window = torch.sin(math.pi * (torch.arange(SEGMENT_SAMPLES, device=device) + 0.5) / SEGMENT_SAMPLES)
    harmonic_bins = torch.fft.rfft(pulses.unfold(1, SEGMENT_SAMPLES, HOP) * window)
    noise_bins = torch.fft.rfft(noise.unfold(1, SEGMENT_SAMPLES, HOP) * window)
    gain = torch.exp(spectrum.harmonic_log_gain)
    turn = torch.complex(gain * torch.cos(spectrum.phase), gain * torch.sin(spectrum.phase))
    bins = harmonic_bins * turn + noise_bins * torch.exp(spectrum.noise_log_gain)
    return torch.fft.irfft(bins, n=SEGMENT_SAMPLES) * window
