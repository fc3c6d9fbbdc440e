"""Statistics of one call. Names follow WebRTC's getStats where it has one."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from typing import Any

from voicelink.units import IP_UDP_HEADER_BYTES, NS_PER_MS, NS_PER_S, ns_to_frames

#: NetEq's kInterruptionLenMs: a concealment at least this long is an interruption.
INTERRUPTION_MS = 150
INTERRUPTION_FRAMES = ns_to_frames(INTERRUPTION_MS * NS_PER_MS) + 1
#: From here on a concealed slot is comfort noise alone (`codec/concealment.py`: 9 frames held, 12 of fading).
SILENT_FRAMES = 22
_STEP_NS = NS_PER_MS // 10


@dataclass(slots=True)
class Samples:
    """A distribution kept as counts per 0.1 ms, so that an hour costs no more than a minute."""

    counts: dict[int, int] = field(default_factory=dict)
    total: int = 0
    sum_ns: int = 0

    def add(self, value_ns: int) -> None:
        """Count one value, ns (taken as 0 where negative)."""
        value_ns = value_ns if value_ns > 0 else 0
        step = value_ns // _STEP_NS
        self.counts[step] = self.counts.get(step, 0) + 1
        self.total += 1
        self.sum_ns += value_ns

    @property
    def mean_ms(self) -> float:
        """Mean in ms; 0 for no samples."""
        return self.sum_ns / self.total / NS_PER_MS if self.total else 0.0

    def quantile_ms(self, q: float) -> float:
        """The q-quantile in ms, to 0.1 ms; 0 for no samples."""
        rank = max(1, math.ceil(q * self.total))
        seen = 0
        for step in sorted(self.counts):
            seen += self.counts[step]
            if seen >= rank:
                return step / 10
        return 0.0

    def copy(self) -> Samples:
        """An independent copy."""
        return Samples(dict(self.counts), self.total, self.sum_ns)


@dataclass(slots=True)
class Stats:
    """Counts of one call, each from our own end's view."""

    # Sending.
    frames_sent: int = 0
    packets_sent: int = 0
    """Media packets."""
    bytes_sent: int = 0
    """UDP payload bytes of media packets; see `wire_bytes_sent` for IP and UDP headers included."""
    redundant_frames_sent: int = 0
    control_packets_sent: int = 0
    feedback_received: int = 0
    """How often the peer has told how our media arrives."""
    plan_changes: int = 0
    """How often bits, bundling or redundancy were changed for it."""
    budget_bps: int = 0
    """What may be sent on the wire now, IPv4 and UDP headers counted; 0 where nothing adapts."""
    path_loss_ppm: int = 0
    """Our packets lost on their way, of the last ones, millionths; what a queue drops is not counted."""
    # Receiving, per media packet.
    packets_received: int = 0
    """Without duplicates."""
    bytes_received: int = 0
    packets_lost: int = 0
    """Expected less received (RFC 3550 section 6.4.1): a late packet is not lost."""
    packets_duplicated: int = 0
    packets_reordered: int = 0
    packets_invalid: int = 0
    """Datagrams of any kind that did not parse."""
    packets_unexpected: int = 0
    """Well-formed datagrams from a stranger, of another call, or out of turn."""
    # Receiving, per frame.
    frames_received: int = 0
    """Different frames, new or recovered, that came before or after their slot."""
    frames_recovered: int = 0
    """Frames first known from a redundant copy."""
    frames_late: int = 0
    """Frames that came after the slot that was meant for them, whether they were still played or not."""
    frames_healed: int = 0
    """Frames that came after others were played past them, and from which the decoder's state was mended."""
    frames_discarded: int = 0
    """Frames dropped because the buffer was re-anchored or full."""
    # Playout, per slot.
    frames_played: int = 0
    frames_comfort: int = 0
    """Slots of announced silence."""
    frames_concealed: int = 0
    frames_concealed_silent: int = 0
    """Those of them that were comfort noise alone (silentConcealedSamples)."""
    concealment_events: int = 0
    """Runs of concealed slots."""
    interruption_count: int = 0
    """Runs of at least 150 ms."""
    frames_interrupted: int = 0
    """Slots of these runs (totalInterruptionDuration)."""
    frames_skipped: int = 0
    """Frames of delay given back by playing faster (removedSamplesForAcceleration)."""
    frames_inserted: int = 0
    """Frames of delay gained by playing slower (insertedSamplesForDeceleration)."""
    resyncs: int = 0
    """How often the playout position had to be set anew."""
    slots: int = 0
    """Slots filled since playout began."""
    target_ns: int = 0
    """Sum over them of the delay aimed at, after the fastest frame (jitterBufferTargetDelay)."""
    # Distributions and estimates.
    buffer: Samples = field(default_factory=Samples)
    """Time a played frame waited, arrival to playout (jitterBufferDelay over jitterBufferEmittedCount)."""
    rtt: Samples = field(default_factory=Samples)
    rtt_ns: int | None = None
    """Smoothed round trip (RFC 6298's 1/8), None until measured."""
    jitter_ns: int = 0
    """Interarrival jitter (RFC 3550 section 6.4.1)."""
    connected_ns: int = 0
    """How long the call has been connected."""

    def conceal(self, run: int) -> None:
        """Count a concealed slot, the `run`-th in a row (1, 2, ...)."""
        self.frames_concealed += 1
        self.concealment_events += run == 1
        self.frames_concealed_silent += run >= SILENT_FRAMES
        self.interruption_count += run == INTERRUPTION_FRAMES
        if run >= INTERRUPTION_FRAMES:
            self.frames_interrupted += INTERRUPTION_FRAMES if run == INTERRUPTION_FRAMES else 1

    @property
    def target_ms(self) -> float:
        """Mean delay aimed at, ms; 0 before playout."""
        return self.target_ns / self.slots / NS_PER_MS if self.slots else 0.0

    @property
    def wire_bytes_sent(self) -> int:
        """Media bytes sent with IPv4 and UDP headers."""
        return self.bytes_sent + self.packets_sent * IP_UDP_HEADER_BYTES

    @property
    def wire_kbps(self) -> float:
        """Media rate on the wire while connected, IPv4 and UDP headers counted; 0 before the call."""
        return self.wire_bytes_sent * 8 * NS_PER_S / self.connected_ns / 1000 if self.connected_ns else 0.0

    def copy(self) -> Stats:
        """An independent copy."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        values["buffer"], values["rtt"] = self.buffer.copy(), self.rtt.copy()
        return Stats(**values)

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers for JSON: counts under their names, times in ms, distributions as mean and p95."""
        plain: dict[str, Any] = {
            f.name: getattr(self, f.name) for f in fields(self) if f.type == "int" and not f.name.endswith("_ns")
        }
        plain["wire_kbps"] = round(self.wire_kbps, 3)
        plain["buffer_ms"] = {
            "mean": round(self.buffer.mean_ms, 2),
            "p95": round(self.buffer.quantile_ms(0.95), 2),
        }
        plain["target_ms"] = round(self.target_ms, 2)
        plain["jitter_ms"] = round(self.jitter_ns / NS_PER_MS, 3)
        plain["rtt_ms"] = None if self.rtt_ns is None else round(self.rtt_ns / NS_PER_MS, 3)
        plain["connected_s"] = round(self.connected_ns / NS_PER_S, 3)
        return plain
