"""The mel front end against librosa, and its edges."""

import librosa
import numpy as np
import pytest

from tests.models import speech_like
from voicelink.codec.mel import FLOOR, INPUT_SCALE, log_mel, mel_filter_bank


@pytest.mark.parametrize(("n_fft", "n_mels", "max_hz"), [(1024, 80, 8000.0), (512, 40, 11025.0)])
def test_filter_bank_is_librosas(n_fft: int, n_mels: int, max_hz: float) -> None:
    theirs = librosa.filters.mel(sr=22050, n_fft=n_fft, n_mels=n_mels, fmin=0, fmax=max_hz)
    np.testing.assert_allclose(mel_filter_bank(n_fft, n_mels, max_hz), theirs, atol=1e-8)


def test_log_mel_is_librosas_stft() -> None:
    speech = speech_like(256 * 40)
    padded = np.pad(speech * np.float32(INPUT_SCALE), (256, 512), mode="reflect")
    spectrum = librosa.stft(padded, n_fft=1024, hop_length=256, center=False)
    mel = mel_filter_bank() @ np.sqrt(np.abs(spectrum) ** 2 + 1e-9)
    np.testing.assert_allclose(log_mel(speech), np.log(np.maximum(mel, 1e-5)).T, atol=2e-4)


def test_silence_sits_at_the_floor_of_the_magnitude() -> None:
    mel = log_mel(np.zeros(2560, np.float32))
    assert np.isfinite(mel).all()
    assert mel.min() >= np.log(FLOOR) - 1e-5


def test_too_short_to_reflect() -> None:
    with pytest.raises(ValueError, match="too few to reflect"):
        log_mel(np.zeros(512, np.float32))


def test_batched_torch_twin_is_the_same() -> None:
    import torch

    from voicelink.train.data import LogMel

    speech = speech_like(256 * 20)
    padded = np.pad(speech * np.float32(INPUT_SCALE), (256, 512), mode="reflect")
    twin = LogMel()(torch.from_numpy(padded)[None])[0].numpy()
    np.testing.assert_allclose(twin, log_mel(speech), atol=2e-3)
