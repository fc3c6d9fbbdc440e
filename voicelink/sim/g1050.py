"""A path after ITU-T G.1050 / TIA-921, severities A to H: LAN, access link, core, access link, LAN.

After the text of G.1050 (2007), Appendix II. Time is cut into slices of 1 ms. In each LAN and access link a two-state
chain (Gilbert-Elliott) decides how likely impulses of delay and losses are in a slice; in access links the impulses go
through a one-pole filter. The core adds a delay of its own, uniform jitter, loss, route flaps and link failures, and
only the core reorders. Speeds are the likeliest of the standard's 168 combinations: 100 Mbit/s LANs, 768 kbit/s up and
7 Mbit/s down.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from typing import Final

from voicelink.units import IP_UDP_HEADER_BYTES, NS_PER_MS, NS_PER_S

LAN_BPS, UP_BPS, DOWN_BPS = 100_000_000, 768_000, 7_000_000
LAN_MTU: Final = 1508
_LAN_JITTER_MS: Final = 1.5
_FILTER: Final = 0.25
_NS_PER_US: Final = 1_000


@dataclass(frozen=True)
class Severity:
    """A row of the standard's tables. Occupancies and losses in percent, times in ms but where named."""

    lan_occupancy: float
    access_occupancy: float
    access_mtu: int
    regional_ms: float
    intercontinental_ms: float
    core_loss: float
    core_jitter_ms: float
    period_s: float
    """From one route flap to the next, and from one link failure to the next; 0: never."""
    flap_ms: float
    failure_ms: float


SEVERITIES: Final = {
    "A": Severity(1, 0, 512, 4, 16, 0.0, 5, 0, 0, 0),
    "B": Severity(2, 1, 512, 8, 32, 0.01, 10, 3600, 2, 64),
    "C": Severity(3, 2, 1508, 16, 64, 0.02, 16, 1800, 4, 128),
    "D": Severity(5, 4, 1508, 32, 128, 0.04, 40, 900, 8, 256),
    "E": Severity(8, 8, 1508, 64, 196, 0.1, 70, 480, 16, 400),
    "F": Severity(12, 15, 1508, 128, 256, 0.2, 100, 240, 32, 800),
    "G": Severity(16, 30, 1508, 256, 512, 0.5, 150, 120, 64, 1600),
    "H": Severity(20, 50, 1508, 512, 768, 1.0, 500, 60, 128, 3000),
}


class Segment:
    """A LAN or an access link: its delay and its chance of loss, slice by slice.

    Quiet slices are passed over in one step: the time to the next change of state and to the next impulse are drawn
    as geometric variables, which is the same process.
    """

    def __init__(self, bps: int, mtu: int, occupancy: float, *, lan: bool, seed: str) -> None:
        self._draw = random.Random(seed).random
        self._bad = False
        height_ms = mtu * 8_000 / bps * (1 + occupancy / 40)
        if lan:
            self._change = (0.0001 * occupancy, 0.1)
            self._impulse = (0.0, 0.5)
            self._height_ms, self._decay = height_ms, 0.0
            self._loss = (0.0, 0.000025 * occupancy)
        else:
            self._change = (0.0002 * occupancy, 0.2 / (1 + occupancy))
            self._impulse = (0.001 + occupancy / 2000, 0.3 + 0.4 * occupancy / 100)
            self._height_ms, self._decay = _FILTER * height_ms, 1 - _FILTER
            self._loss = (0.0, 0.0005 * occupancy)
        self._lan = lan
        self._slice = 0
        self._delay_ms = 0.0
        self._changes_at = self._wait(self._change[0])
        self._impulse_at = self._wait(self._impulse[0])

    def advance(self, to_slice: int) -> tuple[float, float]:
        """Delay in ms and probability of loss in slice `to_slice` (they only rise)."""
        while (event := min(self._changes_at, self._impulse_at)) <= to_slice:
            self._decay_to(event)
            if self._impulse_at == event:
                share = self._draw() if self._lan or not self._bad else 1.0
                self._delay_ms += (1 - self._decay) * self._height_ms * share
                self._impulse_at = event + 1 + self._wait(self._impulse[self._bad])
            if self._changes_at == event:
                self._bad = not self._bad
                self._changes_at = event + 1 + self._wait(self._change[self._bad])
                self._impulse_at = event + 1 + self._wait(self._impulse[self._bad])
        self._decay_to(to_slice)
        return self._delay_ms, self._loss[self._bad]

    def _decay_to(self, to_slice: int) -> None:
        if to_slice > self._slice:
            self._delay_ms *= self._decay ** (to_slice - self._slice)
            self._slice = to_slice

    def _wait(self, probability: float) -> int:
        """Slices that pass before one in which it happens."""
        if probability <= 0:
            return 1 << 60
        return int(math.log(1 - self._draw()) / math.log(1 - probability)) if probability < 1 else 0


class G1050Path:
    """All five segments, one direction."""

    def __init__(self, severity: str, *, intercontinental: bool, seed: str) -> None:
        s = self._severity = SEVERITIES[severity]
        self._core_ms = s.intercontinental_ms if intercontinental else s.regional_ms
        self._segments = [
            Segment(LAN_BPS, LAN_MTU, s.lan_occupancy, lan=True, seed=f"{seed} lan a"),
            Segment(UP_BPS, s.access_mtu, s.access_occupancy, lan=False, seed=f"{seed} access a"),
            Segment(DOWN_BPS, s.access_mtu, s.access_occupancy, lan=False, seed=f"{seed} access b"),
            Segment(LAN_BPS, LAN_MTU, s.lan_occupancy, lan=True, seed=f"{seed} lan b"),
        ]
        self._draw = random.Random(f"{seed} core").random
        self._flap_ns = round(self._draw() * s.period_s * NS_PER_S)
        self._failure_ns = round(self._draw() * s.period_s * NS_PER_S)
        self._start_ns: int | None = None
        self._ordered_ns = 0

    def out_ns(self, size_bytes: int, now_ns: int) -> int | None:
        """When a packet of `size_bytes` (UDP payload) that enters now comes out, or None where it is lost."""
        if self._start_ns is None:
            self._start_ns = now_ns
        since_ns = now_ns - self._start_ns
        bits = (size_bytes + IP_UDP_HEADER_BYTES) * 8
        delay_ms, kept = bits / UP_BPS * 1000 + bits / DOWN_BPS * 1000, 1.0
        for segment in self._segments:
            segment_ms, loss = segment.advance(since_ns // NS_PER_MS)
            delay_ms += segment_ms
            kept *= 1 - loss
        delay_ms += _LAN_JITTER_MS * (self._draw() + self._draw())
        core_ms, core_loss = self._core(since_ns)
        lost = self._draw() >= kept * (1 - core_loss)
        self._ordered_ns = max(self._ordered_ns, now_ns + _to_ns(delay_ms))
        return None if lost else self._ordered_ns + _to_ns(core_ms)

    def _core(self, since_ns: int) -> tuple[float, float]:
        """Delay in ms and probability of loss in the core."""
        s = self._severity
        delay_ms, loss = self._core_ms + s.core_jitter_ms * self._draw(), s.core_loss / 100
        if s.period_s:
            period_ns = round(s.period_s * NS_PER_S)
            if (since_ns + self._flap_ns) // period_ns % 2:
                delay_ms += s.flap_ms
            if (since_ns + self._failure_ns) % period_ns < s.failure_ms * NS_PER_MS:
                loss = 1.0
        return delay_ms, loss


def _to_ns(milliseconds: float) -> int:
    """Rounded to whole microseconds: the same on every machine."""
    return round(milliseconds * 1_000) * _NS_PER_US
