"""How long a packet is delayed beyond the path's own delay: models as seeded value machines.

Only `random.Random.random` and plain arithmetic are used, and results are rounded to whole microseconds: the same
numbers on every machine and Python version.
"""

from __future__ import annotations

import math
import random
from typing import Final, Protocol

from voicelink.settings import LinkSettings
from voicelink.sim.replay import Replay
from voicelink.units import NS_PER_S

_NS_PER_US: Final = 1_000
_US_PER_MS: Final = 1_000
#: netem's table of the Pareto distribution: exponent 3, mean 0, cut at 4.
PARETO_MEAN, PARETO_SCALE, PARETO_MOST = 1.5, 4 / 3, 4.0
#: A spike is at least this share of the highest.
LEAST_SPIKE: Final = 0.25


class Jitter(Protocol):
    """Additional delay, packet by packet."""

    def extra_ns(self, now_ns: int) -> int:
        """Of a packet that enters now; may be negative down to the path's own delay, which the link sees to."""


class UniformJitter:
    """Evenly from 0 to `jitter_ms`."""

    def __init__(self, jitter_ms: float, seed: str) -> None:
        self._draw = random.Random(seed).random
        self._most_us = round(jitter_ms * _US_PER_MS)

    def extra_ns(self, now_ns: int) -> int:
        """See `Jitter`."""
        return int(self._draw() * (self._most_us + 1)) * _NS_PER_US


class NormalJitter:
    """Normal around the path's delay, `jitter_ms` its standard deviation (netem's `distribution normal`).

    Drawn after Box and Muller (1958): from logarithm and cosine alone.
    """

    def __init__(self, jitter_ms: float, seed: str) -> None:
        self._draw = random.Random(seed).random
        self._scale_us = jitter_ms * _US_PER_MS

    def extra_ns(self, now_ns: int) -> int:
        """See `Jitter`."""
        radius = math.sqrt(-2 * math.log(1 - self._draw()))
        return round(self._scale_us * radius * math.cos(2 * math.pi * self._draw())) * _NS_PER_US


class GammaJitter:
    """Gamma of shape 2 above the path's delay: standard deviation `jitter_ms`, mean 1.41 times that.

    Round trips on the Internet follow a shifted gamma distribution (Mukherjee, "On the dynamics and significance of low
    frequency components of Internet load", Internetworking 5(4), 1994).
    """

    def __init__(self, jitter_ms: float, seed: str) -> None:
        self._draw = random.Random(seed).random
        self._scale_us = jitter_ms * _US_PER_MS / math.sqrt(2)

    def extra_ns(self, now_ns: int) -> int:
        """See `Jitter`."""
        return round(-self._scale_us * math.log((1 - self._draw()) * (1 - self._draw()))) * _NS_PER_US


class ParetoJitter:
    """Heavy-tailed around the path's delay, as netem's `distribution pareto` with jitter `jitter_ms`.

    netem's table (iproute2, netem/pareto.c): (u^(-1/3) - 1.5) * 4/3, at most 4, times the jitter. Its mean is 0 (with
    the cut: -0.03) and its standard deviation 0.82 times the jitter.
    """

    def __init__(self, jitter_ms: float, seed: str) -> None:
        self._draw = random.Random(seed).random
        self._scale_us = jitter_ms * _US_PER_MS

    def extra_ns(self, now_ns: int) -> int:
        """See `Jitter`."""
        value: float = ((1 - self._draw()) ** (-1 / 3) - PARETO_MEAN) * PARETO_SCALE
        return round(self._scale_us * min(value, PARETO_MOST)) * _NS_PER_US


class SpikeJitter:
    """The path stands still now and then, as Wi-Fi does on a retry or a scan; what waited then leaves together.

    Stalls come at random, `spike_every_s` apart on average (exponential), and last from a quarter of `jitter_ms` to
    all of it, evenly distributed.
    """

    def __init__(self, jitter_ms: float, every_s: float, seed: str) -> None:
        self._draw = random.Random(seed).random
        self._most_us = jitter_ms * _US_PER_MS
        self._every_ns = every_s * NS_PER_S
        self._begin_ns = self._end_ns = 0
        self._known = False

    def extra_ns(self, now_ns: int) -> int:
        """See `Jitter`."""
        if not self._known:
            self._known, self._end_ns = True, now_ns
            self._next()
        while now_ns >= self._end_ns:
            self._next()
        return self._end_ns - now_ns if now_ns >= self._begin_ns else 0

    def _next(self) -> None:
        gap_us = round(-self._every_ns / _NS_PER_US * math.log(1 - self._draw()))
        stall_us = round(self._most_us * (LEAST_SPIKE + (1 - LEAST_SPIKE) * self._draw()))
        self._begin_ns = self._end_ns + gap_us * _NS_PER_US
        self._end_ns = self._begin_ns + stall_us * _NS_PER_US


class ReplayedJitter:
    """Delays as a trace has them."""

    def __init__(self, replay: Replay) -> None:
        self._replay = replay

    def extra_ns(self, now_ns: int) -> int:
        """See `Jitter`."""
        return max(0, self._replay.entry) * _NS_PER_US


def jitter_process(settings: LinkSettings, seed: str, replay: Replay) -> Jitter | None:
    """The process that `settings` ask for; None for no jitter. (G.1050 is a path of its own: `g1050.py`.)"""
    model, jitter_ms = settings.jitter_model, settings.jitter_ms
    if model == "trace":
        return ReplayedJitter(replay)
    if not jitter_ms or model == "g1050":
        return None
    if model == "spikes":
        return SpikeJitter(jitter_ms, settings.spike_every_s, seed)
    made: dict[str, type[UniformJitter | NormalJitter | GammaJitter | ParetoJitter]] = {
        "uniform": UniformJitter,
        "normal": NormalJitter,
        "gamma": GammaJitter,
        "pareto": ParetoJitter,
    }
    return made[model](jitter_ms, seed)
