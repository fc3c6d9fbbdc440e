"""A recorded trace, entry by entry: a packet's delay over the fastest in us, or -1 for a packet that was lost."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Final

from voicelink.settings import LinkSettings
from voicelink.units import NS_PER_MS

LOST_ENTRY: Final = -1


class Replay:
    """Stands at one entry of `trace` for each packet; from its beginning again after its end.

    Where `trace_interval_ms` is set, the entry is that of the packet's time, else each packet takes the next. With
    seed 0 the trace runs from its beginning (the way back from its middle), with any other from a place drawn by it.
    """

    def __init__(self, trace: Sequence[int], settings: LinkSettings, way: int) -> None:
        self.entry = 0
        self._trace = trace or (0,)
        self._interval_ns = round(settings.trace_interval_ms * NS_PER_MS)
        share = random.Random(f"trace {way} {settings.seed}").random() if settings.seed else way / 2
        self._at = int(share * len(self._trace))
        self._start_ns: int | None = None

    def step(self, now_ns: int) -> None:
        """A packet enters."""
        if self._start_ns is None:
            self._start_ns = now_ns
        at = self._at
        if self._interval_ns:
            at += (now_ns - self._start_ns) // self._interval_ns
        else:
            self._at += 1
        self.entry = self._trace[at % len(self._trace)]
