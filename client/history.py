"""The last minute of a call, second by second, from counts that only grow."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final

from voicelink.core.stats import Stats
from voicelink.units import IP_UDP_HEADER_BYTES

KEPT_S: Final = 60
#: Shares and rates are taken over so many of the last seconds.
RECENT_S: Final = 5
ALGORITHMIC_MS: Final = 34.83
"""From a sound to the end of the samples that its frame needs (docs/protocol.md: 768 samples)."""


@dataclass(frozen=True)
class Second:
    """What one second of a call brought."""

    concealed: float = 0.0
    """Share of the slots that were concealed, 0..1."""
    buffer_ms: float = 0.0
    """Delay in the jitter buffer at its end."""
    rtt_ms: float = 0.0
    said_dbfs: float = -99.0
    heard_dbfs: float = -99.0
    """The loudest moment."""


@dataclass(frozen=True)
class Rates:
    """Over the last seconds: shares 0..1, and rates with IPv4 and UDP headers."""

    lost: float = 0.0
    late: float = 0.0
    concealed: float = 0.0
    sent_kbps: float = 0.0
    received_kbps: float = 0.0


class History:
    """Fed some times a second with `add`; `seconds` holds the last 60, oldest first."""

    def __init__(self) -> None:
        self.seconds: deque[Second] = deque(maxlen=KEPT_S)
        self._marks: deque[tuple[float, Stats]] = deque(maxlen=RECENT_S + 1)
        self._said_dbfs = self._heard_dbfs = -99.0

    def add(self, now_s: float, stats: Stats, buffer_ms: float, said_dbfs: float, heard_dbfs: float) -> None:
        """Take the counts at `now_s` (of any clock that only goes on)."""
        self._said_dbfs, self._heard_dbfs = max(self._said_dbfs, said_dbfs), max(self._heard_dbfs, heard_dbfs)
        if not self._marks:
            self._marks.append((now_s, stats))
        elif now_s - self._marks[-1][0] >= 1.0:
            before = self._marks[-1][1]
            self._marks.append((now_s, stats))
            rtt_ms = (stats.rtt_ns or 0) / 1e6
            shares = _concealed(before, stats)
            self.seconds.append(Second(shares, buffer_ms, rtt_ms, self._said_dbfs, self._heard_dbfs))
            self._said_dbfs = self._heard_dbfs = -99.0

    def rates(self) -> Rates:
        """Over the last five seconds (or as long as there is anything)."""
        if len(self._marks) < 2:
            return Rates()
        (from_s, old), (to_s, new) = self._marks[0], self._marks[-1]
        lost, received = new.packets_lost - old.packets_lost, new.packets_received - old.packets_received
        late, frames = new.frames_late - old.frames_late, new.frames_received - old.frames_received
        return Rates(
            lost=_share(max(lost, 0), max(lost, 0) + received),
            late=_share(late, frames),
            concealed=_concealed(old, new),
            sent_kbps=(new.wire_bytes_sent - old.wire_bytes_sent) * 8 / 1000 / (to_s - from_s),
            received_kbps=_received_kbit(old, new) / (to_s - from_s),
        )


def mouth_to_ear_ms(stats: Stats, buffer_ms: float, output_ms: float) -> float | None:
    """About how long a word of the other end takes to our ear, without its microphone's own delay; None if unknown.

    Codec, half the round trip, our jitter buffer (which contains the bundling), our loudspeaker.
    """
    if stats.rtt_ns is None or not stats.slots:
        return None
    return ALGORITHMIC_MS + stats.rtt_ns / 2e6 + buffer_ms + output_ms


def _concealed(old: Stats, new: Stats) -> float:
    concealed = new.frames_concealed - old.frames_concealed
    played = new.frames_played - old.frames_played + new.frames_comfort - old.frames_comfort
    return _share(concealed, concealed + played)


def _received_kbit(old: Stats, new: Stats) -> float:
    """Media received; `bytes_received` are UDP payload."""
    packets = new.packets_received - old.packets_received
    return (new.bytes_received - old.bytes_received + packets * IP_UDP_HEADER_BYTES) * 8 / 1000


def _share(part: int, whole: int) -> float:
    return part / whole if whole > 0 else 0.0
