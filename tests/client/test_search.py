"""The encoder search in calls: on where it is asked for, and given up by a machine that is too slow for it."""

from __future__ import annotations

import time

import pytest
from voicelink_client.engine import PATIENCE, Engine
from voicelink_client.streams import PacedSink, null_source

from tests.client.fake_codec import FakeCodec, FakeEncoder
from voicelink.core.events import PlayoutDecision, Wait
from voicelink.frame import Frame


class Noting(FakeCodec):
    def __init__(self) -> None:
        self.encoders: list[FakeEncoder] = []

    def encoder(self, sample_rate: int = 22_050, bits: int = 32, rounds: int | None = None) -> FakeEncoder:
        self.encoders.append(super().encoder(sample_rate, bits, rounds))
        return self.encoders[-1]


class Patient(PacedSink):
    """Counts no gap, however busy the machine is that tests."""

    def wants(self, now_ns: int) -> bool:
        self.underruns = 0
        return super().wants(now_ns)


class Port:
    def send_bits(self) -> int:
        return 32

    def send_frame(self, frame: Frame) -> None:
        pass

    def pull_frame(self, *, quiet: bool = False) -> PlayoutDecision:
        return Wait()


@pytest.mark.parametrize(("asked", "gaps", "left"), [(2, 0, 2), (2, PATIENCE - 1, 2), (2, PATIENCE, 0), (0, 0, 0)])
def test_the_search_lasts_until_there_are_too_many_gaps(
    asked: int, gaps: int, left: int, caplog: pytest.LogCaptureFixture
) -> None:
    codec, source, sink = Noting(), null_source(), Patient()
    engine = Engine(codec, source, sink, search=asked)
    engine.start(Port(), 32, lambda error: None)
    encoder = codec.encoders[-1]
    assert encoder.rounds in (asked, left)
    source.overruns += gaps
    until = time.monotonic() + 10
    while encoder.rounds != left and time.monotonic() < until:
        time.sleep(0.01)
    time.sleep(0.1)
    engine.stop()
    assert encoder.rounds == left
    assert ("too slow for --search 2" in caplog.text) == (left < asked)
