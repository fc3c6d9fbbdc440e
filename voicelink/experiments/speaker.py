"""A voice's vector: the GE2E speaker encoder (three LSTM layers of 256 over 40 mel bands), from its weights file.

L. Wan, Q. Wang, A. Papir and I. L. Moreno, "Generalized end-to-end loss for speaker verification", ICASSP 2018;
front end, windows of 1.6 s and the averaging over them are those of the resemblyzer package, whose weights these are.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import librosa
import numpy as np
import torch
from numpy.typing import NDArray

from voicelink.experiments.models import Embed

RATE_HZ: Final = 16_000
MEL_BANDS: Final = 40
WINDOW_SAMPLES: Final = 400
HOP_SAMPLES: Final = 160
HIDDEN: Final = 256
PARTIAL_FRAMES: Final = 160
PARTIAL_STEP_FRAMES: Final = 77  # 1.3 windows a second
LEVEL_DBFS: Final = -30.0
#: Frames this far below the loudest carry no voice and are left out.
SILENCE_DB: Final = 40.0


class SpeakerEncoder(torch.nn.Module):
    """Mel spectrograms [B, T, 40] -> unit vectors [B, 256]."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = torch.nn.LSTM(MEL_BANDS, HIDDEN, 3, batch_first=True)
        self.linear = torch.nn.Linear(HIDDEN, HIDDEN)

    def forward(self, mels: torch.Tensor) -> torch.Tensor:
        """See the class."""
        _, (hidden, _) = self.lstm(mels)
        return torch.nn.functional.normalize(torch.relu(self.linear(hidden[-1])), dim=1)


def read_encoder(weights: Path) -> SpeakerEncoder:
    """The network with resemblyzer's `pretrained.pt`."""
    model = SpeakerEncoder()
    model.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True)["model_state"], strict=False)
    return model.eval()


def load_encoder(weights: Path) -> Embed:
    """A function from speech to its speaker's vector, with resemblyzer's `pretrained.pt`."""
    model = read_encoder(weights)

    def embed(speech: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.no_grad():
            vectors = model(torch.from_numpy(_partials(_voiced(speech))))
        mean = vectors.mean(dim=0)
        return np.asarray(mean / mean.norm(), np.float32)

    return embed


def _voiced(speech: NDArray[np.float32]) -> NDArray[np.float32]:
    """Speech at the encoder's level with its silent frames cut out."""
    rms = librosa.feature.rms(y=speech, frame_length=WINDOW_SAMPLES, hop_length=HOP_SAMPLES)[0]
    keep = rms > max(float(rms.max(initial=0)) * 10 ** (-SILENCE_DB / 20), 1e-6)
    samples = np.repeat(keep, HOP_SAMPLES)[: len(speech)]
    speech = speech[: len(samples)][samples]
    level = float(np.sqrt(np.mean(np.square(speech)))) if len(speech) else 0.0
    return speech * np.float32(max(1.0, 10 ** (LEVEL_DBFS / 20) / level)) if level else speech


def _partials(speech: NDArray[np.float32]) -> NDArray[np.float32]:
    """Overlapping windows of 1.6 s of the mel spectrogram, float32 [n >= 1, 160, 40]; the last zero-padded."""
    mel = librosa.feature.melspectrogram(
        y=np.pad(speech, (0, max(0, WINDOW_SAMPLES - len(speech)))),
        sr=RATE_HZ, n_fft=WINDOW_SAMPLES, hop_length=HOP_SAMPLES, n_mels=MEL_BANDS,
    ).astype(np.float32).T  # fmt: skip
    starts = range(0, max(1, len(mel) - PARTIAL_FRAMES // 4), PARTIAL_STEP_FRAMES)
    padded = np.pad(mel, ((0, PARTIAL_FRAMES), (0, 0)))
    return np.stack([padded[at : at + PARTIAL_FRAMES] for at in starts])
