"""Second stage of the vocoder: coded mels mixed in, and light STFT discriminators beside the spectral losses."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from voicelink.codec.bvrnn import Bvrnn, sent_mask
from voicelink.codec.search import search_step
from voicelink.train.compensation import compensated
from voicelink.train.data import LogMel, Segment, SpeechData
from voicelink.train.discriminators import Adversary
from voicelink.train.export import load_coder, load_vocoder
from voicelink.train.loop import clip_gradients
from voicelink.train.losses import WaveLoss
from voicelink.train.vocoder import render, target
from voicelink.units import FRAME_SAMPLES

#: Frames coded before a segment, so that the coder's state is settled where the vocoder starts to learn.
WARM_UP_FRAMES = 24


class FinetuneTask:
    """One step of fine-tuning; see `loop.Task`.

    Recipe keys beside the vocoder's: `coder_run`, `vocoder_run` (run or model folders to start from), `coded_share` and
    `own_f0_share` of segments, `compensated_share` of the coded ones (see `compensation`; harmonic vocoder only),
    `favoured_bits`, `search_rounds`, `adversarial_weight`, `matching_weight`,
    `discriminator_every` (steps), `ema`, `f0_weight` (0: the F0 trunk stays as it is).
    """

    def __init__(self, recipe: dict, data: SpeechData) -> None:
        self.recipe, self.data = recipe, data
        self.model = self._start()
        self.average = copy.deepcopy(self.model).requires_grad_(False)
        self.coder = load_coder(Path(recipe["coder_run"])).requires_grad_(False)
        self.adversary = Adversary(recipe["lr"])
        self.log_mel, self.loss = LogMel(), WaveLoss(recipe)
        self.modules = {"vocoder": self.average, "live": self.model, "judges": self.adversary.judges}
        self.optimisers = {
            "vocoder": torch.optim.AdamW(
                self.model.parameters(), lr=recipe["lr"], betas=(0.8, 0.99), weight_decay=0.01
            ),
            "judges": self.adversary.optimiser,
        }

    def step(self, rng: np.random.Generator, step: int) -> dict[str, float]:
        """Generator step, and every `discriminator_every` steps one of the discriminators."""
        segment, mel = self._batch(rng)
        made, true, more = self._made(mel, segment)
        total, losses = self.loss(made, true, segment)
        for name, loss in more.items():
            total = total + self.recipe[f"{name}_weight"] * loss
            losses[name] = loss.item()
        if self.recipe["adversarial_weight"] and step % self.recipe["discriminator_every"] == 0:
            losses["judges"] = self.adversary.learn(true, made)
        if self.recipe["adversarial_weight"] and step >= self.recipe["warmup"]:
            adversarial, matching = self.adversary.losses(true, made)
            total = total + self.recipe["adversarial_weight"] * adversarial + self.recipe["matching_weight"] * matching
            losses |= {"adversarial": adversarial.item(), "matching": matching.item()}
        self.optimisers["vocoder"].zero_grad(set_to_none=True)
        total.backward()
        clip_gradients(self.model, 50.0)
        self.optimisers["vocoder"].step()
        follow(self.average, self.model, self.recipe["ema"], step)
        return losses

    def carried(self) -> object:
        """Nothing: each step draws its own segments."""
        return None

    def restore(self, carried: object) -> None:
        """Nothing to restore."""

    def _start(self) -> nn.Module:
        """The vocoder to train."""
        model = load_vocoder(Path(self.recipe["vocoder_run"])).train()
        model.f0_trunk.requires_grad_(self.recipe["f0_weight"] > 0)
        return model

    def _made(self, mel: Tensor, segment: Segment) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """What the vocoder makes of mels [B, T, 80], the samples that it should be, and losses of its own by name."""
        made, f0_loss = render(self.model, mel, segment, round(len(mel) * self.recipe["own_f0_share"]))
        return made, target(segment), {"f0": f0_loss}

    def _batch(self, rng: np.random.Generator) -> tuple[Segment, Tensor]:
        """Segments, and their mels: coded at random bits a frame for a share of them, true for the rest."""
        frames, count = self.recipe["frames"], self.recipe["batch"]
        wide = self.data.segments(
            rng,
            count,
            frames + WARM_UP_FRAMES,
            augmented=self.recipe["augmented"],
            noise_reduction_db=self.recipe["noise_reduction_db"],
        )
        mel = self.log_mel(wide.audio)
        coded = round(count * self.recipe["coded_share"])
        if coded:
            bits = torch.tensor([some_bits(rng, self.recipe["favoured_bits"]) for _ in range(coded)])
            asked, searched = mel[:coded].clone(), round(coded * self.recipe["compensated_share"])
            if searched:
                asked[:searched] = compensated(self.average, mel[:searched], wide.audio[:searched], bits[:searched])
            decoded = code(self.coder, asked, bits, self.recipe["search_rounds"])
            mel = torch.cat([decoded, mel[coded:]])
        cut = WARM_UP_FRAMES
        audio, wanted = (samples[:, FRAME_SAMPLES * cut :] for samples in (wide.audio, wide.wanted))
        return Segment(audio, wanted, wide.f0_hz[:, cut:], wide.band_hz, wide.level), mel[:, cut:]


def some_bits(rng: np.random.Generator, favoured: list[int]) -> int:
    """Bits a frame of one segment: mostly one of the `favoured`, else any from 8 to 64."""
    return int(rng.choice(favoured) if rng.random() < 0.7 else rng.integers(8, 65))


def follow(average: torch.nn.Module, live: torch.nn.Module, ema: float, step: int) -> None:
    """Move the exponential moving average of the weights, the form that is exported; sooner in the first steps."""
    decay = min(ema, (1 + step) / (10 + step))
    with torch.no_grad():
        for slow, fast in zip(average.parameters(), live.parameters(), strict=True):
            slow.lerp_(fast, 1 - decay)


@torch.no_grad()
def code(coder: Bvrnn, mel: Tensor, bits: Tensor, rounds: int = 0) -> Tensor:
    """Mels [B, T, 80] after coding from a zero state at `bits` [B] a frame, with so many rounds of search."""
    sent, state, decoded = sent_mask(bits, coder.config.bits), coder.initial_state(len(mel)), []
    for frame in mel.unbind(1):
        found, logit = coder.code_step(frame, sent, state)
        for _ in range(rounds):
            found = search_step(coder, frame, sent, found, logit, state)
        made, state = coder.decode_step(found, state)
        decoded.append(made)
    return torch.stack(decoded, dim=1)


def train(recipe: dict, data: Path, out: Path) -> int:
    """Fine-tune by `recipe` on the prepared folder `data` into run folder `out`; returns the step reached."""
    from voicelink.train.loop import run  # noqa: PLC0415

    torch.manual_seed(recipe["seed"])
    return run(FinetuneTask(recipe, SpeechData(data, recipe.get("sources"))), recipe, out)
