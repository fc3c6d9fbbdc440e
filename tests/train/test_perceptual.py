"""The training losses agree with the measures they are named after, and move training the right way."""

import librosa
import numpy as np
import pytest
import torch
from pesq import pesq
from pystoi import stoi
from scipy.signal import butter, resample_poly, sosfilt
from voicelink_client.clips import bundled_clips

from voicelink.audio.files import read_audio
from voicelink.audio.resampler import resample
from voicelink.experiments.models import dnsmos_score, speaker_encoder_file
from voicelink.experiments.speaker import LEVEL_DBFS, RATE_HZ, read_encoder
from voicelink.train.mel_loss import MelDistance
from voicelink.train.mos import MosDistance, to_16k
from voicelink.train.perceptual import EstoiDistance, PesqDistance
from voicelink.train.speaker import SpeakerDistance

BAND = butter(5, [325, 3250], fs=22_050, btype="band", output="sos")


@pytest.fixture(scope="module")
def speech() -> np.ndarray:
    audio, rate = read_audio(bundled_clips()[0])
    return resample(audio, rate, 22_050)[: 4 * 22_050]


def _worse(speech: np.ndarray, kind: str) -> np.ndarray:
    noise = np.random.default_rng(1).standard_normal(len(speech)).astype(np.float32)
    if kind == "noise 25 dB":
        return speech + noise * speech.std() * 10 ** (-25 / 20)
    if kind == "noise 10 dB":
        return speech + noise * speech.std() * 10 ** (-10 / 20)
    return np.clip(speech, -0.3 * np.abs(speech).max(), 0.3 * np.abs(speech).max())


def _tensors(*signals: np.ndarray) -> list[torch.Tensor]:
    return [torch.from_numpy(np.asarray(s, np.float32))[None] for s in signals]


def _level(speech: np.ndarray) -> torch.Tensor:
    return torch.tensor([float(np.sqrt(np.mean(sosfilt(BAND, speech) ** 2)))])


@pytest.mark.parametrize("kind", ["noise 25 dB", "noise 10 dB", "clipped"])
def test_agreement_with_the_reference_implementations(speech: np.ndarray, kind: str) -> None:
    worse = _worse(speech, kind)
    made, true = _tensors(worse, speech)
    a, b = (resample_poly(x.astype(float), 320, 441) for x in (speech, worse))
    distance = PesqDistance()(made, true, torch.tensor([11_025.0]), _level(speech)).item()
    mos = 0.999 + 4 / (1 + np.exp(-1.3669 * (4.5 - distance) + 3.8224))
    assert abs(mos - pesq(16_000, a, b, "wb")) < 0.45
    estoi = 1 - EstoiDistance()(made, true, _level(speech)).item()
    assert abs(estoi - stoi(a, b, 16_000, extended=True)) < 0.09  # pauses are weighed, not cut out


def test_distances_of_equals_are_zero_and_gradients_finite(speech: np.ndarray) -> None:
    (true,) = _tensors(speech[:22_050])
    level, band = _level(speech), torch.tensor([11_025.0])
    assert PesqDistance()(true, true, band, level).item() < 0.02
    assert EstoiDistance()(true, true, level).item() < 1e-4
    for made in (true + 0.01 * torch.randn_like(true), torch.zeros_like(true)):
        made.requires_grad_(True)
        (PesqDistance()(made, true, band, level).mean() + EstoiDistance()(made, true, level)).backward()
        assert torch.isfinite(made.grad).all()


def test_bands_that_the_source_lacks_do_not_count(speech: np.ndarray) -> None:
    (true,) = _tensors(speech[:22_050])
    noise = np.random.default_rng(2).standard_normal(22_050)
    hiss = torch.from_numpy(sosfilt(butter(8, 6500, fs=22_050, btype="high", output="sos"), noise))
    made = true + 0.05 * hiss.float()
    bands = [torch.tensor([hz]) for hz in (11_025.0, 5_000.0)]
    wide, narrow = (PesqDistance()(made, true, band, _level(speech)).item() for band in bands)
    assert narrow < 0.2 * wide


def test_a_segment_too_short_for_estoi_has_none() -> None:
    short = torch.randn(2, 4_000)
    assert EstoiDistance()(short, -short, torch.ones(2)).item() == 0.0


def test_quiet_bands_weigh_less() -> None:
    true = torch.full((1, 40, 80), -1.0)
    true[:, :, 40:] = -9.0
    level = torch.tensor([0.1])
    loud, quiet = true.clone(), true.clone()
    loud[:, :, :40] += 0.5
    quiet[:, :, 40:] += 0.5
    distance, plain = MelDistance(0.2, 0.0), MelDistance(1.0, 0.0)
    assert distance(loud, true, level) > 4 * distance(quiet, true, level)
    torch.testing.assert_close(plain(loud, true, level), plain(quiet, true, level))


def test_the_differentiable_dnsmos_is_the_one_that_scores(speech: np.ndarray) -> None:
    pytest.importorskip("speechmos")
    distance = MosDistance()
    nine_seconds = np.concatenate([resample(speech, 22_050, 16_000)] * 3)[:144_160]
    with torch.no_grad():
        scores, _ = distance.judge(torch.from_numpy(nine_seconds)[None])
    assert scores[0, 2].item() == pytest.approx(dnsmos_score(nine_seconds), abs=1e-3)


def test_what_sounds_worse_to_dnsmos_is_behind_and_the_way_back_is_told(speech: np.ndarray) -> None:
    pytest.importorskip("speechmos")
    distance = MosDistance()
    true, worse = _tensors(speech[:22_050], _worse(speech, "noise 10 dB")[:22_050])
    assert [value.item() for value in distance(true, true)] == [0.0, 0.0]
    worse.requires_grad_(True)
    behind, apart = distance(worse, true)
    assert behind.item() > 0.1 < apart.item()
    (behind + apart).backward()
    better, _ = distance((worse - 0.02 * worse.grad / worse.grad.abs().max()).detach(), true)
    assert better.item() < behind.item()


def test_the_loss_hears_at_16_khz_what_a_resampler_gives(speech: np.ndarray) -> None:
    pytest.importorskip("speechmos")
    made = to_16k(torch.from_numpy(speech[None]), MosDistance().resampling)[0].numpy()
    true = resample(speech, 22_050, 16_000)[: len(made)]
    assert np.sum((made - true) ** 2) < 1e-4 * np.sum(true**2)


def _speaker_vector(speech: np.ndarray) -> np.ndarray:
    """Of one window, pauses and all, by the front end that the weights were trained with."""
    at_16k = resample(speech, 22_050, RATE_HZ)
    at_16k = at_16k * 10 ** (LEVEL_DBFS / 20) / np.sqrt(np.mean(at_16k**2))
    mel = librosa.feature.melspectrogram(y=at_16k, sr=RATE_HZ, n_fft=400, hop_length=160, n_mels=40, center=False)
    with torch.no_grad():
        return read_encoder(speaker_encoder_file())(torch.from_numpy(mel.T[None]))[0].numpy()


def test_the_speaker_loss_is_that_of_the_encoder_and_the_way_back_is_told(speech: np.ndarray) -> None:
    pytest.importorskip("resemblyzer")
    distance, band = SpeakerDistance(), torch.tensor([11_025.0])
    other, rate = read_audio(bundled_clips()[-1])
    pair = [x[: 22_050 * 2] for x in (speech, resample(other, rate, 22_050), _worse(speech, "noise 10 dB"))]
    true, another, worse = (torch.from_numpy(x)[None] for x in pair)
    assert distance(true, true, band).item() == pytest.approx(0, abs=1e-5)
    vectors = [_speaker_vector(x) for x in pair]
    for made, vector in ((another, vectors[1]), (worse, vectors[2])):
        assert distance(made, true, band).item() == pytest.approx(1 - float(vectors[0] @ vector), abs=0.02)
    worse.requires_grad_(True)
    far = distance(worse, true, band)
    far.backward()
    step = 0.02 * worse.grad / worse.grad.abs().max()
    assert distance((worse - step).detach(), true, band).item() < far.item()
