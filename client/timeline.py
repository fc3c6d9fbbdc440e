"""What one end of a demonstration played and when, slot by slot: written as a file, read by the parent.

Both ends run on one machine, whose `time.monotonic_ns()` (CLOCK_MONOTONIC) all processes share.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from voicelink_client.streams import PacedSink, PacedSource

from voicelink.core.events import Conceal, Play, PlayoutDecision, Skip
from voicelink.units import FRAME_SAMPLES, LAG_STEPS, NS_PER_S, SAMPLE_RATE_HZ

NO_FRAME: Final = -1
SILENT, PLAYED, CONCEALED = 0, 1, 2


class TimelineLog:
    """Collects the codec thread's slots (an `engine.SlotObserver`)."""

    def __init__(self) -> None:
        self._rows: list[tuple[int, int, int, int]] = []

    def __call__(self, decision: PlayoutDecision, leave_ns: int) -> None:
        """Note one slot; cheap."""
        if isinstance(decision, Play):
            self._rows.append((PLAYED, decision.frame.index, leave_ns, decision.lag))
        elif isinstance(decision, Skip):
            self._rows.append((PLAYED, decision.frame.index, leave_ns, 0))
        elif isinstance(decision, Conceal):
            self._rows.append((CONCEALED, decision.index, leave_ns, 0))
        else:
            self._rows.append((SILENT, NO_FRAME, leave_ns, 0))

    def save(self, path: Path, source: PacedSource, sink: PacedSink) -> None:
        """Write as .npz, with what the other end's frames refer to."""
        rows = np.array(self._rows, np.int64).reshape(-1, 4)
        clock = np.array([source.started_ns, sink.started_ns], np.int64)
        np.savez(path, rows=rows, clock=clock, blocks=np.array(source.blocks, np.int64))


@dataclass(frozen=True)
class Timeline:
    """One end: for each slot its `kind`, the sender's frame `index` (-1: none), and when it left, `leave_ns`.

    `capture_ns` is when this end's own sample 0 was captured, `playout_ns` when its loudspeaker started. Frame t
    that this end sent is of samples 256 `blocks[t]` on.
    """

    kind: NDArray[np.int64]
    index: NDArray[np.int64]
    leave_ns: NDArray[np.int64]
    capture_ns: int
    playout_ns: int
    blocks: NDArray[np.int64]
    lag: NDArray[np.int64]
    """How far what a slot played lies before its frame, in 1/LAG_STEPS of a frame."""

    @classmethod
    def load(cls, path: Path) -> Timeline:
        """Read what `TimelineLog.save` wrote."""
        with np.load(path) as stored:
            rows, clock, blocks = stored["rows"], stored["clock"], stored["blocks"]
        return cls(rows[:, 0], rows[:, 1], rows[:, 2], int(clock[0]), int(clock[1]), blocks, rows[:, 3])

    @property
    def lag_samples(self) -> NDArray[np.int64]:
        """`lag` in samples."""
        return self.lag * FRAME_SAMPLES // LAG_STEPS

    def positions(self) -> NDArray[np.int64]:
        """Of each slot, its first sample in the recording of what was heard (see `PacedSink`)."""
        samples = (self.leave_ns - self.playout_ns) * SAMPLE_RATE_HZ / NS_PER_S
        half = FRAME_SAMPLES // 2
        return np.round(samples / half).astype(np.int64) * half - FRAME_SAMPLES
