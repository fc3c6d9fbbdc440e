from __future__ import annotations

import threading
import tracemalloc

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from voicelink.audio.ring import Ring


@given(capacity=st.integers(1, 50), steps=st.lists(st.tuples(st.booleans(), st.integers(0, 60))))
def test_like_a_list(capacity: int, steps: list[tuple[bool, int]]) -> None:
    ring, model, next_value = Ring(capacity), [], 0
    for push, count in steps:
        if push:
            block = np.arange(next_value, next_value + count, dtype=np.float32)
            took = ring.push(block)
            assert took == min(count, capacity - len(model))
            model += block[:took].tolist()
            next_value += count
        else:
            out = np.full(count, -1, np.float32)
            got = ring.pop_into(out)
            assert got == min(count, len(model))
            assert out.tolist() == model[:got] + [-1.0] * (count - got)
            del model[:got]
        assert len(ring) == len(model)


def test_two_threads_lose_nothing_and_keep_the_order() -> None:
    ring, total = Ring(1_000), 200_000
    got: list[np.ndarray] = []

    def read() -> None:
        out = np.zeros(333, np.float32)
        count = 0
        while count < total:
            n = ring.pop_into(out)
            got.append(out[:n].copy())
            count += n

    reader = threading.Thread(target=read)
    reader.start()
    sent = 0
    while sent < total:
        sent += ring.push(np.arange(sent, min(sent + 217, total), dtype=np.float32))
    reader.join(20)
    assert not reader.is_alive()
    assert np.array_equal(np.concatenate(got), np.arange(total, dtype=np.float32))


def test_no_buffer_is_allocated() -> None:
    ring, block, out = Ring(100_000), np.zeros(50_000, np.float32), np.zeros(50_000, np.float32)
    tracemalloc.start()
    try:
        for _ in range(10):
            ring.push(block)
            ring.pop_into(out)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 10_000
