"""Training of the vocoder's F0 trunk alone, on coded and on true mels: minutes where the whole vocoder takes hours.

Classes are softened, so that a neighbour of the true class is nearly right, and the class's local mean (what
`decode_f0` tells) is drawn to the true F0. Speech played faster or slower, with its track, makes voices that the data
lacks (speed perturbation: Ko et al., "Audio augmentation for speech recognition", Interspeech 2015).
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.fft import irfft, next_fast_len, rfft
from torch import Tensor
from torch.nn import functional as F

from voicelink.codec.harmonic import F0_NEIGHBOURHOOD, HarmonicVocoder
from voicelink.codec.mel import PAD_LEFT
from voicelink.train.data import LogMel, Segment, SpeechData
from voicelink.train.export import load_coder, load_vocoder
from voicelink.train.f0 import between
from voicelink.train.finetune import WARM_UP_FRAMES, code, follow, some_bits
from voicelink.train.loop import clip_gradients
from voicelink.train.vocoder import zero_states
from voicelink.units import FRAME_SAMPLES, WINDOW_SAMPLES

#: Coded batches kept, and the steps that each new one must serve: coding costs more than learning from it.
POOL, NEW_EVERY = 24, 4
#: Frames at a segment's beginning that the trunk sees too little before; and how soft the classes are (classes, rms).
BLIND_FRAMES, SOFTNESS = 20, 0.6
#: Ratios are rounded to it, so that one transform serves a batch.
SPEEDS = 9


class PitchTask:
    """One step of training the F0 trunk; see `loop.Task`.

    Recipe keys: `coder_run`, `vocoder_run` (run or model folders to start from), `batch`, `frames`, `coded_share` of
    segments, `favoured_bits`, `augmented` (share of segments), `speed` (most change of speed, natural logarithm),
    `speed_share` (of batches), `voiced_weight` (of a voiced frame against an unvoiced one: more than 1 calls more
    frames voiced, as the vocoder's judges like it), `ema`.
    """

    def __init__(self, recipe: dict[str, Any], data: SpeechData) -> None:
        self.recipe, self.data = recipe, data
        self.model = load_vocoder(Path(recipe["vocoder_run"])).train()
        self.average = copy.deepcopy(self.model).requires_grad_(False)
        self.coder = load_coder(Path(recipe["coder_run"])).requires_grad_(False)
        self.log_mel = LogMel()
        self.modules = {"vocoder": self.average, "live": self.model}
        trunk = self.model.f0_trunk.parameters()
        self.optimisers = {"f0": torch.optim.AdamW(trunk, lr=recipe["lr"], betas=(0.9, 0.99), weight_decay=0.01)}
        self.pool: list[tuple[Tensor, Tensor]] = []

    def step(self, rng: np.random.Generator, step: int) -> dict[str, float]:
        """Losses over coded and true mels of one batch, and the share of gross errors (more than four classes)."""
        mel, f0_hz = self._batch(rng, step)
        with torch.autocast(mel.device.type, torch.bfloat16):
            logits, _ = self.model.f0_logits(mel, zero_states(self.model, mel)[0])
        seen = slice(min(BLIND_FRAMES, mel.shape[1] // 2), None)
        total, losses = pitch_loss(self.model, logits.float()[:, seen], f0_hz[:, seen], self.recipe["voiced_weight"])
        self.optimisers["f0"].zero_grad(set_to_none=True)
        total.backward()  # type: ignore[no-untyped-call]
        clip_gradients(self.model.f0_trunk, 5.0)
        self.optimisers["f0"].step()
        follow(self.average, self.model, self.recipe["ema"], step)
        return losses

    def carried(self) -> object:
        """The coded batches."""
        return self.pool

    def restore(self, carried: Any) -> None:
        """Inverse of `carried`."""
        self.pool = [tuple(pair) for pair in carried]

    def _batch(self, rng: np.random.Generator, step: int) -> tuple[Tensor, Tensor]:
        count = self.recipe["batch"]
        coded = round(count * self.recipe["coded_share"])
        parts = []
        if coded:
            if step % NEW_EVERY == 0 or not self.pool:
                self._refill(rng, 2 * coded)
            mel, f0_hz = self.pool[int(rng.integers(len(self.pool)))]
            chosen = torch.from_numpy(rng.permutation(len(mel))[:coded])
            parts.append((mel[chosen].float(), f0_hz[chosen]))
        if coded < count:
            mel, f0_hz = self._speech(rng, count - coded)
            parts.append((mel[:, WARM_UP_FRAMES:], f0_hz[:, WARM_UP_FRAMES:]))
        mels, tracks = zip(*parts, strict=True)
        return torch.cat(mels), torch.cat(tracks)

    def _refill(self, rng: np.random.Generator, count: int) -> None:
        """A new coded batch; where there is no room, one of the older ones goes."""
        mel, f0_hz = self._speech(rng, count)
        bits = torch.tensor([some_bits(rng, self.recipe["favoured_bits"]) for _ in range(count)])
        coded = code(self.coder, mel, bits)
        self.pool.append((coded[:, WARM_UP_FRAMES:].half(), f0_hz[:, WARM_UP_FRAMES:].clone()))
        if len(self.pool) > POOL:
            self.pool.pop(int(rng.integers(POOL // 3)))

    @torch.no_grad()
    def _speech(self, rng: np.random.Generator, count: int) -> tuple[Tensor, Tensor]:
        """True mels [count, T, 80] and F0 [count, T] at the end of each frame's output, warm-up frames included."""
        frames = self.recipe["frames"] + WARM_UP_FRAMES
        speed = 1.0
        if rng.random() < self.recipe["speed_share"]:
            speed = float(np.exp(rng.choice(np.linspace(-1.0, 1.0, SPEEDS)) * self.recipe["speed"]))
        segment = self.data.segments(rng, count, frames_for(frames, speed), augmented=self.recipe["augmented"])
        audio, f0_hz = at_speed(segment, frames, speed)
        return self.log_mel(audio), f0_hz[:, 2:]


def pitch_loss(
    model: HarmonicVocoder, logits: Tensor, f0_hz: Tensor, voiced_weight: float
) -> tuple[Tensor, dict[str, float]]:
    """Loss of logits [B, T, classes + 1] against F0 [B, T] in Hz (0 = unvoiced), and its parts."""
    classes = model.config.f0_classes
    voiced = (f0_hz > 0).float()
    count = voiced.sum().clamp(min=1)
    true = model.f0_place(f0_hz)
    index = torch.arange(classes, device=logits.device)
    away = index - true[..., None]
    soft = torch.softmax(-0.5 * (away / SOFTNESS) ** 2, dim=-1)
    entropy = -(soft * F.log_softmax(logits[..., :classes], dim=-1)).sum(dim=-1)
    scores = torch.softmax(logits[..., :classes], dim=-1) * (away.abs() <= F0_NEIGHBOURHOOD)
    found = scores.sum(dim=-1)
    apart = ((scores * index).sum(dim=-1) / found.clamp(min=1e-3) - true).abs() * found.detach()
    weight = torch.tensor(voiced_weight, device=logits.device)
    voicing = F.binary_cross_entropy_with_logits(logits[..., classes], voiced, pos_weight=weight)
    parts = {"classes": (entropy * voiced).sum() / count, "apart": (apart * voiced).sum() / count, "voicing": voicing}
    with torch.no_grad():
        wrong = (logits[..., :classes].argmax(dim=-1) - true).abs() > F0_NEIGHBOURHOOD
        gross = (wrong * voiced).sum() / count
    total = parts["classes"] + parts["apart"] + 1.5 * voicing
    return total, {name: part.item() for name, part in parts.items()} | {"gross": gross.item()}


def frames_for(frames: int, speed: float) -> int:
    """Frames of a segment of which `at_speed` makes `frames`."""
    return frames if speed == 1.0 else int(np.ceil((frames + 4) * speed)) + 3


def at_speed(segment: Segment, frames: int, speed: float) -> tuple[Tensor, Tensor]:
    """Samples [B, 256 `frames` + 768] and F0 [B, `frames` + 2] of a segment played `speed` times as fast.

    Pitch and formants rise by `speed`. `segment` has at least `frames_for(frames, speed)` frames; its first sample
    stays the first.
    """
    if speed == 1.0:
        return segment.audio, segment.f0_hz
    audio, track = segment.audio.numpy(), segment.f0_hz.numpy()
    wanted = frames * FRAME_SAMPLES + WINDOW_SAMPLES - FRAME_SAMPLES
    before = min(next_fast_len(audio.shape[1] - FRAME_SAMPLES, real=True), audio.shape[1])
    after = round(before / speed)
    spectrum = rfft(audio[:, :before], axis=1)[:, : after // 2 + 1]
    played = irfft(spectrum, n=after, axis=1)[:, :wanted] * (after / before)
    true_speed = before / after
    places = (true_speed * (PAD_LEFT + FRAME_SAMPLES * np.arange(frames + 2)) - PAD_LEFT) / FRAME_SAMPLES
    return torch.from_numpy(np.ascontiguousarray(played, np.float32)), torch.from_numpy(
        (_track_at(track, places) * true_speed).astype(np.float32)
    )


def _track_at(track: NDArray[np.float32], places: NDArray[np.float64]) -> NDArray[np.float64]:
    """F0 between the entries of `track` [B, n]; see `f0.between`."""
    left = np.clip(np.floor(places).astype(int), 0, track.shape[1] - 2)
    share = np.clip(places - left, 0.0, 1.0)
    return between(track[:, left].astype(np.float64), track[:, left + 1].astype(np.float64), share)


def train(recipe: dict[str, Any], data: Path, out: Path) -> int:
    """Train by `recipe` on the prepared folder `data` into run folder `out`; returns the step reached."""
    from voicelink.train.loop import run  # noqa: PLC0415

    torch.manual_seed(recipe["seed"])
    return run(PitchTask(recipe, SpeechData(data, recipe.get("sources"))), recipe, out)
