"""Which packets a link loses: models as seeded value machines, each from the figures that people state.

`loss_process` makes the one that `LinkSettings` ask for. Every model starts in its steady state, so that short runs
have the right rate too. Only `random.Random.random` is drawn from: Python promises that its numbers never change.
"""

from __future__ import annotations

import random
from typing import Protocol

from voicelink.errors import ConfigError
from voicelink.settings import LinkSettings
from voicelink.sim.replay import Replay


class LossProcess(Protocol):
    """Decides packet by packet."""

    def lost(self) -> bool:
        """Whether the next packet is lost."""


class GilbertLoss:
    """Loses all packets in its bad state and none in its good one (Gilbert 1960; as Lyra's GilbertModel).

    `rate` is the share of packets lost, 0..1, and `mean_burst` (at least 1, in packets) the mean length of a
    run of losses: enter = rate / (mean_burst * (1 - rate)), leave = 1 / mean_burst. With mean_burst = 1 no
    two losses are adjacent; 0 stands for independent losses, whose mean burst is 1 / (1 - rate).
    Raises ConfigError where no such chain exists (rate > mean_burst / (mean_burst + 1)).
    """

    def __init__(self, rate: float, mean_burst: float, seed: int | str) -> None:
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
        self._draw = random.Random(seed).random
        self._bad = self._draw() < rate

    def lost(self) -> bool:
        """Whether the next packet is lost."""
        bad = self._bad
        if self._draw() < (self._leave if bad else self._enter):
            self._bad = not bad
        return bad


class Markov4Loss:
    """netem's `loss state p13 p31 p32 p23 p14`: bursts of losses with packets received within them, and lone losses.

    States: 1 received, 2 received within a burst, 3 lost within a burst, 4 lost alone (back to 1 at once). From
    Salsano, Ludovici, Ordine and Giannuzzi, "Definition of a general and intuitive loss model for packet networks and
    its implementation in the Netem module in the Linux kernel", 2012. p31 = 0 stands for 1 - p13 - p32 and p23 = 0 for
    1, as in tc. Raises ConfigError where probabilities of one state add up to more than 1.
    """

    def __init__(self, p13: float, p31: float, p32: float, p23: float, p14: float, seed: int | str) -> None:
        p31, p23 = p31 or max(0.0, 1 - p13 - p32), p23 or 1.0
        for text, total in (("p13 + p14", p13 + p14), ("p31 + p32", p31 + p32)):
            if total > 1 + 1e-12:
                raise ConfigError(f"markov4: {text} = {total:g} is more than 1")
        if p13 and not p31:
            raise ConfigError("markov4: p31 = 0 with this p13: a burst would never end")
        self._p13, self._p31, self._p32, self._p23, self._p14 = p13, p31, p32, p23, p14
        self._draw = random.Random(seed).random
        in_burst = p13 / p31 if p13 else 0.0
        weights = (1.0, in_burst * p32 / p23, in_burst, p14)
        u = self._draw() * sum(weights)
        self._state = next((n for n, below in enumerate(_running(weights), 1) if u < below), 1)

    def lost(self) -> bool:
        """Whether the next packet is lost."""
        state = self._state
        u = self._draw() if state != 4 else 0.0
        if state == 1:
            following = 4 if u < self._p14 else 3 if u < self._p14 + self._p13 else 1
        elif state == 2:
            following = 3 if u < self._p23 else 2
        elif state == 3:
            following = 2 if u < self._p32 else 1 if u < self._p32 + self._p31 else 3
        else:
            following = 1
        self._state = following
        return state >= 3


class ReplayedLoss:
    """Losses as a trace has them."""

    def __init__(self, replay: Replay) -> None:
        self._replay = replay

    def lost(self) -> bool:
        """Whether the packet that the replay stands at is lost."""
        return self._replay.entry < 0


def loss_process(settings: LinkSettings, seed: str, replay: Replay) -> LossProcess:
    """The process that `settings` ask for. Raises ConfigError for figures that do not go together."""
    model = settings.loss_model
    if model in ("markov4", "trace") and (settings.loss or settings.burst):
        how = "p13, p31, p32, p23 and p14" if model == "markov4" else "the trace"
        raise ConfigError(f"loss_model {model} takes its losses from {how}; leave loss and burst at 0")
    if model == "bernoulli" and settings.burst:
        raise ConfigError("loss_model bernoulli has no bursts; leave burst at 0, or take gilbert")
    if model == "markov4":
        s = settings
        return Markov4Loss(s.p13, s.p31, s.p32, s.p23, s.p14, seed)
    if model == "trace":
        return ReplayedLoss(replay)
    return GilbertLoss(settings.loss, settings.burst, seed)


def _running(weights: tuple[float, ...]) -> list[float]:
    return [sum(weights[: n + 1]) for n in range(len(weights))]
