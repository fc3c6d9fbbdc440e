"""Training of the harmonic vocoder, first stage: spectral losses and F0 classes on true mels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from voicelink.codec.harmonic import HarmonicConfig, HarmonicVocoder
from voicelink.codec.noise import HOPS, noise_hops
from voicelink.train.data import LogMel, Segment, SpeechData
from voicelink.train.export import load_vocoder
from voicelink.train.loop import clip_gradients
from voicelink.train.losses import WaveLoss
from voicelink.train.synthesis import pulse_train, synthesise
from voicelink.units import FRAME_SAMPLES


class VocoderTask:
    """One step of vocoder training on B segments of T frames; see `loop.Task`.

    Recipe keys: `batch`, `frames`, the weights of `WaveLoss`, `augmented` (share of segments),
    `noise_reduction_db` (see `SpeechData.segments`), `start` (a run or model
    folder to go on from; empty: anew), `sources` (share a source).
    """

    def __init__(self, recipe: dict, data: SpeechData) -> None:
        self.recipe, self.data = recipe, data
        if recipe["start"]:
            self.model = load_vocoder(Path(recipe["start"])).train()
        else:
            self.model = HarmonicVocoder(HarmonicConfig(**recipe.get("model", {})))
        self.log_mel = LogMel()
        self.loss = WaveLoss(recipe)
        self.modules = {"vocoder": self.model}
        optimiser = torch.optim.AdamW(self.model.parameters(), lr=recipe["lr"], betas=(0.8, 0.99), weight_decay=0.01)
        self.optimisers = {"vocoder": optimiser}

    def step(self, rng: np.random.Generator, step: int) -> dict[str, float]:
        """Spectral and F0 losses of one batch."""
        segment = self.data.segments(
            rng,
            self.recipe["batch"],
            self.recipe["frames"],
            augmented=self.recipe["augmented"],
            noise_reduction_db=self.recipe["noise_reduction_db"],
        )
        mel = self.log_mel(segment.audio)
        made, f0_loss = render(self.model, mel, segment)
        true = target(segment)
        total, losses = self.loss(made, true, segment)
        total = total + f0_loss
        self.optimisers["vocoder"].zero_grad(set_to_none=True)
        total.backward()
        norm = clip_gradients(self.model, 50.0)
        self.optimisers["vocoder"].step()
        return {**losses, "f0": f0_loss.item(), "grad": float(norm)}

    def carried(self) -> object:
        """Nothing: each step draws its own segments."""
        return None

    def restore(self, carried: object) -> None:
        """Nothing to restore."""


def target(segment: Segment) -> Tensor:
    """Samples 256 .. 256 T - 1 of each segment: those for which `render` has both halves."""
    return segment.wanted[:, 2 * FRAME_SAMPLES : segment.wanted.shape[1] - 2 * FRAME_SAMPLES]


def render(model: HarmonicVocoder, mel: Tensor, segment: Segment, own_f0: int = 0) -> tuple[Tensor, Tensor]:
    """Waveform [B, 256 (T - 1)] and the F0 loss.

    The first `own_f0` segments are driven by the F0 that the network tells, as in use, the others by the true one.
    """
    f0_hz, voiced = segment.f0_hz, (segment.f0_hz > 0).float()
    with torch.autocast(mel.device.type, torch.bfloat16):
        logits, _ = model.f0_logits(mel, zero_states(model, mel)[0])
    loss = f0_loss(model, logits.float(), f0_hz[:, 2:], voiced[:, 2:])
    if own_f0:
        f0_hz, voiced = _with_own(model, logits.detach(), f0_hz, voiced, own_f0)
    return sound(model, mel, f0_hz, voiced), loss


def sound(model: HarmonicVocoder, mel: Tensor, f0_hz: Tensor, voiced: Tensor) -> Tensor:
    """Waveform [B, 256 (T - 1)] of mels [B, T, 80], driven by F0 and voicing [B, T + 2] from a zero state."""
    batch, frames = mel.shape[:2]
    with torch.autocast(mel.device.type, torch.bfloat16):
        spectrum, _ = model.spectrum(mel, f0_hz[:, 2:], voiced[:, 2:], zero_states(model, mel)[1])
    phase = torch.rand(batch, device=mel.device)
    pulses = pulse_train(f0_hz, voiced, phase)
    return synthesise(spectrum, pulses, some_noise(batch, frames + 1).to(mel.device))[:, FRAME_SAMPLES:-FRAME_SAMPLES]


def some_noise(batch: int, hops: int, first_hop: int | None = None) -> Tensor:
    """The excitation's noise [B, 256 hops], from hop `first_hop` of the loop on, each from a random one by default."""
    first = torch.randint(HOPS, (batch, 1)).numpy() if first_hop is None else np.full((batch, 1), first_hop)
    return torch.from_numpy(noise_hops(first + np.arange(hops)).astype(np.float32)).flatten(1)


def zero_states(model: HarmonicVocoder, mel: Tensor) -> tuple[Tensor, ...]:
    """Of the F0 trunk and of the other one."""
    return torch.split(model.initial_state(len(mel)).to(mel.device), model.state_sizes, dim=2)


def _with_own(
    model: HarmonicVocoder, logits: Tensor, f0_hz: Tensor, voiced: Tensor, count: int
) -> tuple[Tensor, Tensor]:
    """F0 and voicing [B, T + 2] with those that the network tells of frames 2 on in the first `count` segments."""
    told_hz, told_voiced = model.decode_f0(logits[:count])
    pairs = ((f0_hz, told_hz), (voiced, told_voiced))
    made = [torch.cat([torch.cat([a[:count, :2], b.float()], dim=1), a[count:]]) for a, b in pairs]
    return made[0], made[1]


def f0_loss(model: HarmonicVocoder, logits: Tensor, f0_hz: Tensor, voiced: Tensor) -> Tensor:
    """Cross-entropy of F0 classes over voiced frames plus that of voicing over all."""
    classes = model.config.f0_classes
    entropy = F.cross_entropy(logits[..., :classes].transpose(1, 2), model.f0_class(f0_hz), reduction="none")
    voicing = F.binary_cross_entropy_with_logits(logits[..., classes], voiced)
    return (entropy * voiced).sum() / voiced.sum().clamp(min=1) + voicing


def train(recipe: dict, data: Path, out: Path) -> int:
    """Train by `recipe` on the prepared folder `data` into run folder `out`; returns the step reached."""
    from voicelink.train.loop import run  # noqa: PLC0415

    torch.manual_seed(recipe["seed"])
    return run(VocoderTask(recipe, SpeechData(data, recipe.get("sources"))), recipe, out)
