"""Figures of single calls, from kept traces: delay histograms, and the timeline of one call."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from voicelink.experiments.drawing import COLOURS, Canvas, Drawn
from voicelink.sim.trace import CONCEAL, KINDS, LOST, SKIP, STRETCH, UNDERWAY, WAIT, Trace
from voicelink.units import NS_PER_MS, NS_PER_S, bitrate_bps

MOST_HISTOGRAMS: Final = 6
#: A timeline of more than this is too dense to read.
LONGEST_S: Final = 30.0
_STRIP: Final = {CONCEAL: "#D55E00", STRETCH: "#E69F00", SKIP: "#CC79A7", WAIT: "#BBBBBB"}


def delay_histograms(traces: Mapping[str, Trace], listener: int = 1) -> Drawn:
    """Mouth-to-ear delay of every frame played, one outline a call."""
    canvas, numbers = Canvas("Mouth-to-ear delay", "ms", "share of frames"), []
    chosen = dict(list(traces.items())[:MOST_HISTOGRAMS])
    delays = {name: trace.mouth_to_ear_ns(listener) / NS_PER_MS for name, trace in chosen.items()}
    every = np.concatenate([*delays.values(), np.zeros(0)])
    low, high = (float(every.min()), float(every.max())) if len(every) else (0.0, 1.0)
    edges = np.linspace(low - 2, high + 2, 60)
    for number, (name, values) in enumerate(delays.items()):
        shares = np.histogram(values, edges)[0] / max(1, len(values))
        canvas.axes.stairs(shares, edges, color=COLOURS[number % len(COLOURS)], label=name, lw=1.4)
        edge_pairs = zip(edges[:-1].tolist(), edges[1:].tolist(), shares.tolist(), strict=True)
        numbers += [{"call": name, "from_ms": a, "to_ms": b, "share": share} for a, b, share in edge_pairs]
    canvas.axes.legend(fontsize=8)
    return canvas.finish("delay-histograms", "How long frames took from mouth to ear, call by call.", "Delay", numbers)


def timeline(name: str, trace: Trace, listener: int = 1) -> Drawn:
    """One direction of a call over time: packets' arrivals, the jitter buffer, playout decisions, bitrate."""
    sender, end = trace.ends[1 - listener], trace.ends[listener]
    canvas = Canvas(f"One call over time ({name})", "s", "transit, ms", width=11.5, height=6.2, rows=4)
    arrivals, held, decisions, rate = canvas.all
    sent_s, came = sender.packet_sent_ns / NS_PER_S, sender.packet_came_ns
    there = came >= 0
    transit_ms = (came - sender.packet_sent_ns) / NS_PER_MS
    arrivals.plot(sent_s[there], transit_ms[there], ".", color=COLOURS[0], ms=3, label="arrived")
    gone = (came < 0) & (came != UNDERWAY)
    floor = float(transit_ms[there].min()) if there.any() else 0.0
    arrivals.plot(sent_s[gone], np.full(gone.sum(), floor), "x", color=COLOURS[1], ms=4, label="lost")
    arrivals.legend(fontsize=8, ncols=2, loc="upper right")
    pull_s = end.pull_ns / NS_PER_S
    held.step(pull_s, end.held, color=COLOURS[2], lw=0.9, where="post")
    held.set_ylabel("buffer, frames")
    for kind, colour in _STRIP.items():
        at = pull_s[end.kind == kind]
        decisions.vlines(at, 0, 1, color=colour, lw=1.2, label=f"{KINDS[kind]} ({len(at)})")
    decisions.set_yticks([])
    decisions.set_ylabel("not played")
    decisions.legend(fontsize=8, ncols=4, loc="upper right")
    frames_s = sender.microphone.frames_ns(np.arange(len(sender.sent_bits), dtype=np.int64)) / NS_PER_S
    rate.step(frames_s, [bitrate_bps(int(bits)) for bits in sender.sent_bits], color=COLOURS[3], where="post")
    rate.set_ylabel("codec, bit/s")
    rate.set_xlim(0, min(trace.seconds, LONGEST_S))
    numbers: list[dict[str, Any]] = [
        {"packet_sent_s": s, "transit_ms": t if ok else None, "outcome": _outcome(c)}
        for s, t, ok, c in zip(sent_s.tolist(), transit_ms.tolist(), there.tolist(), came.tolist(), strict=True)
    ]
    caption = (
        "Packets by when they were sent, frames waiting, what the loudspeaker got instead of a frame, and the rate."
    )
    return canvas.finish("timeline", caption, "One call", numbers)


def _outcome(came_ns: int) -> str:
    if came_ns >= 0:
        return "arrived"
    return {LOST: "lost", UNDERWAY: "underway"}.get(came_ns, "dropped")
