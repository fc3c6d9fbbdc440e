"""A long simulated call takes the memory of its trace, and no more as it goes on; afterwards it gives all back."""

from __future__ import annotations

import gc
import tracemalloc
import weakref

import pytest

from voicelink.core.session import Session
from voicelink.sim import call
from voicelink.sim.scenario import scenario_from

#: The trace's columns, in bytes a simulated second of both ends at two frames a packet (86 rows of 16 bytes, 86
#: frames of 1, 43 packets of 24), and an eighth more that arrays keep in reserve.
TRACE_BYTES_A_S = 2 * (86.2 * 16 + 86.2 + 43.1 * 24) * 9 / 8


def test_nothing_but_the_trace_grows() -> None:
    held: dict[int, int] = {}

    def note(done: float) -> None:
        if round(done * 100) in (50, 100):
            gc.collect()
            held[round(done * 100)] = tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        call.simulate(scenario_from({"seconds": 60.0, "loss": 0.1, "delay_ms": 40.0, "jitter_ms": 20.0}), note)
    finally:
        tracemalloc.stop()
    # What the delay estimator remembers is full after 20 s.
    beyond = held[100] - held[50] - 30 * TRACE_BYTES_A_S
    assert held[100] > held[50]
    assert beyond < 30_000, f"{beyond:.0f} bytes in 30 s"


def test_a_call_that_is_over_is_gone_without_the_collector(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[weakref.ref[Session]] = []

    def watched(*given: object) -> Session:
        session = original(*given)  # type: ignore[arg-type]
        made.append(weakref.ref(session))
        return session

    original = call._session
    monkeypatch.setattr(call, "_session", watched)
    gc.collect()
    gc.disable()
    try:
        trace = call.simulate(scenario_from({"seconds": 1.0}))
        assert trace.ends[0].stats["slots"] > 70
        assert len(made) == 2
        assert [session() for session in made] == [None, None]
    finally:
        gc.enable()
