"""One direction of an impaired path: each packet's time of arrival, or none. The simulator and the proxy share it.

In this order, as in the kernel's netem: a packet is lost, doubled or damaged; it waits for the bottleneck; it is
delayed. Each part draws from a generator of its own, so that a change of one leaves the others as they were.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from voicelink.settings import LinkSettings
from voicelink.sim.bottleneck import Bottleneck
from voicelink.sim.g1050 import G1050Path
from voicelink.sim.jitter import jitter_process
from voicelink.sim.loss import loss_process
from voicelink.sim.replay import Replay
from voicelink.units import NS_PER_MS


@dataclass
class LinkCounts:
    """Packets so far."""

    sent: int = 0
    lost: int = 0
    dropped: int = 0
    """By the bottleneck's queue."""
    duplicated: int = 0
    corrupted: int = 0
    overtaking: int = 0


class Link:
    """What `settings` say, seeded by `settings.seed` and `way` (0 or 1: the two directions of one path).

    Without `reorder` the link is first-in first-out, as real paths mostly are: a late packet holds up those behind it
    (which raises the mean delay). `trace` holds the entries of `settings.trace` (see `Replay`). Raises ConfigError for
    figures that do not go together.
    """

    def __init__(self, settings: LinkSettings, way: int = 0, trace: Sequence[int] = ()) -> None:
        self.counts = LinkCounts()
        self._way, self._trace = way, trace
        self._last_ns = 0
        self._changes = 0
        self._bottleneck = Bottleneck(settings)
        self._path: G1050Path | None = None
        self._configure(settings)

    @property
    def settings(self) -> LinkSettings:
        """As they are now."""
        return self._settings

    def change(self, settings: LinkSettings) -> None:
        """Go on with other settings; what is on its way stays so."""
        self._changes += 1
        self._bottleneck.configure(settings)
        self._configure(settings)

    def carry(self, data: bytes, now_ns: int) -> list[tuple[int, bytes]]:
        """What comes of a packet that enters now: when which bytes come out. Nothing where it is lost."""
        counts = self.counts
        counts.sent += 1
        self._replay.step(now_ns)
        extra_ns = self._jitter.extra_ns(now_ns) if self._jitter is not None else 0
        if self._loss.lost():
            counts.lost += 1
            return []
        if not self._special:
            due_ns = now_ns + self._delay_ns + extra_ns
            return [(self._in_order(max(due_ns, now_ns)), data)]
        return self._carry_special(data, extra_ns, now_ns)

    def _carry_special(self, data: bytes, extra_ns: int, now_ns: int) -> list[tuple[int, bytes]]:
        """The rarer things, at a cost."""
        s, counts = self._settings, self.counts
        if s.corrupt and self._damage.random() < s.corrupt:
            counts.corrupted += 1
            data = self._flip(data)
        copies = 1
        if s.duplicate and self._double() < s.duplicate:
            counts.duplicated += 1
            copies = 2
        out = []
        for _ in range(copies):
            passed_ns = self._bottleneck.passed_ns(len(data), now_ns)
            if passed_ns is None:
                counts.dropped += 1
                continue
            due_ns = self._delayed(len(data), extra_ns, passed_ns)
            if due_ns is None:
                counts.lost += 1
                continue
            out.append((due_ns, data))
        return out

    def _delayed(self, size_bytes: int, extra_ns: int, now_ns: int) -> int | None:
        if self._settings.overtake and self._skip() < self._settings.overtake:
            self.counts.overtaking += 1
            return now_ns
        if self._path is not None:
            out_ns = self._path.out_ns(size_bytes, now_ns)
            return None if out_ns is None else out_ns + self._delay_ns
        return self._in_order(max(now_ns, now_ns + self._delay_ns + extra_ns))

    def _in_order(self, due_ns: int) -> int:
        if not self._settings.reorder:
            due_ns = self._last_ns = max(due_ns, self._last_ns)
        return due_ns

    def _flip(self, data: bytes) -> bytes:
        bit = int(self._damage.random() * len(data) * 8)
        flipped = bytearray(data)
        flipped[bit >> 3] ^= 1 << (bit & 7)
        return bytes(flipped)

    def _configure(self, settings: LinkSettings) -> None:
        def seed(part: str) -> str:
            return f"{part} {self._way} {settings.seed} {self._changes}"

        self._settings = settings
        self._replay = Replay(self._trace, settings, self._way)
        self._loss = loss_process(settings, seed("loss"), self._replay)
        self._jitter = jitter_process(settings, seed("jitter"), self._replay)
        self._delay_ns = round(settings.delay_ms * NS_PER_MS)
        self._damage = random.Random(seed("corrupt"))
        self._double, self._skip = (random.Random(seed(part)).random for part in ("duplicate", "overtake"))
        is_g1050 = settings.jitter_model == "g1050"
        self._path = (
            G1050Path(settings.severity, intercontinental=settings.intercontinental, seed=seed("g1050"))
            if is_g1050
            else None
        )
        self._special = is_g1050 or any((settings.corrupt, settings.duplicate, settings.overtake, settings.rate_kbps))
