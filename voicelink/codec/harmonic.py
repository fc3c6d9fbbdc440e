"""Networks of the harmonic-plus-noise vocoder (torch).

From log-mel frames alone, without look-ahead, a small causal ConvNeXt (Liu et al., CVPR 2022; in 1-D as in Vocos,
Siuzdak, ICLR 2024) predicts F0 and voicing at sample 256t+512, the end of frame t's output segment, and a
second one predicts per bin of a 512-point spectrum a gain and a phase offset for a harmonic excitation and a gain
for noise. `excitation.py` turns those into samples; it is not part of the network.

Every layer is a pure `forward(x, state) -> (y, state)`: offline is one call with all frames from a zero state,
streaming one call a frame.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from voicelink.codec.excitation import BINS
from voicelink.codec.mel import N_MELS

F0_MIN_HZ = 60.0
F0_MAX_HZ = 500.0
#: F0 is rounded to this fraction of a class, so that two engines whose logits differ in the last bits drive the
#: phase accumulator with the very same number.
F0_GRID_PER_CLASS = 8
F0_NEIGHBOURHOOD = 4
GAIN_BIAS_HARMONIC = -3.0
GAIN_BIAS_NOISE = -5.0
MEL_MEAN, MEL_STD = -5.0, 3.0


@dataclass(frozen=True)
class HarmonicConfig:
    """Sizes of the two trunks. `kernel` counts frames; state holds kernel - 1 of them a layer."""

    channels: int = 320
    blocks: int = 8
    inner: int = 960
    f0_channels: int = 192
    f0_blocks: int = 3
    f0_classes: int = 160
    kernel: int = 7

    @property
    def state_channels(self) -> int:
        """Width of the packed state [B, kernel - 1, state_channels]."""
        f0 = N_MELS + self.f0_blocks * self.f0_channels
        return f0 + N_MELS + 2 + self.blocks * self.channels


class Spectrum(NamedTuple):
    """What the network says of T frames. Gains are natural logarithms."""

    f0_hz: Tensor  # [B, T] at sample 256t + 512; meaningless where unvoiced
    voiced: Tensor  # [B, T], 0.0 or 1.0
    harmonic_log_gain: Tensor  # [B, T, 257]
    phase: Tensor  # [B, T, 257] radians
    noise_log_gain: Tensor  # [B, T, 257]


class CausalDepthwise(nn.Module):
    """Depthwise convolution over the last `kernel` frames; state [B, kernel - 1, C]."""

    def __init__(self, channels: int, kernel: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(kernel, channels) / math.sqrt(kernel))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """x [B T, C], frames of a stream one after another -> y [B T, C] and the next state."""
        padded = torch.cat([state, x.reshape(state.shape[0], -1, x.shape[1])], dim=1)
        kernel = self.weight.shape[0]
        frames = padded.shape[1] - kernel + 1
        if frames == 1:  # the streaming step: one product, a tenth of the nodes in an exported graph
            return self.bias + (padded * self.weight).sum(dim=1), padded[:, 1:]
        y = self.bias + padded[:, :frames] * self.weight[0]
        for tap in range(1, kernel):
            y = y + padded[:, tap : tap + frames] * self.weight[tap]
        return y.flatten(0, 1), padded[:, frames:]


class CausalInput(nn.Module):
    """Full convolution over the last `kernel` frames, as one product."""

    def __init__(self, inputs: int, outputs: int, kernel: int) -> None:
        super().__init__()
        self.kernel = kernel
        self.linear = nn.Linear(inputs * kernel, outputs)

    def forward(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """x [B, T, in] -> y [B T, out] and the next state [B, kernel - 1, in]."""
        padded = torch.cat([state, x], dim=1)
        frames = x.shape[1]
        taps = [padded[:, tap : tap + frames] for tap in range(self.kernel)]
        return self.linear(torch.cat(taps, dim=2).flatten(0, 1)), padded[:, frames:]


class Block(nn.Module):
    """ConvNeXt block: depthwise convolution, layer norm, expansion, GELU, projection, scaled residual."""

    def __init__(self, channels: int, inner: int, kernel: int, scale: float) -> None:
        super().__init__()
        self.depthwise = CausalDepthwise(channels, kernel)
        self.norm = nn.LayerNorm(channels, eps=1e-5)
        self.expand = nn.Linear(channels, inner)
        self.project = nn.Linear(inner, channels)
        self.scale = nn.Parameter(torch.full((channels,), scale))

    def forward(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """x [B T, C] -> y [B T, C] and the next state [B, kernel - 1, C]."""
        y, state = self.depthwise(x, state)
        y = self.project(F.gelu(self.expand(self.norm(y))))
        return x + self.scale * y, state


class Trunk(nn.Module):
    """Input convolution, `blocks` ConvNeXt blocks and a linear head. State is the layers' states side by side.

    Between the layers frames stand below each other, [B T, C]: plain matrices export to plain products.
    """

    def __init__(self, inputs: int, channels: int, inner: int, blocks: int, outputs: int, kernel: int) -> None:
        super().__init__()
        self.sizes = [inputs] + [channels] * blocks
        self.embed = CausalInput(inputs, channels, kernel)
        self.norm = nn.LayerNorm(channels, eps=1e-5)
        self.blocks = nn.ModuleList(Block(channels, inner, kernel, 1.0 / blocks) for _ in range(blocks))
        self.norm_out = nn.LayerNorm(channels, eps=1e-5)
        self.head = nn.Linear(channels, outputs)

    def forward(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """x [B, T, inputs], state [B, kernel - 1, sum(sizes)] -> head [B, T, outputs], state."""
        batch, frames = x.shape[:2]
        states = torch.split(state, self.sizes, dim=2)
        x, first = self.embed(x, states[0])
        following = [first]
        x = self.norm(x)
        for block, layer_state in zip(self.blocks, states[1:], strict=True):
            x, layer_state = block(x, layer_state)
            following.append(layer_state)
        return self.head(self.norm_out(x)).reshape(batch, frames, -1), torch.cat(following, dim=2)


class HarmonicVocoder(nn.Module):
    """Log-mel frames -> `Spectrum`; see the module's docstring."""

    smooth_harmonic: Tensor
    smooth_noise: Tensor

    def __init__(self, config: HarmonicConfig | None = None) -> None:
        super().__init__()
        self.config = c = config or HarmonicConfig()
        self.f0_trunk = Trunk(N_MELS, c.f0_channels, 2 * c.f0_channels, c.f0_blocks, c.f0_classes + 1, c.kernel)
        self.trunk = Trunk(N_MELS + 2, c.channels, c.inner, c.blocks, 3 * BINS, c.kernel)
        with torch.no_grad():
            self.trunk.head.weight.mul_(0.05)
            self.trunk.head.bias.zero_()
        self.register_buffer("smooth_harmonic", smoothing(first=150, per_bin=1 / 16, most=6), persistent=False)
        self.register_buffer("smooth_noise", smoothing(first=0, per_bin=1 / 12, most=10), persistent=False)
        self.state_sizes = [sum(self.f0_trunk.sizes), sum(self.trunk.sizes)]

    def initial_state(self, batch: int = 1) -> Tensor:
        """Zero state [B, kernel - 1, state_channels]."""
        return torch.zeros(batch, self.config.kernel - 1, self.config.state_channels)

    def step(self, mel: Tensor, state: Tensor) -> tuple[Spectrum, Tensor]:
        """mel [B, T, 80] natural-log mel, state as `initial_state`; any T >= 1. Nothing is written in place."""
        f0_state, trunk_state = torch.split(state, self.state_sizes, dim=2)
        logits, f0_state = self.f0_logits(mel, f0_state)
        f0_hz, voiced = self.decode_f0(logits)
        spectrum, trunk_state = self.spectrum(mel, f0_hz, voiced, trunk_state)
        return spectrum, torch.cat([f0_state, trunk_state], dim=2)

    def f0_logits(self, mel: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """[B, T, classes + 1]: F0 class logits and, last, the voicing logit."""
        logits, state = self.f0_trunk((mel - MEL_MEAN) / MEL_STD, state)
        return logits, state

    def spectrum(self, mel: Tensor, f0_hz: Tensor, voiced: Tensor, state: Tensor) -> tuple[Spectrum, Tensor]:
        """Gains and phases given F0 and voicing [B, T] (the true ones in training)."""
        octaves = torch.log2(f0_hz.clamp(F0_MIN_HZ, F0_MAX_HZ) / 173.0) * voiced
        extra = torch.stack([octaves, voiced], dim=2)
        head, state = self.trunk(torch.cat([(mel - MEL_MEAN) / MEL_STD, extra], dim=2), state)
        harmonic, phase, noise = torch.split(head.float(), BINS, dim=2)
        harmonic = harmonic @ self.smooth_harmonic + GAIN_BIAS_HARMONIC
        noise = noise @ self.smooth_noise + GAIN_BIAS_NOISE
        return Spectrum(f0_hz, voiced, harmonic, phase, noise), state

    def decode_f0(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Class logits [B, T, classes + 1] -> F0 in Hz and voicing (0 or 1), both [B, T].

        F0 is the mean class around the most likely one, on a grid of 1/8 class.
        """
        classes = self.config.f0_classes
        scores = torch.softmax(logits[..., :classes].float(), dim=-1)
        best = scores.argmax(dim=-1, keepdim=True)
        index = torch.arange(classes, dtype=scores.dtype, device=scores.device)
        near = (index - best).abs() <= F0_NEIGHBOURHOOD
        weights = scores * near.to(scores.dtype)
        mean = (weights * index).sum(dim=-1) / weights.sum(dim=-1)
        mean = torch.round(mean * F0_GRID_PER_CLASS) / F0_GRID_PER_CLASS
        voiced = (logits[..., classes] > 0).to(scores.dtype)
        return F0_MIN_HZ * torch.exp(mean * class_step(classes)), voiced

    def f0_class(self, f0_hz: Tensor) -> Tensor:
        """Nearest class of F0 in Hz, int64; inverse of the class centre."""
        return torch.round(self.f0_place(f0_hz)).long()

    def f0_place(self, f0_hz: Tensor) -> Tensor:
        """F0 in Hz as a place among the classes, which need not be whole."""
        return torch.log(f0_hz.clamp(F0_MIN_HZ, F0_MAX_HZ) / F0_MIN_HZ) / class_step(self.config.f0_classes)


def smoothing(first: int, per_bin: float, most: float) -> Tensor:
    """Matrix [257, 257] that averages log gains over neighbouring bins; use as `gains @ matrix`.

    Triangular kernels whose half-width grows by `per_bin` a bin from bin `first` on, up to `most` bins. Losses see high
    frequencies through wide mel bands only: without it the network settles on a fixed ripple of several dB from bin
    to bin up there (measured 8 to 10 dB rms above 8 kHz), heard as a metallic ring.
    """
    bins = torch.arange(BINS, dtype=torch.float64)
    half_width = ((bins - first) * per_bin).clamp(0.0, most) + 1.0
    kernel = (1 - (bins[:, None] - bins[None, :]).abs() / half_width[None, :]).clamp(min=0.0)
    return (kernel / kernel.sum(dim=0, keepdim=True)).float()


def class_step(classes: int) -> float:
    """Logarithmic distance of two neighbouring F0 classes."""
    return math.log(F0_MAX_HZ / F0_MIN_HZ) / (classes - 1)
