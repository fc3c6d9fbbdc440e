"""A link whose conditions change over time, as a scenario says."""

from __future__ import annotations

from voicelink.settings import LinkSettings
from voicelink.sim.link import Link, LinkCounts
from voicelink.sim.scenario import Scenario
from voicelink.units import NS_PER_S


class TimedLink:
    """One direction of `scenario`'s path. Time 0 is `start_ns`, or the first packet where that is None.

    The simulator and the proxy both use it.
    """

    def __init__(self, scenario: Scenario, way: int, start_ns: int | None = None) -> None:
        self._scenario, self._way = scenario, way
        self._link = Link(scenario.link(way), way, scenario.trace_data)
        self._start_ns = start_ns
        self._pending = list(scenario.changes)

    @property
    def counts(self) -> LinkCounts:
        """Packets so far."""
        return self._link.counts

    @property
    def settings(self) -> LinkSettings:
        """As they are now."""
        return self._link.settings

    def carry(self, data: bytes, now_ns: int) -> list[tuple[int, bytes]]:
        """As `Link.carry`."""
        if self._start_ns is None:
            self._start_ns = now_ns
        while self._pending and now_ns - self._start_ns >= round(self._pending[0].at_s * NS_PER_S):
            self._link.change(self._scenario.link(self._way, self._pending.pop(0).at_s))
        return self._link.carry(data, now_ns)
