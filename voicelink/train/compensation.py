"""Batch twin of `codec.compensation`, in torch: the vocoder is to learn from mels as a searching encoder asks for them.

A test holds it against the numpy form that encoders use.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from voicelink.codec.compensation import BANK, FLOOR, MOST, TO_MEL, share
from voicelink.codec.excitation import IDLE_F0_HZ, SEGMENT_SAMPLES, WINDOW
from voicelink.codec.harmonic import HarmonicVocoder
from voicelink.codec.mel import PAD_LEFT
from voicelink.train.synthesis import pulse_train, segments
from voicelink.train.vocoder import some_noise, zero_states
from voicelink.units import FRAME_SAMPLES, SAMPLE_RATE_HZ


def compensated(model: HarmonicVocoder, mel: Tensor, audio: Tensor, bits: Tensor) -> Tensor:
    """True mels [B, T, 80] of scaled samples [B, 256 T + 768] as an encoder asks for them at `bits` [B] a frame.

    The vocoder starts from its zero state, so what is added to the first dozen frames is worth little.
    """
    shares = torch.tensor([share(int(n)) for n in bits], device=mel.device)
    return mel + shares[:, None, None] * lacks(model, mel, audio)


@torch.no_grad()
def lacks(model: HarmonicVocoder, mel: Tensor, audio: Tensor, first_hop: int | None = None) -> Tensor:
    """What mels [B, T, 80] lack, nepers; arguments as above. Noise from hop `first_hop` of its loop on, else any."""
    states = zero_states(model, mel)
    logits, _ = model.f0_logits(mel, states[0])
    f0_hz, voiced = model.decode_f0(logits)
    spectrum, _ = model.spectrum(mel, f0_hz, voiced, states[1])
    batch, frames = mel.shape[:2]
    # Two unvoiced borders come before that of frame 0; the phase is to be zero at the second.
    phase = torch.full((batch,), -IDLE_F0_HZ * FRAME_SAMPLES / SAMPLE_RATE_HZ, device=mel.device)
    pulses = pulse_train(F.pad(f0_hz, (2, 0)), F.pad(voiced, (2, 0)), phase)
    noise = some_noise(batch, frames + 1, first_hop).to(mel.device)
    made = segments(spectrum, pulses, noise)
    window = torch.from_numpy(WINDOW**2).float().to(mel.device)
    true = audio[:, PAD_LEFT:].unfold(1, SEGMENT_SAMPLES, FRAME_SAMPLES)[:, :frames] * window
    missed = (_levels(true) - _levels(made)).clamp(-MOST, MOST)
    return missed @ torch.from_numpy(TO_MEL).float().to(mel.device)


def _levels(segment: Tensor) -> Tensor:
    """[B, T, 512] -> nepers [B, T, 18]; see `codec.compensation.band_levels`."""
    bins = torch.fft.rfft(segment)
    bank = torch.from_numpy(BANK).float().to(segment.device)
    return torch.log((bins.real**2 + bins.imag**2) @ bank + FLOOR) / 2
