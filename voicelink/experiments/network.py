"""Network figures of one direction of a simulated call, as plain numbers for a table.

Names follow NetEq's statistics where it has one: an interruption is a concealment of 150 ms or more.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from voicelink.sim.trace import CONCEAL, HEAL, PLAY, SKIP, STRETCH, UNDERWAY, EndTrace, Trace
from voicelink.units import FRAME_SAMPLES, IP_UDP_HEADER_BYTES, NS_PER_MS, NS_PER_S, SAMPLE_RATE_HZ

FRAME_MS: Final = 1000 * FRAME_SAMPLES / SAMPLE_RATE_HZ
INTERRUPTION_MS: Final = 150.0
#: The delay has converged when its medians over a second stay this near to the last one.
CONVERGED_MS: Final = 20.0


def figures(trace: Trace, listener: int = 1) -> dict[str, Any]:
    """What end `listener` got of what the other sent. None where there is nothing to tell it from."""
    sender, end = trace.ends[1 - listener], trace.ends[listener]
    return _sent(trace, sender) | _frames(end) | _runs(end) | _delays(trace, listener)


def _sent(trace: Trace, sender: EndTrace) -> dict[str, Any]:
    came, seconds = sender.packet_came_ns, trace.seconds
    told = came != UNDERWAY
    size = int(sender.packet_bytes.sum()) + IP_UDP_HEADER_BYTES * len(sender.packet_bytes)
    transit_ms = (came[came >= 0] - sender.packet_sent_ns[came >= 0]) / NS_PER_MS
    return {
        "packets": len(came),
        "wire_kbps": round(size * 8 / seconds / 1000, 4),
        "packet_loss": _share((came[told] < 0).sum(), told.sum()),
        "transit_ms": _quantile(transit_ms, 0.5),
        "transit_spread_ms": _rounded(float(transit_ms.std()) if len(transit_ms) else None),
    }


def _frames(end: EndTrace) -> dict[str, Any]:
    """Of the frames that were due: how many were not there, and of those how many came after all."""
    stats, due = end.stats, int(np.isin(end.kind, (PLAY, CONCEAL)).sum())
    concealed = int((end.kind == CONCEAL).sum())
    return {
        "frames_due": due,
        "frame_loss": _share(concealed, due),
        "late_loss": _share(min(concealed, stats["frames_late"]), due),
        "recovered": _share(stats["frames_recovered"], due + stats["frames_recovered"]),
        "skipped": _share((end.kind == SKIP).sum(), due),
        "stretched": _share((end.kind == STRETCH).sum(), due),
    }


def _runs(end: EndTrace) -> dict[str, Any]:
    """Concealments as runs of slots: how many, how long, and those that are interruptions."""
    heard = end.kind[(end.kind != SKIP) & (end.kind != HEAL)]
    edges = np.diff(np.concatenate([[0], (heard == CONCEAL).astype(np.int8), [0]]))
    lengths = np.flatnonzero(edges == -1) - np.flatnonzero(edges == 1)
    long = lengths[lengths * FRAME_MS >= INTERRUPTION_MS]
    return {
        "concealments": len(lengths),
        "concealment_frames": _rounded(float(lengths.mean()) if len(lengths) else None),
        "interruptions": len(long),
        "interruption_ms": round(float(long.sum()) * FRAME_MS, 1),
    }


def _delays(trace: Trace, listener: int) -> dict[str, Any]:
    end = trace.ends[listener]
    delays_ms = trace.mouth_to_ear_ns(listener) / NS_PER_MS
    waits = np.array([step for step, _ in end.buffer_steps]), np.array([count for _, count in end.buffer_steps])
    buffer_ms = np.repeat(waits[0] / 10, waits[1]) if len(waits[0]) else np.zeros(0)
    return {
        "buffer_mean_ms": _rounded(float(buffer_ms.mean()) if len(buffer_ms) else None),
        "buffer_p95_ms": _quantile(buffer_ms, 0.95),
        "mouth_to_ear_p50_ms": _quantile(delays_ms, 0.5),
        "mouth_to_ear_p95_ms": _quantile(delays_ms, 0.95),
        "mouth_to_ear_p99_ms": _quantile(delays_ms, 0.99),
        "convergence_s": _convergence_s(trace, end, delays_ms),
    }


def _convergence_s(trace: Trace, end: EndTrace, delays_ms: NDArray[np.float64]) -> float | None:
    """Seconds from the last change of the scenario until the delay's medians over a second stay near the last one."""
    changes = [0.0, *(float(change["at_s"]) for change in trace.scenario.get("changes", []))]
    since_s = max(at for at in changes if at < trace.seconds)
    at_s = end.pull_ns[end.kind == PLAY] / NS_PER_S - since_s
    seconds = [delays_ms[(at_s >= t) & (at_s < t + 1)] for t in range(int(trace.seconds - since_s))]
    medians = [(t, float(np.median(part))) for t, part in enumerate(seconds) if len(part)]
    if not medians:
        return None
    off = [t + 1 for t, median in medians if abs(median - medians[-1][1]) > CONVERGED_MS]
    return float(max(off, default=0))


def _share(part: Any, whole: Any) -> float | None:
    return round(float(part) / float(whole), 6) if whole else None


def _quantile(values: NDArray[np.float64], q: float) -> float | None:
    return _rounded(float(np.quantile(values, q)) if len(values) else None)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
