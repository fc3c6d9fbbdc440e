"""The figures of a call, under the names that every command and report uses."""

from __future__ import annotations

from typing import Any

from voicelink_client.engine import Engine

from voicelink.core.events import Agreed, Ended, Security
from voicelink.core.stats import Stats
from voicelink.secure.identity import fingerprint
from voicelink.units import bitrate_bps


def call_figures(
    stats: Stats, agreed: Agreed | None, engine: Engine, ended: Ended | None, security: Security | None = None
) -> dict[str, Any]:
    """One end's call: the session's counts, what was agreed, how it ended, and what it cost this machine.

    `bitrate_bps` is the negotiated codec bitrate, `wire_kbps` the media rate sent with IPv4 and UDP headers,
    `seconds` how long sound ran, `cpu_rtf` the process's CPU time over that (1.0 is one core), `underruns`
    and `overruns` how often the loudspeaker ran dry and captured sound was lost, `device_xruns` how often a device
    itself reported either, `stalls` how often the system kept the codec thread from working for more than a frame, and
    `longest_stall_ms` and `stalled_ms` for how long at most and in all. `peer_key`, `peer_trust` and `words`
    say whom the call was with.
    """
    figures = stats.to_dict()
    if agreed is not None:
        figures |= {
            "bitrate_bps": bitrate_bps(agreed.bits_max),
            "bits": agreed.bits_max,
            "frames_per_packet": agreed.frames_per_packet,
            "model_id": agreed.model_id,
        }
    if security is not None:
        figures |= {
            "peer_key": fingerprint(security.peer_public),
            "peer_trust": security.trust.value,
            "words": list(security.words),
        }
    if ended is not None:
        figures |= {"end": str(ended.reason), "end_by_peer": ended.by_peer, "end_detail": ended.detail}
    return figures | {
        "seconds": round(engine.seconds, 3),
        "cpu_rtf": round(engine.cpu_rtf, 4),
        "underruns": engine.underruns,
        "overruns": engine.overruns,
        "device_xruns": engine.device_xruns,
        "stalls": engine.stalls,
        "longest_stall_ms": round(engine.longest_stall_ms, 1),
        "stalled_ms": round(engine.stalled_ms, 1),
    }


def summary_lines(figures: dict[str, Any]) -> list[str]:
    """The figures for a reader, one thing a line."""
    rate, wire = figures.get("bitrate_bps", 0) / 1000, figures["wire_kbps"]
    lost, received = figures["packets_lost"], figures["packets_received"]
    share = 100 * lost / (lost + received) if lost + received else 0.0
    buffer = figures["buffer_ms"]
    return [
        f"{figures['seconds']:.1f} s at {rate:.2f} kbit/s, with IP and UDP headers {wire:.2f} kbit/s",
        f"sent {figures['frames_sent']} frames in {figures['packets_sent']} packets",
        f"played {figures['frames_played']} frames, concealed {figures['frames_concealed']}",
        f"lost {lost} packets ({share:.1f} %), {figures['frames_late']} frames came too late",
        f"jitter buffer {buffer['mean']:.0f} ms mean, {buffer['p95']:.0f} ms 95 %",
        f"CPU {100 * figures['cpu_rtf']:.0f} % of one core; {figures['underruns']} times nothing to play, "
        f"{figures['overruns']} times sound not read in time, {figures['device_xruns']} xruns of the device",
        f"this machine did something else {figures['stalls']} times, for {figures['longest_stall_ms']:.0f} ms at most",
    ]
