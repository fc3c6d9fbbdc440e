"""Receiver reports: what is in one, and the round trip from its echo (RFC 3550 section 6.4.1)."""

from __future__ import annotations

from voicelink.core.events import PeerReport
from voicelink.core.stats import Stats
from voicelink.units import NS_PER_MS
from voicelink.wire.control import MAX_U32, Report
from voicelink.wire.media import Feedback

NS_PER_US = NS_PER_MS // 1000


class Reports:
    """Makes our reports and reads the peer's."""

    def __init__(self, stats: Stats) -> None:
        self._stats = stats
        self._peer_sent_us = 0
        self._peer_came_ns: int | None = None

    def make(self, report_id: int, now_ns: int, feedback: Feedback | None = None) -> Report:
        """Our report at `now_ns`."""
        s, came_ns = self._stats, self._peer_came_ns
        held_us = MAX_U32 if came_ns is None else min((now_ns - came_ns) // NS_PER_US, MAX_U32 - 1)
        return Report(
            id=report_id,
            sent_us=now_ns // NS_PER_US & MAX_U32,
            echo_us=self._peer_sent_us,
            held_us=held_us,
            received=min(s.packets_received, MAX_U32),
            lost=min(s.packets_lost, MAX_U32),
            late=min(s.frames_late, MAX_U32),
            concealed=min(s.frames_concealed, MAX_U32),
            jitter_us=min(s.jitter_ns // NS_PER_US, MAX_U32),
            buffer_us=min(int(s.buffer.mean_ms * 1000), MAX_U32),
            feedback=feedback,
        )

    def take(self, report: Report, now_ns: int) -> PeerReport:
        """Read a report of the peer; books the round trip where it echoes one of ours."""
        self._peer_sent_us, self._peer_came_ns = report.sent_us, now_ns
        rtt_us = None
        if report.held_us != MAX_U32:
            rtt_us = (now_ns // NS_PER_US - report.echo_us - report.held_us) & MAX_U32
            rtt_us = rtt_us if rtt_us < 1 << 31 else 0  # the two roundings can make it -1
            self._book(rtt_us * NS_PER_US)
        return PeerReport(
            packets_received=report.received,
            packets_lost=report.lost,
            frames_late=report.late,
            frames_concealed=report.concealed,
            jitter_us=report.jitter_us,
            buffer_us=report.buffer_us,
            rtt_us=rtt_us,
        )

    def _book(self, rtt_ns: int) -> None:
        """RFC 6298 section 2: SRTT = 7/8 SRTT + 1/8 R."""
        s = self._stats
        s.rtt.add(rtt_ns)
        s.rtt_ns = rtt_ns if s.rtt_ns is None else (7 * s.rtt_ns + rtt_ns) // 8
