"""One direction of an impaired link: each packet's time of arrival, or none."""

from __future__ import annotations

import random
from collections.abc import Sequence

from voicelink.settings import LinkSettings
from voicelink.sim.loss import GilbertLoss
from voicelink.units import NS_PER_MS


class Link:
    """Gilbert loss, a fixed delay, and jitter drawn evenly from 0..jitter_ms for each packet.

    Without `reorder` the link is first-in first-out, as real paths mostly are: a late packet holds up those
    behind it. Raises ConfigError as GilbertLoss.
    """

    def __init__(self, settings: LinkSettings, name: str = "", trace: Sequence[int] = ()) -> None:
        self.sent = 0
        self.delivered = 0
        self.settings = settings
        self._loss = GilbertLoss(settings.loss, settings.burst, settings.seed)
        self._rng = random.Random(f"jitter {name} {settings.seed}")
        self._last_ns = 0

    def carry(self, data: bytes, now_ns: int) -> list[tuple[int, bytes]]:
        """What comes of a packet that enters now: when which bytes come out; nothing where it is lost."""
        due_ns = self.depart_ns(len(data), now_ns)
        return [] if due_ns is None else [(due_ns, data)]

    def depart_ns(self, size_bytes: int, now_ns: int) -> int | None:
        """When a packet that enters now comes out, or None where it is lost."""
        self.sent += 1
        extra_ns = self._rng.randint(0, round(self.settings.jitter_ms * NS_PER_MS))
        if self._loss.lost():
            return None
        self.delivered += 1
        due_ns = now_ns + round(self.settings.delay_ms * NS_PER_MS) + extra_ns
        if not self.settings.reorder:
            due_ns = self._last_ns = max(due_ns, self._last_ns)
        return due_ns
