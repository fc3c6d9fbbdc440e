"""Packet loss with bursts: the Gilbert model, from the two figures that people state."""

from __future__ import annotations

import random

from voicelink.errors import ConfigError


class GilbertLoss:
    """Loses all packets in its bad state and none in its good one (Gilbert 1960; as Lyra's GilbertModel).

    `rate` is the share of packets lost, 0..1, and `mean_burst` (at least 1, in packets) the mean length of a
    run of losses: enter = rate / (mean_burst * (1 - rate)), leave = 1 / mean_burst. With mean_burst = 1 no
    two losses are adjacent; 0 stands for independent losses, whose mean burst is 1 / (1 - rate).
    Raises ConfigError where no such chain exists (rate > mean_burst / (mean_burst + 1)).
    """

    def __init__(self, rate: float, mean_burst: float, seed: int) -> None:
        if mean_burst == 0 and 0 <= rate < 1:
            mean_burst = 1 / (1 - rate)
        if not 0 <= rate < 1 or mean_burst < 1 or rate > mean_burst / (mean_burst + 1) + 1e-12:
            most = mean_burst / (mean_burst + 1) if mean_burst >= 1 else 0.5
            raise ConfigError(
                f"loss {rate:g} with bursts of {mean_burst:g} packets is not possible: bursts are 1 or more, "
                f"and loss at most {most:.3g} for these"
            )
        self._enter = rate / (mean_burst * (1 - rate))
        self._leave = 1 / mean_burst
        self._rng = random.Random(seed)
        # The first packet sees the chain in its steady state, so that short runs have the right rate too.
        self._bad = self._rng.random() < rate

    def lost(self) -> bool:
        """Whether the next packet is lost."""
        bad = self._bad
        change = self._leave if bad else self._enter
        if self._rng.random() < change:
            self._bad = not bad
        return bad
