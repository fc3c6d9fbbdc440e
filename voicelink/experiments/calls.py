"""Figures of single calls, from kept traces: delay histograms, and the timeline of one call."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from voicelink.core.delay import BASE_NS
from voicelink.experiments.drawing import COLOURS, Canvas, Drawn
from voicelink.sim.trace import CONCEAL, KINDS, LOST, PLAY, SKIP, STRETCH, UNDERWAY, WAIT, Trace
from voicelink.units import NS_PER_MS, NS_PER_S, bitrate_bps, frames_to_ns

Floats = NDArray[np.float64]

MOST_HISTOGRAMS: Final = 6
FRAME_MS: Final = frames_to_ns(1) / NS_PER_MS
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


def late_curves(traces: Mapping[str, Trace], listener: int = 1) -> Drawn:
    """Shadow buffers: the share of frames that a buffer of each fixed delay would have had too late, one curve a call.

    Delays are after the fastest frame of the last 2 s, by when a frame can first be played from its own packet. The
    points are where the calls themselves stood.
    """
    canvas = Canvas("Delay and late frames", "delay after the fastest frame, ms", "frames late, %")
    numbers: list[dict[str, Any]] = []
    for number, (name, trace) in enumerate(list(traces.items())[:MOST_HISTOGRAMS]):
        delays_ms = np.sort(_relative_ms(trace, listener))
        if not len(delays_ms):
            continue
        colour, at_ms = COLOURS[number % len(COLOURS)], np.arange(0.0, float(delays_ms[-1]) + FRAME_MS, FRAME_MS / 4)
        late = 1 - np.searchsorted(delays_ms, at_ms, side="right") / len(delays_ms)
        canvas.axes.plot(at_ms, 100 * late, color=colour, lw=1.4, label=name)
        mean_ms, own = _stood(trace, listener)
        canvas.axes.plot([mean_ms], [100 * own], "o", color=colour, ms=6, mec="white")
        pairs = zip(at_ms.tolist(), late.tolist(), strict=True)
        numbers += [{"call": name, "delay_ms": d, "late": share} for d, share in pairs]
        numbers.append({"call": name, "delay_ms": mean_ms, "late": own, "is": "the call itself"})
    canvas.axes.set_yscale("symlog", linthresh=0.5)
    canvas.axes.set_ylim(bottom=0)
    if numbers:
        canvas.axes.legend(fontsize=8)
    caption = (
        "Shadow buffers: what share of the frames that came would have come too late at each fixed delay. The points "
        "are the calls' own mean target and late share."
    )
    return canvas.finish("late-curves", caption, "Delay", numbers)


def _relative_ms(trace: Trace, listener: int) -> Floats:
    """Of each frame that came in the first copy of its own packet, its delay after the fastest of the last 2 s."""
    sender = trace.ends[1 - listener]
    newest = sender.packet_frame.astype(np.int64)
    first = np.concatenate([[0], newest[:-1] + 1])[: len(newest)]
    came = sender.packet_came_ns
    fastest: deque[tuple[int, int]] = deque()
    found = []
    for packet in np.argsort(came, kind="stable").tolist():
        came_ns = int(came[packet])
        if came_ns < 0:
            continue
        for index in range(int(first[packet]), int(newest[packet]) + 1):
            transit_ns = came_ns - frames_to_ns(index)
            while fastest and fastest[-1][1] >= transit_ns:
                fastest.pop()
            fastest.append((came_ns, transit_ns))
            while fastest[0][0] < came_ns - BASE_NS:
                fastest.popleft()
            found.append(transit_ns - fastest[0][1])
    return np.round(np.array(found, np.float64) / NS_PER_MS, 3)  # clocks round to a ns, and that makes nothing late


def _stood(trace: Trace, listener: int) -> tuple[float, float]:
    """The call's mean target, ms, and its own share of late frames."""
    end = trace.ends[listener]
    due = int(np.isin(end.kind, (PLAY, CONCEAL)).sum())
    late = min(end.stats["frames_late"], int((end.kind == CONCEAL).sum()))
    target = end.target_us[end.kind != WAIT]
    return (float(target.mean()) / 1000 if len(target) else 0.0), late / max(1, due)


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
