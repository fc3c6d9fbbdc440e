"""Causal BigVGAN vocoder (torch): log-mel frames in, 256 samples a frame out.

BigVGAN is that of Lee et al. (ICLR 2023); causal, with SnakeBeta activations and without anti-alias
filters, as in Stahl, Windtner and Sontacchi, IEEE Access 12 (2024), doi 10.1109/ACCESS.2024.3482359. Every
convolution sees only the present and the past; a transposed convolution's output is cut on the right, so no
sample waits for a later frame. Parameter names follow the layout of the authors' checkpoints, weight norm
folded into `weight`.

`step(mel, state) -> (samples, state)` is pure: offline is one call with all frames from a zero state,
streaming one call a frame. The state holds, layer after layer, the last inputs that the layer will need
again.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from voicelink.codec.mel import N_MELS
from voicelink.errors import WeightsError
from voicelink.units import FRAME_SAMPLES

EDGE_KERNEL = 7
#: Keeps the SnakeBeta division finite for a beta that vanishes.
BETA_EPS = 1e-9


@dataclass(frozen=True)
class BigVganConfig:
    """Sizes; the defaults are the paper's (0.93 M parameters).

    `channels`: width before the first upsampling, and each halves it; `rates` and `kernels`:
    stride and kernel of each upsampling; `block_kernels` and `block_dilations`: the residual blocks after
    each upsampling. Raises WeightsError for sizes that do not fit together.
    """

    channels: int = 128
    rates: tuple[int, ...] = (8, 8, 2, 2)
    kernels: tuple[int, ...] = (16, 16, 4, 4)
    block_kernels: tuple[int, ...] = (3, 7, 11)
    block_dilations: tuple[tuple[int, ...], ...] = ((1, 3, 5), (1, 3, 5), (1, 3, 5))
    mels: int = N_MELS

    def __post_init__(self) -> None:
        _check(self)

    @property
    def frame_samples(self) -> int:
        """Samples a mel frame."""
        return math.prod(self.rates)

    def stage_channels(self, stage: int) -> int:
        """Channels after `stage` upsamplings."""
        return self.channels >> stage


class SnakeBeta(nn.Module):
    """x + sin^2(a x) / b a channel, with a = exp(alpha) and b = exp(beta); x [B, C, L]."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.zeros(channels))
        self.beta = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Shape is kept."""
        ripple = torch.sin(x * torch.exp(self.alpha)[:, None])
        scale = 1.0 / (torch.exp(self.beta) + BETA_EPS)
        return x + ripple * ripple * scale[:, None]


class ResidualBlock(nn.Module):
    """Pairs of a dilated and a plain causal convolution, each after a SnakeBeta; a skip around each pair."""

    def __init__(self, channels: int, kernel: int, dilations: tuple[int, ...]) -> None:
        super().__init__()
        self.convs1 = nn.ModuleList(nn.Conv1d(channels, channels, kernel, dilation=d) for d in dilations)
        self.convs2 = nn.ModuleList(nn.Conv1d(channels, channels, kernel) for _ in dilations)
        self.activations = nn.ModuleList(SnakeBeta(channels) for _ in range(2 * len(dilations)))

    def forward(self, x: Tensor, memory: Memory) -> Tensor:
        """x [B, C, L] -> [B, C, L]."""
        first, second = self.activations[::2], self.activations[1::2]
        for conv1, conv2, act1, act2 in zip(self.convs1, self.convs2, first, second, strict=True):
            y = conv1(memory.extend(act1(x)))
            x = x + conv2(memory.extend(act2(y)))
        return x


class Upsampling(nn.ModuleList):
    """Causal transposed convolution; second in the list, as the authors' checkpoints name it."""

    def __init__(self, inputs: int, outputs: int, kernel: int, rate: int) -> None:
        super().__init__([nn.Identity(), nn.ConvTranspose1d(inputs, outputs, kernel, rate)])
        self.rate = rate

    def forward(self, x: Tensor, memory: Memory) -> Tensor:
        """x [B, inputs, L] -> [B, outputs, rate L]."""
        padded = memory.extend(x)
        first = (padded.shape[2] - x.shape[2]) * self.rate
        y: Tensor = self[1](padded)
        return y[:, :, first : first + x.shape[2] * self.rate]


class BigVgan(nn.Module):
    """The vocoder; see the module's docstring. B streams run side by side."""

    def __init__(self, config: BigVganConfig | None = None) -> None:
        super().__init__()
        self.config = c = config or BigVganConfig()
        self.conv_pre = nn.Conv1d(c.mels, c.channels, EDGE_KERNEL)
        self.ups = nn.ModuleList()
        self.resblocks = nn.ModuleList()
        for stage, (rate, kernel) in enumerate(zip(c.rates, c.kernels, strict=True)):
            channels = c.stage_channels(stage + 1)
            self.ups.append(Upsampling(c.stage_channels(stage), channels, kernel, rate))
            for block_kernel, dilations in zip(c.block_kernels, c.block_dilations, strict=True):
                self.resblocks.append(ResidualBlock(channels, block_kernel, dilations))
        self.activation_post = SnakeBeta(channels)
        self.conv_post = nn.Conv1d(channels, 1, EDGE_KERNEL)
        self.state_shapes = _state_shapes(c)
        self.state_sizes = [channels * past for channels, past in self.state_shapes]

    def initial_state(self, batch: int = 1) -> Tensor:
        """Zero state [B, sum(state_sizes)]."""
        weight = self.conv_pre.weight
        return torch.zeros(batch, sum(self.state_sizes), dtype=weight.dtype, device=weight.device)

    def step(self, mel: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Synthesise T >= 1 frames; nothing is written in place.

        mel [B, T, mels] natural-log mel, state [B, sum(state_sizes)]. Returns samples [B, 256 T] within
        +-1, in the scaled domain of the mel (divide by mel.INPUT_SCALE), and the next state.
        """
        memory = Memory(torch.split(state, self.state_sizes, dim=1), self.state_shapes)
        x = self.conv_pre(memory.extend(mel.transpose(1, 2)))
        blocks = len(self.config.block_kernels)
        for stage, up in enumerate(self.ups):
            x = up(x, memory)
            outputs = [block(x, memory) for block in self.resblocks[blocks * stage : blocks * (stage + 1)]]
            x = sum(outputs[1:], start=outputs[0]) / blocks
        x = self.conv_post(memory.extend(self.activation_post(x)))
        return torch.tanh(x).squeeze(1), memory.packed()


class Memory:
    """Gives each causal layer, in the order of the calls, its past inputs; collects the next step's."""

    def __init__(self, parts: tuple[Tensor, ...], shapes: list[tuple[int, int]]) -> None:
        self._parts = iter(zip(parts, shapes, strict=True))
        self._following: list[Tensor] = []

    def extend(self, x: Tensor) -> Tensor:
        """x [B, C, L] -> [B, C, past + L]: the layer's past inputs, then x."""
        part, shape = next(self._parts)
        padded = torch.cat([part.reshape(x.shape[0], *shape), x], dim=2)
        self._following.append(padded[:, :, x.shape[2] :].flatten(1))
        return padded

    def packed(self) -> Tensor:
        """Next state [B, N]."""
        return torch.cat(self._following, dim=1)


def _state_shapes(config: BigVganConfig) -> list[tuple[int, int]]:
    """(channels, past inputs) of every layer with memory, in the order of `step`."""
    shapes = [(config.mels, EDGE_KERNEL - 1)]
    for stage, (rate, kernel) in enumerate(zip(config.rates, config.kernels, strict=True)):
        shapes.append((config.stage_channels(stage), -(-kernel // rate) - 1))
        channels = config.stage_channels(stage + 1)
        for block_kernel, dilations in zip(config.block_kernels, config.block_dilations, strict=True):
            for dilation in dilations:
                shapes += [(channels, (block_kernel - 1) * dilation), (channels, block_kernel - 1)]
    return [*shapes, (config.stage_channels(len(config.rates)), EDGE_KERNEL - 1)]


def _check(config: BigVganConfig) -> None:
    """Raise WeightsError for sizes that cannot be built."""
    c = config
    sizes = [c.channels, c.mels, *c.rates, *c.kernels, *c.block_kernels]
    sizes += [dilation for dilations in c.block_dilations for dilation in dilations]
    if min(sizes) < 1 or not c.rates or not c.block_kernels or not all(c.block_dilations):
        raise WeightsError(f"vocoder sizes must be positive and not empty, but are {c}")
    if len(c.rates) != len(c.kernels) or len(c.block_kernels) != len(c.block_dilations):
        raise WeightsError(f"vocoder needs one kernel a rate and one list of dilations a block, but has {c}")
    if any(kernel < rate for rate, kernel in zip(c.rates, c.kernels, strict=True)):
        raise WeightsError(f"vocoder upsampling kernels {c.kernels} must not be smaller than the rates {c.rates}")
    if c.frame_samples != FRAME_SAMPLES:
        raise WeightsError(f"vocoder rates {c.rates} make {c.frame_samples} samples a frame, not {FRAME_SAMPLES}")
    if c.channels % (1 << len(c.rates)):
        raise WeightsError(f"vocoder channels {c.channels} cannot be halved {len(c.rates)} times")
