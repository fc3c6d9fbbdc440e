"""The spectral loss and the discriminators do what training relies on."""

import torch

from voicelink.train.discriminators import Discriminators, discriminator_loss, generator_loss
from voicelink.train.losses import SpectralLoss


def _speech(seed: int) -> torch.Tensor:
    return 0.1 * torch.randn(2, 8192, generator=torch.Generator().manual_seed(seed))


def test_zero_for_equal_and_positive_for_another_level() -> None:
    loss, speech, band = SpectralLoss(), _speech(0), torch.full((2,), 11_025.0)
    assert loss(speech, speech, band) == 0
    assert loss(0.5 * speech, speech, band) > 0.2


def test_what_lies_above_a_sources_band_does_not_count() -> None:
    loss, speech = SpectralLoss(), _speech(0)
    spectrum = torch.fft.rfft(speech)
    hz = torch.fft.rfftfreq(speech.shape[1], 1 / 22_050)
    brighter = torch.fft.irfft(spectrum * torch.where(hz > 9_000, 3.0, 1.0), n=speech.shape[1])
    narrow, full = (loss(brighter, speech, torch.full((2,), band)) for band in (7_000.0, 11_025.0))
    assert narrow < 0.02 * full


def test_discriminators_tell_apart_and_persuasion_has_a_gradient() -> None:
    torch.manual_seed(0)
    judges, true = Discriminators(channels=8), _speech(1)
    made = torch.sin(torch.arange(8192) * 0.1).repeat(2, 1) * 0.1
    optimiser = torch.optim.Adam(judges.parameters(), 2e-3)
    losses = []
    for _ in range(12):
        loss = discriminator_loss(judges(true), judges(made))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]
    made.requires_grad_()
    adversarial, matching = generator_loss(judges(true), judges(made))
    (adversarial + matching).backward()
    assert made.grad.abs().max() > 0
