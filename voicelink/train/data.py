"""Random segments of prepared speech, reproducible from (seed, step) alone."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.signal import butter, sosfilt
from torch import Tensor

from voicelink.codec.mel import FLOOR, INPUT_SCALE, MAGNITUDE_EPS, PAD_LEFT, mel_filter_bank
from voicelink.errors import AudioError
from voicelink.train import augment
from voicelink.train.prepare import Clip, load_index
from voicelink.units import FRAME_SAMPLES, SAMPLE_RATE_HZ, WINDOW_SAMPLES

#: Shorter clips (4.6 s) are left out: they could not fill a stream's window after window.
MIN_CLIP_FRAMES = 400
#: The first frame of a clip that is trained on: what lies before it is history for filters and rooms.
FIRST_FRAME = 34

Samples = NDArray[np.float32]
Row = tuple[Samples, Samples, Samples, float, float]


@dataclass(frozen=True)
class Segment:
    """A batch of B segments of T frames, with 256 samples before and 512 after for the analysis windows."""

    audio: Tensor  # [B, 256 + 256 T + 512] scaled as the codec scales its input
    wanted: Tensor  # the same, or with less noise: what a vocoder shall make of it
    f0_hz: Tensor  # [B, T + 2] at samples 256 j of the segment (sample 0 = first of frame 0), 0 = unvoiced
    band_hz: Tensor  # [B]
    level: Tensor  # [B] rms of the clip's speech between 325 and 3250 Hz, scaled like `audio`


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
        self,
        rng: np.random.Generator,
        batch: int,
        frames: int,
        level_db: tuple[float, float] = (-16.0, 0.0),
        augmented: float = 0.0,
        noise_reduction_db: float = 0.0,
    ) -> Segment:
        """Draw `batch` segments of `frames` frames at a random level and polarity, a share of them `augmented`.

        `noise_reduction_db`: by how much lower `wanted` has the noise and the other talkers that augmentation adds.
        """
        chosen = rng.choice(len(self.clips), size=batch, p=self.shares)
        return stack([self._one(rng, int(i), frames, level_db, augmented, noise_reduction_db) for i in chosen])

    def _one(
        self,
        rng: np.random.Generator,
        chosen: int,
        frames: int,
        level_db: tuple[float, float],
        augmented: float,
        reduction_db: float,
    ) -> Row:
        clip = self.clips[chosen]
        first = int(rng.integers(FIRST_FRAME, clip.frames - frames - 3))
        change = augment.draw(rng, level_db) if rng.random() < augmented else augment.plain(rng, level_db)
        talkers = self.talkers(rng, frames) if change.babble else []
        seed = int(rng.integers(2**62))  # the same noise twice
        place = chosen, first, frames, change, talkers
        heard = wanted = self.window(np.random.default_rng(seed), *place)
        if change.noisy and reduction_db:
            wanted = self.window(np.random.default_rng(seed), *place, reduction_db)
        track = self.track(chosen, first, frames)
        level = self.levels[chosen] * abs(change.gain) * INPUT_SCALE
        return heard, wanted, track, clip.band_hz, level

    def track(self, chosen: int, first: int, frames: int) -> Samples:
        """F0 of `frames` frames of a clip from frame `first` on, and of the two borders after them; see `Segment`."""
        begin = self.clips[chosen].start + first
        return np.asarray(self.f0[begin : begin + frames + 2])

    def window(
        self,
        rng: np.random.Generator,
        chosen: int,
        first: int,
        frames: int,
        change: augment.Augmentation,
        talkers: list[tuple[int, int]],
        reduction_db: float = 0.0,
    ) -> Samples:
        """Samples of `frames` frames of a clip from frame `first` >= FIRST_FRAME on, with the analysis margins.

        `talkers`: (clip, first frame) of those who speak in the background; `reduction_db` as in `Augmentation.apply`.
        """
        count = frames * FRAME_SAMPLES + WINDOW_SAMPLES - FRAME_SAMPLES
        speech = self._read(rng, chosen, first, count, augment.HISTORY_SAMPLES, augment.AHEAD_SAMPLES)
        others = [self._read(rng, c, f, count) / (self.levels[c] * len(talkers) ** 0.5) for c, f in talkers]
        background = sum(others) if others else None
        return change.apply(speech, rng, self.levels[chosen], background, reduction_db) * INPUT_SCALE

    def talkers(self, rng: np.random.Generator, frames: int) -> list[tuple[int, int]]:
        """Three to five random places of at least `frames` frames, for babble."""
        chosen = rng.choice(len(self.clips), size=int(rng.integers(3, 6)), p=self.shares)
        return [(int(i), int(rng.integers(FIRST_FRAME, self.clips[i].frames - frames - 3))) for i in chosen]

    def _read(
        self, rng: np.random.Generator, chosen: int, first: int, count: int, before: int = 0, after: int = 0
    ) -> Samples:
        """Samples of a clip at full scale 1, with dither."""
        begin = (self.clips[chosen].start + first) * FRAME_SAMPLES - PAD_LEFT
        samples = self.audio[begin - before : begin + count + after]
        return ((samples + rng.random(len(samples), np.float32) - 0.5) / 32767).astype(np.float32)

    @cached_property
    def levels(self) -> list[float]:
        """Rms between 325 and 3250 Hz a clip, full scale 1, from 16 places of a second each."""
        band = butter(5, [325, 3250], fs=SAMPLE_RATE_HZ, btype="band", output="sos")
        levels = []
        for clip in self.clips:
            begins = clip.start * FRAME_SAMPLES + np.linspace(0, clip.frames * FRAME_SAMPLES - 22050, 16).astype(int)
            taken = np.concatenate([self.audio[b : b + 22050] for b in begins])
            levels.append(float(np.sqrt(np.mean(sosfilt(band, taken / 32767) ** 2)) + 1e-5))
        return levels


def stack(rows: list[Row]) -> Segment:
    """Samples, those wanted, F0 track, band in Hz and level of each segment as one batch."""
    audio, wanted, f0, band, level = zip(*rows, strict=True)
    return Segment(
        torch.from_numpy(np.stack(audio)),
        torch.from_numpy(np.stack(wanted)),
        torch.from_numpy(np.stack(f0)),
        torch.tensor(band, dtype=torch.float32),
        torch.tensor(level, dtype=torch.float32),
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
