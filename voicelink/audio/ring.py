"""A ring of samples between two threads, one that writes and one that reads.

No lock and no allocation: each side moves only its own counter, after the samples are copied. Under
CPython an integer attribute is stored and loaded whole, so the other side sees either the old or the new
count, and both are safe. (Lamport, "Proving the Correctness of Multiprocess Programs", IEEE TSE 3(2), 1977.)
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


class Ring:
    """Holds up to `capacity` float32 samples; one thread may push while another pops."""

    def __init__(self, capacity: int) -> None:
        self._buffer = np.zeros(capacity, np.float32)
        self._capacity = capacity
        self._written = 0  # moved by push only
        self._read = 0  # moved by pop_into only

    def __len__(self) -> int:
        """Samples that can be popped."""
        return self._written - self._read

    @property
    def capacity(self) -> int:
        """Most samples it holds."""
        return self._capacity

    def push(self, block: NDArray[np.float32]) -> int:
        """Append what fits of float32 [n]; returns how many samples that were (the rest is dropped)."""
        count = min(len(block), self._capacity - len(self))
        at = self._written % self._capacity
        head = min(count, self._capacity - at)
        self._buffer[at : at + head] = block[:head]
        self._buffer[: count - head] = block[head:count]
        self._written += count
        return count

    def pop_into(self, out: NDArray[np.float32]) -> int:
        """Fill float32 `out` from its start with what is there; returns how many samples that were."""
        count = min(len(out), len(self))
        at = self._read % self._capacity
        head = min(count, self._capacity - at)
        out[:head] = self._buffer[at : at + head]
        out[head:count] = self._buffer[: count - head]
        self._read += count
        return count
