"""Spectral balance of a trained vocoder: what it makes too loud or too quiet on average, taken off its output's bias.

Distances of log spectra are least for a median, and relatives of PESQ forgive what is missing sooner than what is too
much; of coded speech, which is uncertain, the network therefore makes the upper formants too quiet by 1 to 2 dB. Here
nothing is trained: the mean difference of long-term spectra between speech and its decode is measured over training
segments, and goes into the bias of the last layer.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.ndimage import gaussian_filter1d
from torch import Tensor

from voicelink.codec.harmonic import BINS
from voicelink.errors import ConfigError
from voicelink.train.data import LogMel, SpeechData
from voicelink.train.export import load_coder, load_vocoder
from voicelink.train.finetune import WARM_UP_FRAMES, code
from voicelink.train.vocoder import render, target
from voicelink.units import FRAME_SAMPLES, SAMPLE_RATE_HZ

WINDOW_SAMPLES = 2 * FRAME_SAMPLES  # its bins are the vocoder's
#: Nearer to the end of a source's band than this, its filter is measured and not the vocoder.
BAND_SHARE = 0.9
#: Smoothing over bins, rms; and the most that a bin is changed, dB.
SMOOTH_BINS, MOST_DB = 1.5, 2.5
NEPER_DB = 20 / np.log(10)


class BalanceTask:
    """One step measures one batch, the last one changes the bias; see `loop.Task`.

    Recipe keys: `coder_run`, `vocoder_run` (run or model folders), `batch`, `frames`, `bits` (bits a frame, in turn),
    `search_rounds`, `strength` (share of what is measured that is taken off), `low_db` and `high_db` (see `tilt`).
    Raises ConfigError for bits that the coder has not.
    """

    def __init__(self, recipe: dict[str, Any], data: SpeechData) -> None:
        self.recipe, self.data = recipe, data
        self.model = load_vocoder(Path(recipe["vocoder_run"])).eval().requires_grad_(False)
        self.coder = load_coder(Path(recipe["coder_run"])).eval().requires_grad_(False)
        most = self.coder.config.bits
        if not recipe["bits"] or not all(isinstance(b, int) and 1 <= b <= most for b in recipe["bits"]):
            raise ConfigError(f"bits = {recipe['bits']} of the recipe: give at least one whole number, each 1..{most}")
        self.log_mel = LogMel()
        self.modules = {"vocoder": self.model}
        self.optimisers: dict[str, torch.optim.Optimizer] = {}
        self.sum_db, self.count = torch.zeros(BINS), torch.zeros(BINS)

    @torch.no_grad()
    def step(self, rng: np.random.Generator, step: int) -> dict[str, float]:
        """Mean of what is measured so far below and above 700 Hz, dB."""
        recipe = self.recipe
        segment = self.data.segments(rng, recipe["batch"], recipe["frames"] + WARM_UP_FRAMES)
        bits = recipe["bits"][step % len(recipe["bits"])]
        coded = code(
            self.coder, self.log_mel(segment.audio), torch.full((recipe["batch"],), bits), recipe["search_rounds"]
        )
        made, _ = render(self.model, coded, segment, recipe["batch"])
        begin = FRAME_SAMPLES * WARM_UP_FRAMES
        apart_db, known = difference(made[:, begin:], target(segment)[:, begin:], segment.band_hz)
        self.sum_db += (apart_db * known).sum(dim=0)
        self.count += known.sum(dim=0)
        if step + 1 == recipe["steps"]:
            change_db = (-recipe["strength"] * self.mean_db()).clamp(-MOST_DB, MOST_DB)
            apply(self.model, change_db + tilt(recipe["low_db"], recipe["high_db"]))
        low = round(700 / SAMPLE_RATE_HZ * WINDOW_SAMPLES)
        mean_db = self.mean_db()
        return {"low_db": float(mean_db[1:low].mean()), "high_db": float(mean_db[low : 4 * low].mean())}

    def mean_db(self) -> Tensor:
        """[257] decoded less true, dB; 0 where nothing is known."""
        return self.sum_db / self.count.clamp(min=1)

    def carried(self) -> object:
        """What is measured so far."""
        return {"sum_db": self.sum_db, "count": self.count}

    def restore(self, carried: Any) -> None:
        """Inverse of `carried`."""
        self.sum_db, self.count = carried["sum_db"], carried["count"]


def difference(made: Tensor, true: Tensor, band_hz: Tensor) -> tuple[Tensor, Tensor]:
    """made, true [B, n] samples; band_hz [B] -> made less true [B, 257] in dB over the louder half of the frames, and
    whether a bin is of the source's band.
    """
    window = torch.hann_window(WINDOW_SAMPLES)
    powers = [torch.fft.rfft(x.unfold(1, WINDOW_SAMPLES, FRAME_SAMPLES) * window).abs().square() for x in (made, true)]
    level = powers[1].sum(dim=2)
    loud = (level >= level.median(dim=1, keepdim=True).values).float()[..., None]
    a, b = ((power * loud).sum(dim=1) / loud.sum(dim=1) for power in powers)
    hz = torch.arange(BINS) * (SAMPLE_RATE_HZ / WINDOW_SAMPLES)
    return 10 * torch.log10((a + 1e-9) / (b + 1e-9)), (hz <= BAND_SHARE * band_hz[:, None]).float()


def apply(model: torch.nn.Module, change_db: Tensor) -> None:
    """Add `change_db` [257], smoothed, to all log gains of the vocoder `model`."""
    smooth = gaussian_filter1d(change_db.numpy().astype(np.float64), SMOOTH_BINS, mode="nearest")
    nepers = torch.from_numpy(smooth / NEPER_DB).float()
    bias = model.trunk.head.bias
    with torch.no_grad():
        bias[:BINS] += nepers
        bias[2 * BINS :] += nepers


def tilt(low_db: float, high_db: float) -> Tensor:
    """[257] dB: `low_db` up to 200 Hz, none from 320 to 500 Hz, `high_db` from 900 Hz on; straight lines over log f."""
    hz = np.maximum(np.arange(BINS) * SAMPLE_RATE_HZ / WINDOW_SAMPLES, 1.0)
    curve = np.interp(np.log(hz), np.log([200.0, 320.0, 500.0, 900.0]), [low_db, 0.0, 0.0, high_db])
    return torch.from_numpy(curve).float()


def train(recipe: dict, data: Path, out: Path) -> int:
    """Balance by `recipe` on the prepared folder `data` into run folder `out`; returns the step reached."""
    from voicelink.train.loop import run  # noqa: PLC0415

    return run(BalanceTask(recipe, SpeechData(data, recipe.get("sources"))), recipe, out)
