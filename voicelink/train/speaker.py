"""A differentiable speaker similarity as a training loss: made speech shall sound like the one who spoke.

The encoder is the one that `experiments/speaker.py` measures with (Wan et al., ICASSP 2018; the resemblyzer package's
weights). Segments are shorter than its windows of 1.6 s and keep their pauses, so that values lie below those of whole
sentences. A measure that is trained on says less afterwards: report others beside it.
"""

from __future__ import annotations

import librosa
import torch
from torch import Tensor, nn

from voicelink.experiments.models import speaker_encoder_file
from voicelink.experiments.speaker import HOP_SAMPLES, LEVEL_DBFS, MEL_BANDS, RATE_HZ, WINDOW_SAMPLES, read_encoder
from voicelink.train.mos import resampling_kernel, to_16k


class SpeakerDistance(nn.Module):
    """1 - cosine between the speaker vectors of made and true segments, averaged over the batch.

    Raises ConfigError where the resemblyzer package is not installed.
    """

    def __init__(self) -> None:
        super().__init__()
        self.encoder = read_encoder(speaker_encoder_file())
        bank = librosa.filters.mel(sr=RATE_HZ, n_fft=WINDOW_SAMPLES, n_mels=MEL_BANDS)
        self.register_buffer("bank", torch.from_numpy(bank.T.copy()), persistent=False)
        top_hz = [(row > 0).nonzero()[0][-1] * RATE_HZ / WINDOW_SAMPLES for row in bank]
        self.register_buffer("top_hz", torch.tensor(top_hz), persistent=False)
        self.register_buffer("window", torch.hann_window(WINDOW_SAMPLES), persistent=False)
        self.register_buffer("resampling", resampling_kernel(), persistent=False)
        self.requires_grad_(False)

    def forward(self, made: Tensor, true: Tensor, band_hz: Tensor) -> Tensor:
        """made, true [B, n] samples of 22.05 kHz, any scale; band_hz [B] -> scalar.

        Both are brought to the encoder's level; mel bands above `band_hz`, which the source has not, count as silent.
        """
        keep = (self.top_hz <= band_hz[:, None]).float()[:, None]
        heard, aim = to_16k(made, self.resampling), to_16k(true, self.resampling)
        gain = 10 ** (LEVEL_DBFS / 20) / aim.square().mean(dim=1, keepdim=True).sqrt().clamp(min=1e-4)
        with torch.no_grad():
            wanted = self._vectors(aim * gain, keep)
        return 1 - (self._vectors(heard * gain, keep) * wanted).sum(dim=1).mean()

    def _vectors(self, speech: Tensor, keep: Tensor) -> Tensor:
        """[B, n] of 16 kHz, keep [B, 1, 40] -> unit vectors [B, 256]."""
        bins = torch.fft.rfft(speech.unfold(-1, WINDOW_SAMPLES, HOP_SAMPLES) * self.window)
        vectors: Tensor = self.encoder((bins.real.square() + bins.imag.square()) @ self.bank * keep)
        return vectors
