"""The figures of a demonstration from what its two ends left behind.

Mouth to ear: sample 256 t of what was said is captured at `capture_ns` + 256 t / 22 050 s; it leaves the
other's loudspeaker as the first sample of the slot that plays frame t. The difference, over all slots
that played a received frame, holds everything between the two: the rest of the hop and the codec's
look-ahead (34.8 ms together), coding, bundling into packets, the network, the jitter buffer, decoding,
and the modelled sound card's output buffer of one frame (11.6 ms). Samples are captured and played at the
clock's pace by `streams.PacedSource` and `streams.PacedSink`, as a sound card with a period of 256
samples would.

Intelligibility: ESTOI (Jensen and Taal, "An algorithm for predicting the intelligibility of speech masked
by modulated noise maskers", IEEE/ACM TASLP 24(11), 2016) of what was heard against what was said. They
are aligned by frame index, not by search: each slot that played or concealed frame t is set against
samples 256 t .. 256 t + 255 of what was said, so delay counts for nothing, and every loss, coding error
and concealment does.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from voicelink_client.timeline import NO_FRAME, PLAYED, Timeline

from voicelink.core.stats import Samples
from voicelink.units import FRAME_SAMPLES, NS_PER_MS, NS_PER_S, SAMPLE_RATE_HZ

#: Counts that are added over both ends.
COUNTS = (
    "frames_sent", "frames_received", "frames_recovered", "frames_late", "frames_discarded",
    "frames_played", "frames_concealed", "frames_concealed_silent", "frames_comfort", "frames_interrupted",
    "frames_skipped", "frames_inserted", "frames_healed",
    "packets_sent", "packets_received", "packets_lost",
    "concealment_events", "interruption_count", "underruns", "overruns",
)  # fmt: skip


def mouth_to_ear_ms(sender: Timeline, receiver: Timeline) -> NDArray[np.float64]:
    """Mouth to ear delay, ms, of each received frame that `receiver` played; see the module's text."""
    played = receiver.kind == PLAYED
    samples = sender.blocks[receiver.index[played]] * FRAME_SAMPLES - receiver.lag_samples[played]
    captured_ns = sender.capture_ns + samples * NS_PER_S // SAMPLE_RATE_HZ
    return np.asarray((receiver.leave_ns[played] - captured_ns) / 1e6, dtype=np.float64)


def aligned(
    said: NDArray[np.float32], heard: NDArray[np.float32], sender: Timeline, receiver: Timeline
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """What was said and what was heard of it, slot by slot, both float32 [n]."""
    known = (receiver.index != NO_FRAME) & (receiver.index < len(sender.blocks))
    heard_at = receiver.positions()[known]
    said_at = sender.blocks[receiver.index[known]] * FRAME_SAMPLES - receiver.lag_samples[known]
    fits = (
        (said_at >= 0)
        & (said_at + FRAME_SAMPLES <= len(said))
        & (heard_at >= 0)
        & (heard_at + FRAME_SAMPLES <= len(heard))
    )
    within = np.arange(FRAME_SAMPLES)
    return said[said_at[fits, None] + within].reshape(-1), heard[heard_at[fits, None] + within].reshape(-1)


def estoi(reference: NDArray[np.float32], degraded: NDArray[np.float32]) -> float | None:
    """ESTOI, about 0..1; None where there is too little speech (under 0.4 s) to say."""
    import pystoi  # noqa: PLC0415 (it brings scipy, which takes a second to load)

    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        try:
            return round(float(pystoi.stoi(reference, degraded, SAMPLE_RATE_HZ, extended=True)), 4)
        except (RuntimeWarning, ValueError):
            return None


def both_ends(ends: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """One set of figures of two: counts added, `wire_kbps` the mean of both ways, `cpu_rtf` the larger."""
    one, other = ends.values()
    together: dict[str, Any] = {"bitrate_bps": one.get("bitrate_bps")}
    together["wire_kbps"] = round((one["wire_kbps"] + other["wire_kbps"]) / 2, 3)
    together |= {name: one[name] + other[name] for name in COUNTS}
    together |= {"late": together["frames_late"], "healed": together["frames_healed"]}
    together["interruptions"] = together["interruption_count"]
    together["target_ms"] = round((one["target_ms"] + other["target_ms"]) / 2, 2)
    together["cpu_rtf"] = max(one["cpu_rtf"], other["cpu_rtf"])
    together["seconds"] = max(one["seconds"], other["seconds"])
    return together


def merged_buffer_ms(steps: Iterable[Iterable[tuple[int, int]]]) -> dict[str, float]:
    """Mean and 95th percentile of both ends' jitter buffer delays, given as (0.1 ms steps, count) pairs."""
    counts: Counter[int] = Counter()
    for pairs in steps:
        for step, count in pairs:
            counts[step] += count
    total = Samples(dict(counts), counts.total(), sum(k * n for k, n in counts.items()) * NS_PER_MS // 10)
    return {"mean": round(total.mean_ms, 2), "p95": round(total.quantile_ms(0.95), 2)}


def percentiles(values: NDArray[np.float64]) -> dict[str, float | None]:
    """Median and 95th percentile, rounded to 0.01; None for no values."""
    if not len(values):
        return {"p50": None, "p95": None}
    p50, p95 = np.percentile(values, [50, 95])
    return {"p50": round(float(p50), 2), "p95": round(float(p95), 2)}
