"""Training of the paper's vocoder, a causal BigVGAN, on coded and true mels with the harmonic vocoder's losses."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from voicelink.codec.engine_torch import make_vocoder
from voicelink.train.data import Segment, SpeechData
from voicelink.train.export import load_bigvgan
from voicelink.train.finetune import FinetuneTask
from voicelink.units import FRAME_SAMPLES

#: Frames at a segment's begin that only fill the layers' memories (which reach back 25 frames, most less than 8).
SETTLING_FRAMES = 10


class BigVganTask(FinetuneTask):
    """One step; see `FinetuneTask`, whose recipe keys these are but for those of F0.

    `vocoder_run` may be empty: anew. `wave_weight`: of the mean absolute distance of waveforms, which gives phases a
    direction as long as discriminators do not.
    """

    def _start(self) -> nn.Module:
        run = self.recipe["vocoder_run"]
        if run:
            return load_bigvgan(Path(run)).train()
        return initialise(make_vocoder("bigvgan", self.recipe.get("model", {})))

    def _made(self, mel: Tensor, segment: Segment) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Frame t's samples are 256 t to 256 t + 255 of the segment, which are complete 768 samples later."""
        with torch.autocast(mel.device.type, torch.bfloat16):
            made, _ = self.model.step(mel, self.model.initial_state(len(mel)))
        true = segment.wanted[:, FRAME_SAMPLES : FRAME_SAMPLES * (mel.shape[1] + 1)]
        begin = FRAME_SAMPLES * SETTLING_FRAMES
        made, true = made.float()[:, begin:], true[:, begin:]
        return made, true, {"wave": F.l1_loss(made, true) / true.abs().mean().clamp(min=1e-3)}


def initialise(model: nn.Module) -> nn.Module:
    """Small convolutions, as HiFi-GAN and BigVGAN start."""
    for name, layer in model.named_modules():
        if isinstance(layer, (nn.Conv1d, nn.ConvTranspose1d)) and name != "conv_pre":
            nn.init.normal_(layer.weight, std=0.01 if isinstance(layer, nn.Conv1d) else 0.02)
    return model


def train(recipe: dict, data: Path, out: Path) -> int:
    """Train by `recipe` on the prepared folder `data` into run folder `out`; returns the step reached."""
    from voicelink.train.loop import run  # noqa: PLC0415

    torch.manual_seed(recipe["seed"])
    return run(BigVganTask(recipe, SpeechData(data, recipe.get("sources"))), recipe, out)
