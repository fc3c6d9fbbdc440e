"""How far a long piece of work is, and how long it will still take, on standard error."""

from __future__ import annotations

import sys
import time
from typing import Final

EVERY_S: Final = 2.0


class Progress:
    """Prints at most a line every two seconds, and the last one."""

    def __init__(self, unit: str) -> None:
        self.unit = unit
        self._started = self._printed = time.monotonic()
        self._first: int | None = None

    def show(self, done: int, total: int, text: str) -> None:
        """Tell that `done` of `total` are done; `text` says what was done last."""
        now = time.monotonic()
        if self._first is None:  # what an earlier run did says nothing about this one's speed
            self._first, self._started = done, now
        elif now - self._printed < EVERY_S and done < total:
            return
        self._printed = now
        made = done - self._first
        left = f", {clock((total - done) * (now - self._started) / made)} left" if made and done < total else ""
        share = 100 * done // max(1, total)
        sys.stderr.write(f"{done}/{total} {self.unit}, {share} %{left}  {text}".rstrip() + "\n")
        sys.stderr.flush()


def clock(seconds: float) -> str:
    """Such as 1:02:03, or 2:03 below an hour."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
