"""Light discriminators on complex short-time spectra.

Only STFT discriminators: time-domain ones are reported to harm generators that work frame by frame (Valin et al.,
"FARGAN", and the sources it cites). Least-squares objective (Mao et al., ICCV 2017) and feature matching (Kumar et al.,
MelGAN, NeurIPS 2019). Wide strides in frequency and at least 32 channels keep them quick on a CPU.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm

from voicelink.train.loop import clip_gradients

Features = list[Tensor]


class StftDiscriminator(nn.Module):
    """Judges patches of one resolution; input is the spectrum with magnitudes to the power 0.3."""

    def __init__(self, n_fft: int, channels: int = 32) -> None:
        super().__init__()
        self.n_fft = n_fft
        self.register_buffer("window", torch.hann_window(n_fft))
        c = channels
        shapes = [(2, c, (3, 9), (1, 4)), (c, 2 * c, (3, 9), (1, 4)), (2 * c, 2 * c, (3, 5), (1, 2))]
        self.layers = nn.ModuleList(
            weight_norm(nn.Conv2d(i, o, k, s, padding=(k[0] // 2, k[1] // 2))) for i, o, k, s in shapes
        )
        self.judge = weight_norm(nn.Conv2d(2 * c, 1, (3, 3), padding=(1, 1)))

    def forward(self, audio: Tensor) -> tuple[Tensor, Features]:
        """audio [B, n] -> scores [B, 1, T, F'] and the features of each layer."""
        bins = torch.fft.rfft(audio.unfold(-1, self.n_fft, self.n_fft // 4) * self.window)[..., :-1]
        magnitude = torch.sqrt(bins.real**2 + bins.imag**2 + 1e-8)
        x = torch.stack([bins.real, bins.imag], dim=1) * magnitude.pow(-0.7)[:, None]
        features = []
        with torch.autocast(audio.device.type, torch.bfloat16):
            x = x.contiguous(memory_format=torch.channels_last)
            for layer in self.layers:
                x = F.leaky_relu(layer(x), 0.1)
                features.append(x)
            return self.judge(x).float(), features


class Discriminators(nn.Module):
    """One discriminator a resolution."""

    def __init__(self, fft_sizes: tuple[int, ...] = (1024, 512, 256), channels: int = 32) -> None:
        super().__init__()
        self.each = nn.ModuleList(StftDiscriminator(n, channels) for n in fft_sizes)

    def forward(self, audio: Tensor) -> list[tuple[Tensor, Features]]:
        """Scores and features of every resolution."""
        return [discriminator(audio) for discriminator in self.each]


def discriminator_loss(true: list[tuple[Tensor, Features]], made: list[tuple[Tensor, Features]]) -> Tensor:
    """Least squares: 1 for true speech, 0 for made."""
    terms = [(t - 1).square().mean() + m.square().mean() for (t, _), (m, _) in zip(true, made, strict=True)]
    return torch.stack(terms).mean()


def generator_loss(true: list[tuple[Tensor, Features]], made: list[tuple[Tensor, Features]]) -> tuple[Tensor, Tensor]:
    """(adversarial, feature matching), each a mean over resolutions and layers."""
    adversarial = torch.stack([(score - 1).square().mean() for score, _ in made]).mean()
    matching = [
        (a.float() - b.detach().float()).abs().mean() / (b.detach().float().abs().mean() + 1e-6)
        for (_, made_features), (_, true_features) in zip(made, true, strict=True)
        for a, b in zip(made_features, true_features, strict=True)
    ]
    return adversarial, torch.stack(matching).mean()


class Adversary:
    """Discriminators that learn beside a vocoder, and what they make of it."""

    def __init__(self, lr: float) -> None:
        self.judges = Discriminators()
        self.optimiser = torch.optim.AdamW(self.judges.parameters(), lr=lr, betas=(0.8, 0.99))

    def learn(self, true: Tensor, made: Tensor) -> float:
        """One step of the discriminators on true and made samples [B, n]; their loss."""
        loss = discriminator_loss(self.judges(true), self.judges(made.detach()))
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        clip_gradients(self.judges, 10.0)
        self.optimiser.step()
        return loss.item()

    def losses(self, true: Tensor, made: Tensor) -> tuple[Tensor, Tensor]:
        """Adversarial and feature-matching loss of `made`; the discriminators get no gradient."""
        self.judges.requires_grad_(False)
        with torch.no_grad():
            real = self.judges(true)
        losses = generator_loss(real, self.judges(made))
        self.judges.requires_grad_(True)
        return losses
