"""Joint fine-tuning: what the coder's mels sound like through a vocoder, as a loss of the coder.

The log-mel distance weighs every band alike; here the gradient of the wave losses, PESQ's relative and DNSMOS among
them, goes through a frozen vocoder into the decoder, the recurrence and the encoder.
"""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from voicelink.errors import ConfigError
from voicelink.train.data import Segment
from voicelink.train.export import load_vocoder
from voicelink.train.losses import WEIGHTS, WaveLoss
from voicelink.train.vocoder import sound, target
from voicelink.units import FRAME_SAMPLES

KEYS = frozenset({"vocoder_run", "streams", "weight", "linear_weight", *(f"{name}_weight" for name in WEIGHTS)})
#: Frames that the vocoder, which starts a window from its zero state, is given to settle.
WARM_UP_FRAMES = 12


class ThroughVocoder:
    """Wave losses of coded mels. `settings` is a recipe's `[wave]` table: a vocoder's run or model folder, how many
    `streams` of a step go through it, the `weight` of it all, and the keys of `WaveLoss`.

    Raises ConfigError where a key is missing or unknown.
    """

    def __init__(self, settings: dict) -> None:
        if set(settings) != KEYS:
            wrong = ", ".join(sorted(set(settings) ^ KEYS))
            raise ConfigError(f"[wave] of the recipe: {wrong} missing or unknown; it has {', '.join(sorted(KEYS))}")
        self.streams, self.weight = int(settings["streams"]), float(settings["weight"])
        self.vocoder = load_vocoder(Path(settings["vocoder_run"])).requires_grad_(False)
        self.loss = WaveLoss(settings)

    def __call__(self, mel: Tensor, segment: Segment) -> tuple[Tensor, dict[str, float]]:
        """mel [B, T, 80] as coded, and what it was coded from -> weighted loss, and each before weighting."""
        made = sound(self.vocoder, mel, segment.f0_hz, (segment.f0_hz > 0).float())
        skipped = FRAME_SAMPLES * WARM_UP_FRAMES
        total, losses = self.loss(made[:, skipped:], target(segment)[:, skipped:], segment)
        return self.weight * total, losses
