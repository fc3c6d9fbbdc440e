"""The least of the values of the last seconds."""

from __future__ import annotations

from collections import deque


class RecentMinimum:
    """A queue of rising minima ("ascending minima"): amortised constant time a value."""

    __slots__ = ("_minima", "_window_ns")

    def __init__(self, window_ns: int) -> None:
        self._window_ns = window_ns
        self._minima: deque[tuple[int, int]] = deque()  # when, value: both rising

    @property
    def value(self) -> int | None:
        """As `add` gave it last; None before the first value."""
        return self._minima[0][1] if self._minima else None

    def __len__(self) -> int:
        """How many values are kept."""
        return len(self._minima)

    def add(self, value: int, now_ns: int) -> int:
        """The least of the values up to `window_ns` before `now_ns`, which never falls; this one included."""
        minima, begin_ns = self._minima, now_ns - self._window_ns
        while minima and minima[-1][1] >= value:
            minima.pop()
        minima.append((now_ns, value))
        while minima[0][0] < begin_ns:
            minima.popleft()
        return minima[0][1]

    def clear(self) -> None:
        """Forget all values."""
        self._minima.clear()
