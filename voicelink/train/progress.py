"""One line a step on stderr: how far, how fast, how long still."""

from __future__ import annotations

import sys
import time


class Progress:
    """Counts steps of a known total and prints at most one line every `every_s` seconds."""

    def __init__(self, total: int, unit: str, *, done: int = 0, every_s: float = 5.0) -> None:
        self.total, self.unit, self.every_s = total, unit, every_s
        self.done = self.first = done
        self.started = time.monotonic()
        self.printed = 0.0

    def step(self, text: str = "", *, count: int = 1) -> None:
        """Count `count` more done; print if it is time to, or at the end."""
        self.done += count
        now = time.monotonic()
        if now - self.printed < self.every_s and self.done < self.total:
            return
        self.printed = now
        rate = (self.done - self.first) / max(1e-9, now - self.started)
        left = _clock((self.total - self.done) / rate) if rate > 0 else "?"
        print(
            f"{self.done}/{self.total} {self.unit}  {rate:.2f}/s  {left} left  {text}",
            file=sys.stderr,
            flush=True,
        )


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"
