"""Frames that were never sent because the talker was silent (discontinuous transmission)."""

from __future__ import annotations

from collections import deque
from typing import Final

#: More pauses than this within what a buffer holds are no pauses of speech.
MOST_KEPT: Final = 16
ENDLESS: Final = 1 << 62


class Silence:
    """Announced gaps: [first, end) in frame indices; the newest may still be open."""

    def __init__(self) -> None:
        self._gaps: deque[tuple[int, int | None]] = deque(maxlen=MOST_KEPT)

    @property
    def open_from(self) -> int | None:
        """First frame of the silence that lasts; None where the talker talks."""
        return self._gaps[-1][0] if self._gaps and self._gaps[-1][1] is None else None

    def begin(self, first: int) -> None:
        """From `first` on nothing is sent."""
        if self.open_from is None:
            self._gaps.append((first, None))

    def end(self, first: int, newest: int) -> None:
        """Speech starts again at `first`; the silence began after frame `newest` where nobody said when."""
        begun = self.open_from
        if begun is not None:
            self._gaps.pop()
        begun = newest + 1 if begun is None else min(begun, newest + 1)
        if begun < first:
            self._gaps.append((begun, first))

    def resume(self, first: int) -> None:
        """A packet that does not say so came after the silence began: its talk spurt's first packet was lost."""
        begun = self.open_from
        if begun is not None and first > begun:
            self._gaps.pop()
            self._gaps.append((begun, first))

    def left(self, index: int) -> int:
        """How many frames from `index` on were never sent; ENDLESS where the silence lasts."""
        for first, end in self._gaps:
            if first <= index and (end is None or index < end):
                return ENDLESS if end is None else end - index
        return 0

    def clear(self) -> None:
        """Forget all."""
        self._gaps.clear()
