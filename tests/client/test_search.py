"""The encoder search in calls: on where it is asked for, and given up by a machine that is too slow for it."""

from __future__ import annotations

import time

import numpy as np
import pytest
from voicelink_client.engine import PATIENCE, Engine
from voicelink_client.streams import PacedSink, PacedSource

from tests.client.fake_codec import FakeCodec, FakeEncoder
from voicelink.core.events import PlayoutDecision, Wait
from voicelink.frame import Frame, Pause
from voicelink.units import NS_PER_MS


class Noting(FakeCodec):
    def __init__(self) -> None:
        self.encoders: list[FakeEncoder] = []

    def encoder(
        self, sample_rate: int = 22_050, bits: int = 32, rounds: int | None = None, pauses: bool = False
    ) -> FakeEncoder:
        self.encoders.append(super().encoder(sample_rate, bits, rounds, pauses))
        return self.encoders[-1]


class Sink(PacedSink):
    """Counts no gap, however busy the machine is that tests."""

    def write(self, block: np.ndarray, now_ns: int) -> int:
        leave_ns = super().write(block, now_ns)
        self.underruns = 0
        return leave_ns


class Silence(PacedSource):
    """Counts as many as the test says."""

    def __init__(self, gaps: int) -> None:
        super().__init__(np.zeros(0, np.float32))
        self._gaps = gaps

    def due_ns(self, now_ns: int) -> int:
        self.overruns = self._gaps
        return max(super().due_ns(now_ns), now_ns - NS_PER_MS)  # never so far behind that it counts by itself


class Port:
    def send_bits(self) -> int:
        return 32

    def sends_second(self) -> bool:
        return True

    def send_frame(self, frame: Frame | Pause) -> None:
        pass

    def pull_frame(self, *, quiet: bool = False) -> PlayoutDecision:
        return Wait()


@pytest.mark.parametrize(("asked", "gaps", "left"), [(2, 0, 2), (2, PATIENCE - 1, 2), (2, PATIENCE, 0), (0, 0, 0)])
def test_the_search_lasts_until_there_are_too_many_gaps(
    asked: int, gaps: int, left: int, caplog: pytest.LogCaptureFixture
) -> None:
    codec = Noting()
    engine = Engine(codec, Silence(gaps), Sink(), search=asked)
    engine.start(Port(), 32, lambda error: None)
    encoder = codec.encoders[-1]
    assert encoder.rounds in (asked, left)
    until = time.monotonic() + 10
    while encoder.rounds != left and time.monotonic() < until:
        time.sleep(0.01)
    time.sleep(0.1)
    engine.stop()
    assert encoder.rounds == left
    assert encoder.describes_twice == (left > 0)
    assert ("too slow for --search 2" in caplog.text) == (left < asked)
