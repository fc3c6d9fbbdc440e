"""Random segments of prepared speech, reproducible from (seed, step) alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from voicelink.codec.mel import FLOOR, INPUT_SCALE, MAGNITUDE_EPS, PAD_LEFT, mel_filter_bank
from voicelink.errors import AudioError
from voicelink.train.prepare import Clip, load_index
from voicelink.units import FRAME_SAMPLES, SAMPLE_RATE_HZ, WINDOW_SAMPLES

#: Shorter clips (4.6 s) are left out: they could not fill a stream's window after window.
MIN_CLIP_FRAMES = 400


@dataclass(frozen=True)
class Segment:
    """A batch of B segments of T frames, with 256 samples before and 512 after for the analysis windows."""

    audio: Tensor  # [B, 256 + 256 T + 512] scaled as the codec scales its input
    f0_hz: Tensor  # [B, T + 2] at samples 256 j of the segment (sample 0 = first of frame 0), 0 = unvoiced
    band_hz: Tensor  # [B]


class SpeechData:
    """Prepared folder as a source of random segments.

    `weights` maps a source to its share of segments (missing sources: 0); by default shares follow the
    square root of the hours, so that a large source does not drown the others.
    """

    def __init__(self, folder: Path, weights: dict[str, float] | None = None, split: str = "train") -> None:
        clips = load_index(folder)
        frames = sum(clip.frames for clip in clips)
        self.audio = _mapped(folder / "audio.i16", np.int16, frames * FRAME_SAMPLES)
        self.f0 = _mapped(folder / "f0.f32", np.float32, frames)
        self.clips = [clip for clip in clips if clip.split == split and clip.frames > MIN_CLIP_FRAMES]
        if not self.clips:
            raise AudioError(
                f"{folder}: no clip of split '{split}' is longer than {MIN_CLIP_FRAMES} frames (4.6 s); prepare longer "
                "files, or with another --dev-speakers"
            )
        self.shares = _shares(self.clips, weights)

    def segments(
        self, rng: np.random.Generator, batch: int, frames: int, level_db: tuple[float, float] = (-16.0, 0.0)
    ) -> Segment:
        """Draw `batch` segments of `frames` frames at a random level and polarity."""
        chosen = rng.choice(len(self.clips), size=batch, p=self.shares)
        return self._stack([self._one(rng, self.clips[i], frames, level_db) for i in chosen])

    def _one(
        self, rng: np.random.Generator, clip: Clip, frames: int, level_db: tuple[float, float]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], float]:
        first = clip.start + int(rng.integers(1, clip.frames - frames - 3))
        begin = first * FRAME_SAMPLES - PAD_LEFT
        samples = self.audio[begin : begin + frames * FRAME_SAMPLES + WINDOW_SAMPLES - FRAME_SAMPLES]
        gain = 10 ** (rng.uniform(*level_db) / 20) * rng.choice((-1.0, 1.0)) * INPUT_SCALE / 32767
        dither = rng.uniform(-0.5, 0.5, len(samples))
        track = np.asarray(self.f0[first : first + frames + 2])
        return ((samples + dither) * gain).astype(np.float32), track, clip.band_hz

    @staticmethod
    def _stack(rows: list[tuple[NDArray[np.float32], NDArray[np.float32], float]]) -> Segment:
        audio, f0, band = zip(*rows, strict=True)
        return Segment(
            torch.from_numpy(np.stack(audio)),
            torch.from_numpy(np.stack(f0)),
            torch.tensor(band, dtype=torch.float32),
        )


class LogMel(torch.nn.Module):
    """Batched torch twin of `codec.mel.log_mel`, without edge padding: [B, 256 T + 768] -> [B, T, 80]."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("window", torch.hann_window(WINDOW_SAMPLES))
        self.register_buffer("bank", torch.from_numpy(mel_filter_bank()).T.contiguous())

    def forward(self, audio: Tensor) -> Tensor:
        """Natural-log mel of already scaled samples."""
        spectrum = torch.fft.rfft(audio.unfold(-1, WINDOW_SAMPLES, FRAME_SAMPLES) * self.window)
        magnitude = torch.sqrt(spectrum.real**2 + spectrum.imag**2 + MAGNITUDE_EPS)
        return torch.log(torch.clamp(magnitude @ self.bank, min=FLOOR))


def generator(seed: int, step: int) -> np.random.Generator:
    """The generator of one training step: resuming at a step draws what an unbroken run would have."""
    return np.random.default_rng((seed, step))


def prepared_sources(folder: Path) -> set[str]:
    """Names of the sources in a prepared folder. Raises AudioError if it is not one."""
    return {clip.source for clip in load_index(folder)}


def _mapped(path: Path, dtype: type, count: int) -> NDArray:
    """The first `count` items of a file; AudioError where it does not hold them."""
    try:
        if count and path.stat().st_size >= count * np.dtype(dtype).itemsize:
            return np.memmap(path, dtype, "r")
    except OSError:
        pass
    raise AudioError(f"{path}: missing or shorter than index.json says; run `voicelink train prepare` again")


def _shares(clips: list[Clip], weights: dict[str, float] | None) -> NDArray[np.float64]:
    hours: dict[str, float] = {}
    for clip in clips:
        hours[clip.source] = hours.get(clip.source, 0.0) + clip.frames * FRAME_SAMPLES / SAMPLE_RATE_HZ / 3600
    if weights is None:
        weights = {source: np.sqrt(value) for source, value in hours.items()}
    unknown = sorted(set(weights) - set(hours))
    if unknown:
        raise AudioError(
            f"[sources] of the recipe names some that are not prepared: {', '.join(unknown)}; prepared (with clips of "
            f"over 4.6 s) are {', '.join(sorted(hours))}"
        )
    if not any(weights.values()):
        raise AudioError("[sources] of the recipe gives every source a share of 0")
    share = np.array([weights.get(c.source, 0.0) * c.frames / hours[c.source] for c in clips])
    return share / share.sum()
