"""The harmonic vocoder: streaming equals offline, the batched synthesis equals the one in calls, pitch comes out."""

import numpy as np
import pytest
import torch

from voicelink.codec.excitation import BINS, FrameSpectrum, initial_excitation, synthesise
from voicelink.codec.harmonic import HarmonicConfig, HarmonicVocoder, Spectrum
from voicelink.codec.noise import noise_hops
from voicelink.train import synthesis

CONFIG = HarmonicConfig(channels=24, blocks=2, inner=48, f0_channels=16, f0_blocks=1, f0_classes=40, kernel=5)


@pytest.fixture(scope="module")
def vocoder() -> HarmonicVocoder:
    torch.manual_seed(11)
    return HarmonicVocoder(CONFIG).eval()


@pytest.mark.parametrize("chunk", [1, 4, 24])
def test_network_streaming_equals_offline(vocoder: HarmonicVocoder, chunk: int) -> None:
    mel = torch.randn(2, 24, 80) - 5
    with torch.no_grad():
        whole, last = vocoder.step(mel, vocoder.initial_state(2))
        state, parts = vocoder.initial_state(2), []
        for start in range(0, 24, chunk):
            made, state = vocoder.step(mel[:, start : start + chunk], state)
            parts.append(made)
    for name, values in zip(Spectrum._fields, zip(*parts, strict=True), strict=True):
        torch.testing.assert_close(torch.cat(values, dim=1), getattr(whole, name), atol=1e-5, rtol=0)
    torch.testing.assert_close(state, last)


def test_step_writes_nothing_in_place(vocoder: HarmonicVocoder) -> None:
    state, mel = vocoder.initial_state() + 0.1, torch.randn(1, 3, 80)
    kept, kept_mel = state.clone(), mel.clone()
    with torch.no_grad():
        vocoder.step(mel, state)
    assert torch.equal(state, kept)
    assert torch.equal(mel, kept_mel)


def test_f0_classes_round_trip(vocoder: HarmonicVocoder) -> None:
    f0 = torch.tensor([[60.0, 100.0, 220.0, 499.0]])
    logits = torch.full((1, 4, CONFIG.f0_classes + 1), -20.0)
    logits.scatter_(2, vocoder.f0_class(f0)[..., None], 20.0)
    decoded, voiced = vocoder.decode_f0(logits)
    assert torch.all((decoded / f0 - 1).abs() < 0.03)
    assert not voiced.any()


def _spectra(frames: int, seed: int) -> Spectrum:
    generator = torch.Generator().manual_seed(seed)
    f0 = 120 + 60 * torch.rand(1, frames, generator=generator)
    voiced = (torch.rand(1, frames, generator=generator) > 0.3).float()
    gains = [torch.randn(1, frames, BINS, generator=generator) * 0.5 - 2 for _ in range(3)]
    return Spectrum(f0, voiced, *gains)


def test_batched_synthesis_is_the_one_in_calls() -> None:
    frames = 20
    spectrum = _spectra(frames, 7)
    state, made, pulses = initial_excitation(), [], []
    noise = noise_hops(np.arange(frames + 1))
    pulses.append(state.pulses)
    for t in range(frames):
        frame = FrameSpectrum(
            float(spectrum.f0_hz[0, t]),
            bool(spectrum.voiced[0, t]),
            *(part[0, t].numpy() for part in spectrum[2:]),
        )
        samples, state = synthesise(frame, state)
        made.append(samples)
        pulses.append(state.pulses)
    zero = torch.zeros(1, 1)
    borders = torch.cat([zero, spectrum.f0_hz], 1), torch.cat([zero, spectrum.voiced], 1)
    batch_pulses = synthesis.pulse_train(*borders, torch.zeros(1))
    np.testing.assert_allclose(batch_pulses[0].numpy(), np.concatenate(pulses[1:]), atol=2e-2)
    given = (
        torch.from_numpy(np.concatenate(pulses)).float()[None],
        torch.from_numpy(np.concatenate(noise)).float()[None],
    )
    batch = synthesis.synthesise(spectrum, *given)[0].numpy()
    np.testing.assert_allclose(batch[: 256 * frames], np.concatenate(made), atol=1e-4)


def test_pulse_train_has_its_pitch_and_unit_power() -> None:
    f0, frames = 147.0, 60
    train = synthesis.pulse_train(torch.full((1, frames), f0), torch.ones(1, frames), torch.zeros(1))[0].numpy()
    assert np.mean(train**2) == pytest.approx(1.0, rel=0.05)
    spectrum = np.abs(np.fft.rfft(train * np.hanning(len(train))))
    hz = np.fft.rfftfreq(len(train), 1 / 22050)
    assert hz[spectrum[hz < 200].argmax()] == pytest.approx(f0, abs=1.5)
    between = spectrum[np.abs((hz / f0) % 1 - 0.5) < 0.2]
    assert between.max() < 0.01 * spectrum.max()


def test_silent_where_unvoiced_and_without_noise() -> None:
    quiet = np.full(BINS, -40.0, np.float32)
    frame = FrameSpectrum(100.0, False, np.zeros(BINS, np.float32), np.zeros(BINS, np.float32), quiet)
    samples, _ = synthesise(frame, initial_excitation())
    assert np.abs(samples).max() < 1e-12
