"""Checkpoints in the layout of the released models, with random weights, and a plain offline decode of them.

Written from the description of the layout alone, with torch.nn's own modules (nn.GRU, nn.Conv1d,
torch.stft), and sharing nothing with voicelink.codec but the mel filter bank: whole sequences, no streaming
state, no cut between the upsamplings, the waveform cut to length at the end.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from voicelink.codec.mel import mel_filter_bank

SCALE = 10 ** (-10 / 20)


class ReferenceBvrnn(nn.Module):
    """`variable`: bits from the given number on are sent as 0.5; else all bits are sent."""

    def __init__(self, hidden: int, bits: int, variable: bool) -> None:
        super().__init__()
        h, self.bits, self.variable = hidden, bits, variable
        self.mean_mel = nn.Parameter(torch.randn(80) - 5.0, requires_grad=False)
        self.std_mel = nn.Parameter(torch.rand(80) + 1.5, requires_grad=False)
        self.log_sigma = nn.Parameter(torch.tensor([-1.0]))
        e, s = nn.ELU, nn.Sigmoid
        self.phi_x = nn.Sequential(nn.Linear(80, h), e(), nn.Linear(h, h), e(), nn.Linear(h, h), e())
        self.phi_z = nn.Sequential(nn.Linear(bits, h), e(), nn.Linear(h, h), e(), nn.Linear(h, h), e())
        decision = nn.Linear(h, bits)
        self.enc = nn.Sequential(nn.Linear(2 * h, h), e(), nn.Linear(h, h), e(), decision, s())
        self.prior = nn.Sequential(nn.Linear(h, h), e(), nn.Linear(h, h), e(), nn.Linear(h, bits), s())
        self.dec = nn.Sequential(nn.Linear(2 * h, h), e(), nn.Linear(h, h), e(), nn.Linear(h, h), e(), nn.Linear(h, 80))
        self.rnn = nn.GRU(2 * h, h, num_layers=1, batch_first=True)
        with torch.no_grad():  # weights over biases, so that both values of every bit occur
            decision.weight *= 300.0

    def encode(self, mel: Tensor, bits: Tensor) -> Tensor:
        """mel [B, T, 80], bits [B, T] -> codes [B, T, total bits]."""
        h = torch.zeros(1, mel.shape[0], self.rnn.hidden_size)
        codes = []
        for t in range(mel.shape[1]):
            features = self.phi_x((mel[:, t] - self.mean_mel) / self.std_mel)
            code = self.enc(torch.cat([features, h[0]], dim=1)).round()
            if self.variable:
                unsent = torch.arange(self.bits)[None, :] >= bits[:, t, None]
                code = code.masked_fill(unsent, 0.5)
            codes.append(code)
            _, h = self.advance(code, h)
        return torch.stack(codes, dim=1)

    def decode(self, codes: Tensor) -> Tensor:
        """codes [B, T, total bits] -> mel [B, T, 80]."""
        h = torch.zeros(1, codes.shape[0], self.rnn.hidden_size)
        mels = []
        for t in range(codes.shape[1]):
            mel, h = self.advance(codes[:, t], h)
            mels.append(mel)
        return torch.stack(mels, dim=1)

    def advance(self, code: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        latent = self.phi_z(code)
        mel = self.dec(torch.cat([latent, h[0]], dim=1))
        features = self.phi_x((mel - self.mean_mel) / self.std_mel)
        _, h = self.rnn(torch.cat([features, latent], dim=1)[:, None], h)
        return mel, h


class Normed(nn.Module):
    """A convolution under weight norm: magnitude g and direction v for each index of the first axis."""

    def __init__(self, conv: nn.Conv1d | nn.ConvTranspose1d) -> None:
        super().__init__()
        weight = conv.weight.detach()
        magnitude = weight.flatten(1).norm(dim=1)[:, None, None]
        self.weight_g = nn.Parameter(magnitude * (0.8 + 0.4 * torch.rand(1)))
        self.weight_v = nn.Parameter(weight * 3.0)
        self.bias = nn.Parameter(torch.randn(conv.out_channels) * 0.05)
        self.transposed = isinstance(conv, nn.ConvTranspose1d)
        self.stride, self.dilation = conv.stride[0], conv.dilation[0]

    def forward(self, x: Tensor) -> Tensor:
        weight = torch._weight_norm(self.weight_v, self.weight_g, 0)
        if self.transposed:
            return F.conv_transpose1d(x, weight, self.bias, stride=self.stride)
        left = (weight.shape[2] - 1) * self.dilation
        return F.conv1d(F.pad(x, (left, 0)), weight, self.bias, dilation=self.dilation)


class Snake(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.randn(channels) * 0.3)
        self.beta = nn.Parameter(torch.randn(channels) * 0.3)

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.alpha.exp()[None, :, None], self.beta.exp()[None, :, None]
        return x + (1.0 / (b + 1e-9)) * torch.sin(x * a).pow(2)


class Block(nn.Module):
    def __init__(self, channels: int, kernel: int, dilations: tuple[int, ...]) -> None:
        super().__init__()
        self.convs1, self.convs2, self.activations = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        for dilation in dilations:
            self.convs1.append(Normed(nn.Conv1d(channels, channels, kernel, dilation=dilation)))
            self.convs2.append(Normed(nn.Conv1d(channels, channels, kernel)))
            self.activations.extend([Snake(channels), Snake(channels)])

    def forward(self, x: Tensor) -> Tensor:
        for k in range(len(self.convs1)):
            y = self.convs1[k](self.activations[2 * k](x))
            x = x + self.convs2[k](self.activations[2 * k + 1](y))
        return x


class ReferenceVocoder(nn.Module):
    def __init__(
        self,
        channels: int,
        rates: tuple[int, ...] = (8, 8, 2, 2),
        kernels: tuple[int, ...] = (16, 16, 4, 4),
        block_kernels: tuple[int, ...] = (3, 7, 11),
        dilations: tuple[int, ...] = (1, 3, 5),
    ) -> None:
        super().__init__()
        self.blocks = len(block_kernels)
        self.conv_pre = Normed(nn.Conv1d(80, channels, 7))
        self.ups, self.resblocks = nn.ModuleList(), nn.ModuleList()
        for rate, kernel in zip(rates, kernels, strict=True):
            up = Normed(nn.ConvTranspose1d(channels, channels // 2, kernel, rate))
            self.ups.append(nn.ModuleList([nn.Identity(), up]))
            channels //= 2
            for block_kernel in block_kernels:
                self.resblocks.append(Block(channels, block_kernel, dilations))
        self.activation_post = Snake(channels)
        self.conv_post = Normed(nn.Conv1d(channels, 1, 7))

    def forward(self, mel: Tensor, length: int) -> Tensor:
        """mel [B, 80, T] -> samples [B, 1, length]."""
        x = self.conv_pre(mel)
        for i, up in enumerate(self.ups):
            for module in up.children():
                x = module(x)
            x = sum(self.resblocks[self.blocks * i + j](x) for j in range(self.blocks)) / self.blocks
        return torch.tanh(self.conv_post(self.activation_post(x)))[:, :, :length]


@dataclass(frozen=True)
class ReferenceCodec:
    bvrnn: ReferenceBvrnn
    vocoder: ReferenceVocoder

    def save(self, folder: Path) -> tuple[Path, Path]:
        """Write both checkpoint files as the release has them: the coder's with its optimiser beside it."""
        paths = folder / "bvrnn_step200000", folder / "bigvgan_g_step3500000"
        moments = {"state": {0: {"exp_avg": torch.zeros(2)}}, "param_groups": [{"lr": 1e-4}]}
        torch.save({"vrnn": self.bvrnn.state_dict(), "optim": moments, "steps": 200_000}, paths[0])
        torch.save({"generator": self.vocoder.state_dict()}, paths[1])
        return paths

    @torch.no_grad()
    def encode(self, speech: Tensor, bits: int) -> Tensor:
        """speech [n] at full scale -> codes [T, total bits]."""
        mel = reference_mel(speech)
        return self.bvrnn.encode(mel, torch.full(mel.shape[:2], bits))[0]

    @torch.no_grad()
    def decode(self, codes: Tensor, length: int) -> Tensor:
        """codes [T, total bits] -> samples [length] at full scale."""
        mel = self.bvrnn.decode(codes[None])
        samples: Tensor = self.vocoder(mel.transpose(1, 2), length)
        return samples[0, 0] / SCALE


def make_codec(
    hidden: int = 24, bits: int = 64, channels: int = 16, variable: bool = True, seed: int = 6
) -> ReferenceCodec:
    """Random weights; with this seed no logit of the tests is nearer to a tie than 8e-4 deviations."""
    torch.manual_seed(seed)
    return ReferenceCodec(ReferenceBvrnn(hidden, bits, variable).eval(), ReferenceVocoder(channels).eval())


def reference_mel(speech: Tensor) -> Tensor:
    """speech [n] -> natural-log mel [1, n // 256, 80], edges reflected."""
    padded = F.pad(speech[None, None] * SCALE, (256, 512), mode="reflect")[0]
    window = torch.hann_window(1024)
    spectrum = torch.stft(padded, 1024, hop_length=256, window=window, center=False, return_complex=True)
    magnitude = torch.sqrt(spectrum.real**2 + spectrum.imag**2 + 1e-9)
    mel = torch.from_numpy(mel_filter_bank()) @ magnitude
    return torch.log(mel.clamp(min=1e-5)).transpose(1, 2)


def example_speech(samples: int, seed: int = 3) -> Tensor:
    """A gliding harmonic tone in pulsing noise, within +-1."""
    noise = torch.randn(samples, generator=torch.Generator().manual_seed(seed))
    time_s = torch.arange(samples) / 22050
    phase = 2 * torch.pi * (120 * time_s + 200 * time_s**2)
    tone = sum(torch.sin(k * phase) / k for k in range(1, 12))
    envelope = 0.5 + 0.5 * torch.sin(2 * torch.pi * 4 * time_s)
    return (0.2 * envelope * (tone + 0.2 * noise)).clamp(-1, 1)


def with_tensor(state: OrderedDict[str, Tensor], name: str, value: Tensor | None) -> OrderedDict[str, Tensor]:
    """A copy with one tensor replaced, or left out for None."""
    changed = OrderedDict(state)
    if value is None:
        del changed[name]
    else:
        changed[name] = value
    return changed
