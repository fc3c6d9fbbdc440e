"""The largest value of the last seconds, from two half windows (no list of packets is kept)."""

from __future__ import annotations

from typing import Final

from voicelink.units import NS_PER_S

HALF_WINDOW_NS: Final = NS_PER_S


class MarginWindow:
    """Largest margin of the last 1 to 2 s; NetEq's packet history is 2 s long as well."""

    def __init__(self) -> None:
        self.largest: int | None = None
        """Largest margin seen, however short the time; None for no packet."""
        self._current: int | None = None
        self._previous: int | None = None
        self._since_ns: int | None = None

    def reset(self, now_ns: int) -> None:
        """Forget everything: the playout position has moved."""
        self.largest, self._current, self._previous, self._since_ns = None, None, None, now_ns

    def add(self, margin_ns: int, now_ns: int) -> None:
        """Book one packet's margin."""
        if self._since_ns is None or now_ns - self._since_ns >= HALF_WINDOW_NS:
            self._previous, self._current, self._since_ns = self._current, None, now_ns
            self.largest = self._previous
        if self._current is None or margin_ns > self._current:
            self._current = margin_ns
        if self.largest is None or margin_ns > self.largest:
            self.largest = margin_ns

    @property
    def settled(self) -> int | None:
        """Largest margin, once a half window has been filled and the next has begun; else None."""
        return None if self._previous is None or self._current is None else self.largest
