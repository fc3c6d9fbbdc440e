"""Training of the BVRNN coder on B parallel streams of speech, in short windows with the state carried over."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from voicelink.codec.bvrnn import Bvrnn, BvrnnConfig, sent_mask
from voicelink.codec.mel import INPUT_SCALE, N_MELS
from voicelink.train import augment
from voicelink.train.data import FIRST_FRAME, LogMel, Segment, SpeechData, stack
from voicelink.train.export import load_coder
from voicelink.train.fast_bvrnn import Coded, FastLoop
from voicelink.train.joint import ThroughVocoder
from voicelink.train.loop import clip_gradients
from voicelink.train.mel_loss import MelDistance

DB_PER_NEPER = 20 / math.log(10)
LEVEL_DB = (-16.0, 0.0)


@dataclass
class Stream:
    """One utterance in progress: clip, next frame in it, frames left, bits a frame, what is done to the samples."""

    clip: int
    frame: int
    left: int
    bits: int
    seed: int  # of the augmentation and of its background talkers

    def change(self, share: float) -> augment.Augmentation:
        """The utterance's augmentation, the same in every window; a `share` of utterances have one."""
        rng = np.random.default_rng(self.seed)
        return augment.draw(rng, LEVEL_DB) if rng.random() < share else augment.plain(rng, LEVEL_DB)


class CoderTask:
    """One step: T frames of each of B streams, closed loop; see `loop.Task`.

    Recipe keys: `batch`, `frames` (a window), `utterance_frames`, `rounding_noise`, `log_sigma`, `kl_encoder` (share
    of the divergence's gradient that reaches the encoder), `favoured_bits` and `favoured_share`, `clip`
    (gradient norm), `closed_loop_steps` (k of the closed-loop probability 1 - 0.01^(step / k)), `switch`
    (probability that a stream changes its bits at a window), `augmented` (share of utterances), `lossy` (share of
    streams that a second decoder follows which loses frames), `estoi_weight`, `quiet_weight` (see `MelDistance`),
    `start` (a run or model folder to go on from; empty: anew), `sources`, and a table `wave` where coded mels shall
    also be heard through a vocoder (see `joint`).
    """

    def __init__(self, recipe: dict, data: SpeechData) -> None:
        self.recipe, self.data = recipe, data
        self.log_mel = LogMel()
        self.model = load_coder(Path(recipe["start"])).train() if recipe["start"] else self._anew()
        with torch.no_grad():
            self.model.log_sigma.fill_(recipe["log_sigma"])
        self.heard = ThroughVocoder(recipe["wave"]) if "wave" in recipe else None
        self.distance = MelDistance(recipe["quiet_weight"], recipe["estoi_weight"])
        self.modules = {"bvrnn": self.model}
        optimiser = torch.optim.AdamW(self.model.parameters(), lr=recipe["lr"], betas=(0.9, 0.99), weight_decay=0.01)
        self.optimisers = {"bvrnn": optimiser}
        self.streams: list[Stream | None] = [None] * recipe["batch"]
        self.lossy = round(recipe["batch"] * recipe["lossy"])
        self.state = self.model.initial_state(recipe["batch"] + self.lossy)

    def _anew(self) -> Bvrnn:
        model = Bvrnn(BvrnnConfig(**self.recipe.get("model", {})))
        with torch.no_grad():
            mel = self.log_mel(self.data.segments(np.random.default_rng(0), 400, 43).audio)
            model.mean_mel.copy_(mel.mean(dim=(0, 1)))
            model.std_mel.copy_(mel.std(dim=(0, 1)))
            initialise(model)
        return model

    def step(self, rng: np.random.Generator, step: int) -> dict[str, float]:
        """Advance every stream by one window and learn from it."""
        mel, bits, reference, segment = self._window(rng)
        lossy = self.lossy
        kept = torch.from_numpy(received_bits(rng, bits[:lossy].numpy(), mel.shape[1], self.model.config.bits))
        sent = sent_mask(bits, self.model.config.bits)[:, None].expand(-1, mel.shape[1], -1)
        loop = FastLoop(self.model)
        closed = 1 - 0.01 ** (step / self.recipe["closed_loop_steps"])
        open_loop = torch.from_numpy(rng.random(mel.shape[1]) >= closed)
        coded = loop.run(mel, sent, self.state, self.recipe["rounding_noise"], open_loop, kept if lossy else None)
        batch = len(mel)
        error = self.distance(coded.mel[:batch], mel, reference)
        after_loss = self.distance(coded.mel[batch:], mel[:lossy], reference[:lossy]) if lossy else error
        share = lossy / (batch + lossy)
        kl = divergence(coded, sent, self.recipe["kl_encoder"])
        sigma = self.model.log_sigma
        total = (N_MELS * sigma + N_MELS * torch.exp(-sigma) * ((1 - share) * error + share * after_loss)).sum() + kl
        heard: dict[str, float] = {}
        if self.heard is not None:
            loss, heard = self.heard(coded.mel[:batch][-self.heard.streams :], segment)
            total = total + N_MELS * loss
        self.optimisers["bvrnn"].zero_grad(set_to_none=True)
        (total / N_MELS).backward()
        loop.flush()
        norm = clip_gradients(self.model, self.recipe["clip"])
        self.optimisers["bvrnn"].step()
        self.state = coded.state.detach()
        return {
            "mel_db": (coded.mel[:batch].detach() - mel).abs().mean().item() * DB_PER_NEPER,
            "error": error.item(),
            "after_loss": after_loss.item(),
            "kl": kl.item(),
            "log_sigma": sigma.item(),
            "grad": float(norm),
            **{f"wave_{name}": value for name, value in heard.items()},
        }

    def carried(self) -> object:
        """Streams in progress and their states."""
        rows = [[s.clip, s.frame, s.left, s.bits, s.seed] for s in self.streams if s is not None]
        return {"streams": rows, "state": self.state}

    def restore(self, carried: object) -> None:
        """Inverse of `carried`."""
        self.streams = [Stream(*row) for row in carried["streams"]]
        self.state = carried["state"]

    def _window(self, rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor, Segment | None]:
        """Mels [B, T, 80] of every stream's next window, its bits a frame [B], its level [B], and what is to be heard.

        That is the sound of the last streams, as many as go through a vocoder.
        """
        frames = self.recipe["frames"]
        rows, levels, keep = [], [], torch.ones(len(self.streams), 1)
        for i, stream in enumerate(self.streams):
            if stream is None or stream.left < frames:
                first_ever = stream is None
                stream = self.streams[i] = self._start(rng, spread=first_ever)
                keep[i] = 0
            elif rng.random() < self.recipe["switch"]:
                stream.bits = self._bits(rng)
            change = stream.change(self.recipe["augmented"])
            talkers = self._talkers(stream) if change.babble else []
            rows.append(self.data.window(rng, stream.clip, stream.frame, frames, change, talkers))
            levels.append(self.data.levels[stream.clip] * abs(change.gain) * INPUT_SCALE)
            stream.frame += frames
            stream.left -= frames
        self.state = self.state * torch.cat([keep, keep[: self.lossy]])
        with torch.no_grad():
            mel = self.log_mel(torch.from_numpy(np.stack(rows)))
        level = torch.tensor(levels, dtype=torch.float32)
        segment = self._segment(rows, levels) if self.heard is not None else None
        return mel, torch.tensor([s.bits for s in self.streams]), level, segment

    def _segment(self, rows: list[np.ndarray], levels: list[float]) -> Segment:
        """What the streams sound like that are heard: the last ones, which lose no frames."""
        count, frames = self.heard.streams, self.recipe["frames"]
        tracks = [self.data.track(s.clip, s.frame - frames, frames) for s in self.streams[-count:]]
        bands = [self.data.clips[s.clip].band_hz for s in self.streams[-count:]]
        return stack(list(zip(rows[-count:], rows[-count:], tracks, bands, levels[-count:], strict=True)))

    def _talkers(self, stream: Stream) -> list[tuple[int, int]]:
        """Background talkers of a stream, each as far on in its clip as the stream is in its utterance."""
        most = self.recipe["utterance_frames"]
        places = self.data.talkers(np.random.default_rng(stream.seed + 1), most)
        return [(clip, first + most - max(stream.left, self.recipe["frames"])) for clip, first in places]

    def _start(self, rng: np.random.Generator, *, spread: bool) -> Stream:
        """A new utterance; at the very start with a random part of its length, so that streams do not move in step."""
        clip = int(rng.choice(len(self.data.clips), p=self.data.shares))
        length = min(self.recipe["utterance_frames"], self.data.clips[clip].frames - FIRST_FRAME - 10)
        first = FIRST_FRAME + int(rng.integers(0, self.data.clips[clip].frames - FIRST_FRAME - length - 4))
        left = int(rng.integers(self.recipe["frames"], length + 1)) if spread else length
        return Stream(clip, first, left, self._bits(rng), int(rng.integers(2**62)))

    def _bits(self, rng: np.random.Generator) -> int:
        if rng.random() < self.recipe["favoured_share"]:
            return int(rng.choice(self.recipe["favoured_bits"]))
        return int(rng.integers(1, self.model.config.bits + 1))


def received_bits(rng: np.random.Generator, bits: np.ndarray, frames: int, total: int) -> np.ndarray:
    """What arrives of `frames` frames of streams of `bits` [E] a frame: float32 [E, T, total], 1 = received.

    Gilbert losses of a random rate and mean burst a stream; one burst in four is not lost but cut to a quarter of
    the bits, as redundancy sends old frames.
    """
    kept = np.zeros((len(bits), frames, total), np.float32)
    for row, count in zip(kept, bits, strict=True):
        rate, burst = rng.choice([0.03, 0.08, 0.15, 0.3]), rng.choice([1.0, 2.0, 2.0, 4.0])
        lost, cut = False, False
        for frame in row:
            lost = rng.random() >= 1 / burst if lost else rng.random() < rate / (burst * (1 - rate))
            cut = cut if lost else rng.random() < 0.25
            frame[: count if not lost else (count // 4 if cut else 0)] = 1
    return kept


def initialise(model: Bvrnn) -> None:
    """Start with unit gain through every ELU layer and with the mean mel as output.

    Torch's default shrinks the variance by three in each layer, so that after six of them the bits hardly reach the
    output and training sits on a plateau for hundreds of steps.
    """
    for layer in model.modules():
        if isinstance(layer, torch.nn.Linear):
            torch.nn.init.normal_(layer.weight, std=1.2 / math.sqrt(layer.in_features))
            torch.nn.init.zeros_(layer.bias)
    for name, parameter in model.rnn.named_parameters():
        if name.startswith("weight_hh"):
            torch.nn.init.orthogonal_(parameter)
        elif name.startswith("weight_ih"):
            torch.nn.init.normal_(parameter, std=1 / math.sqrt(parameter.shape[1]))
        else:
            torch.nn.init.zeros_(parameter)
    output = model.dec[-1]
    output.bias.copy_(model.mean_mel)


def divergence(coded: Coded, sent: Tensor, encoder_share: float) -> Tensor:
    """KL(encoder || prior) in nats a frame over the sent bits; mean over batch and time.

    The prior learns from all of it; of the gradient to the encoder `encoder_share` is kept. The rate is fixed, so
    bits that the prior could have guessed cost nothing, and pulling the encoder toward the prior wastes them.
    """
    to_prior = _bernoulli_kl(coded.encoder_logit.detach(), coded.prior_logit)
    to_encoder = _bernoulli_kl(coded.encoder_logit, coded.prior_logit.detach())
    kl = to_prior + encoder_share * (to_encoder - to_encoder.detach())
    return (kl * sent).sum(dim=-1).mean()


def _bernoulli_kl(p_logit: Tensor, q_logit: Tensor) -> Tensor:
    p = torch.sigmoid(p_logit)
    return p * (F.logsigmoid(p_logit) - F.logsigmoid(q_logit)) + (1 - p) * (
        F.logsigmoid(-p_logit) - F.logsigmoid(-q_logit)
    )


def train(recipe: dict, data: Path, out: Path) -> int:
    """Train by `recipe` on the prepared folder `data` into run folder `out`; returns the step reached."""
    from voicelink.train.loop import run  # noqa: PLC0415

    torch.manual_seed(recipe["seed"])
    return run(CoderTask(recipe, SpeechData(data, recipe.get("sources"))), recipe, out)
