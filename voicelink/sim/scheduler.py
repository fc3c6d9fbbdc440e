"""Virtual time: what happens next, in the order of time and, at one time, of asking."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Any


class Scheduler:
    """A heap of actions. `now_ns` moves from one to the next and never stands between."""

    def __init__(self, now_ns: int = 0) -> None:
        self.now_ns = now_ns
        self._heap: list[tuple[int, int, Callable[..., None], tuple[Any, ...]]] = []
        self._count = 0

    def at(self, when_ns: int, action: Callable[..., None], *args: Any) -> None:
        """Run `action(*args)` at `when_ns`, or now where that is past."""
        self._count += 1
        heapq.heappush(self._heap, (when_ns, self._count, action, args))

    def run(self, end_ns: int, until: Callable[[], bool] | None = None) -> bool:
        """Run until `end_ns`, nothing is left, or `until()`; True where `until` came about."""
        heap, pop = self._heap, heapq.heappop
        while heap and heap[0][0] <= end_ns:
            when_ns, _, action, args = pop(heap)
            if when_ns > self.now_ns:  # noqa: PLR1730 (max() is slow here, the simulator's innermost loop)
                self.now_ns = when_ns
            action(*args)
            if until is not None and until():
                return True
        self.now_ns = max(self.now_ns, end_ns) if until is None else self.now_ns
        return False

    def clear(self) -> None:
        """Forget what was to happen."""
        self._heap.clear()
