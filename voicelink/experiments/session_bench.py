"""`voicelink bench session`: how well the receiving side of a call does, path by path; simulated, not timed."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import numpy as np

from voicelink.experiments import playout
from voicelink.experiments.playout import Arrivals
from voicelink.sim.call import simulate
from voicelink.sim.scenario import scenario_from
from voicelink.sim.trace import CONCEAL, PLAY, EndTrace, Trace
from voicelink.units import NS_PER_MS, NS_PER_S, frames_to_ns

Figures = dict[str, Any]
#: Told what is being simulated, and the share of the work done.
Progress = Callable[[str, float], None]

FRAME_MS: Final = frames_to_ns(1) / NS_PER_MS
#: Of each call the first seconds are left out of the rules' figures: what is known then is not the path's doing.
WARM_UP_S: Final = 5.0
_G1050: Final = {"jitter_model": "g1050"}
#: Paths by name, as scenario keys.
PATHS: Final[dict[str, dict[str, Any]]] = {
    "lan": {"delay_ms": 0.6, "jitter_ms": 0.2, "jitter_model": "gamma"},
    "lan, 1 frame a packet": {"delay_ms": 0.6, "jitter_ms": 0.2, "jitter_model": "gamma", "frames_per_packet": 1},
    "wifi": {"delay_ms": 3.0, "jitter_ms": 120.0, "jitter_model": "spikes", "spike_every_s": 4.0},
    "gamma": {"delay_ms": 20.0, "jitter_ms": 20.0, "jitter_model": "gamma"},
    "reordering": {"delay_ms": 100.0, "jitter_ms": 25.0, "jitter_model": "pareto", "reorder": True},
    "g1050-C": {**_G1050, "severity": "C"},
    "g1050-D": {**_G1050, "severity": "D"},
    "g1050-E": {**_G1050, "severity": "E"},
}
STEP_MS: Final = 80.0
STEP_AT_S: Final = 20.0
DRIFTS_PPM: Final = (-300.0, 300.0)
DRIFT_S: Final = 600.0
#: t quantiles, two-sided 95 %, by degrees of freedom; more count as normal.
_T95: Final = (12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26, 2.23, 2.20, 2.18, 2.16, 2.14, 2.13)


def bench_session(seeds: int, seconds: float, late_rate: float, progress: Progress | None = None) -> Figures:
    """All figures: rules and the session on each path, steps of the path's delay, and clock drift."""
    begin, simulated_s = time.perf_counter(), 0.0
    told = progress or (lambda text, share: None)
    work = [(name, seed) for name in PATHS for seed in range(1, seeds + 1)]
    rows: dict[str, list[Figures]] = {name: [] for name in PATHS}
    for done, (name, seed) in enumerate(work):
        told(name, done / (len(work) + 4))
        values = {"seconds": seconds, "seed": seed, "target_late_rate": late_rate, "fixed": True, **PATHS[name]}
        trace = simulate(scenario_from(values))
        rows[name] += [_direction(trace, end, late_rate) for end in (0, 1)]
        simulated_s += seconds
    figures: Figures = {"seeds": seeds, "seconds": seconds, "target_late_rate": late_rate}
    figures["paths"] = {name: _summary(directions) for name, directions in rows.items()}
    told("steps", len(work) / (len(work) + 4))
    figures["step_up"] = [_step_up(seed) for seed in range(1, seeds + 1)]
    figures["step_down"] = [_step_down(seed) for seed in range(1, seeds + 1)]
    told("drift", (len(work) + 2) / (len(work) + 4))
    figures["drift"] = [_drift(ppm) for ppm in DRIFTS_PPM]
    simulated_s += 2 * seeds * 2 * STEP_AT_S + len(DRIFTS_PPM) * DRIFT_S
    figures["speed_x"] = round(simulated_s / (time.perf_counter() - begin), 1)
    return figures


def lines(figures: Figures) -> Iterator[str]:
    """The figures for a reader: late share in percent at the mean delay after the fastest frame, ms."""
    asked = 100 * figures["target_late_rate"]
    yield f"asked: {asked:g} % late; {figures['seeds']} seeds x {figures['seconds']:g} s x 2 directions, +- 95 %"
    heads = ("ours", 26), ("optimum", 9), ("x", 6), ("by second", 10), ("NetEq rule", 17), ("Speex rule", 17)
    yield f"{'path':22}" + "".join(f"{text:>{width}}" for text, width in heads) + "   in the call: concealed, level"
    for name, p in figures["paths"].items():
        own = f"{100 * p['late_rate']:.2f}+-{100 * p['late_rate_ci']:.2f} % @ {p['delay_ms']:.1f}+-{p['delay_ci']:.1f}"
        peers = "".join(f"{100 * p[key]['late_rate']:8.2f} % @{p[key]['delay_ms']:6.1f}" for key in ("neteq", "speex"))
        call = f"{100 * p['session']['concealed']:.2f} %, {p['session']['level_ms']:.1f} ms"
        yield (
            f"{name:22}{own:>26}{p['optimum_ms']:9.1f}{p['over_optimum']:6.2f}{p['spurt_optimum_ms']:10.1f}"
            f"{peers}{call:>31}"
        )
    for key, text in (("step_up", f"+{STEP_MS:g} ms: concealed beyond the gap"), ("step_down", "recovered after, s")):
        values = [row["beyond_the_gap" if key == "step_up" else "recovered_s"] for row in figures[key]]
        yield f"path delay {'' if key == 'step_up' else f'-{STEP_MS:g} ms: '}{text}: {', '.join(map(str, values))}"
    for row in figures["drift"]:
        yield (
            f"drift {row['ppm']:+g} ppm, {DRIFT_S / 60:g} min: {row['concealed']} concealed, level at most "
            f"{row['off_target_frames']:.2f} frames from its target, {row['off_middle_frames']:.2f} from the middle of "
            "the slot above it (means over a second)"
        )


# ---- helpers -------------------------------------------------------------------------------------
def _direction(trace: Trace, listener: int, late_rate: float) -> Figures:
    """What the rules would have done in one direction, and what the session did."""
    arrivals, end = Arrivals.of(trace, listener), trace.ends[listener]
    found: Figures = {
        "ours": playout.judge(arrivals, playout.ours(arrivals, late_rate), WARM_UP_S),
        "neteq": playout.judge(arrivals, playout.neteq(arrivals), WARM_UP_S),
        "speex": playout.judge(arrivals, playout.speex(arrivals), WARM_UP_S),
        "optimum_ms": playout.optimum_ms(arrivals, late_rate, WARM_UP_S),
        "spurt_optimum_ms": playout.spurt_optimum_ms(arrivals, late_rate, WARM_UP_S),
    }
    counted = (end.pull_ns >= round(WARM_UP_S * NS_PER_S)) & np.isin(end.kind, (PLAY, CONCEAL))
    waits = np.repeat([step / 10 for step, _ in end.buffer_steps], [count for _, count in end.buffer_steps])
    found["session"] = {
        "concealed": float((end.kind[counted] == CONCEAL).mean()),
        "level_ms": float(end.level_us[counted].mean()) / 1000,
        "buffer_mean_ms": float(waits.mean()),
        "buffer_p95_ms": float(np.quantile(waits, 0.95)),
    }
    return found


def _summary(directions: Sequence[Figures]) -> Figures:
    """Means over all directions of a path, and half-widths of 95 % intervals."""
    rates, rates_ci = _mean([d["ours"].late_rate for d in directions])
    delay_ms, delay_ci = _mean([d["ours"].delay_ms for d in directions])
    best_ms, _ = _mean([d["optimum_ms"] for d in directions])
    found: Figures = {
        "late_rate": round(rates, 5),
        "late_rate_ci": round(rates_ci, 5),
        "delay_ms": round(delay_ms, 2),
        "delay_ci": round(delay_ci, 2),
        "optimum_ms": round(best_ms, 2),
        "over_optimum": round(delay_ms / best_ms, 3),
        "spurt_optimum_ms": round(_mean([d["spurt_optimum_ms"] for d in directions])[0], 2),
    }
    for key in ("neteq", "speex"):
        late, late_ci = _mean([d[key].late_rate for d in directions])
        target_ms, _ = _mean([d[key].delay_ms for d in directions])
        found[key] = {"late_rate": round(late, 5), "late_rate_ci": round(late_ci, 5), "delay_ms": round(target_ms, 2)}
    names = directions[0]["session"]
    found["session"] = {name: round(_mean([d["session"][name] for d in directions])[0], 4) for name in names}
    return found


def _mean(values: Sequence[float]) -> tuple[float, float]:
    """Mean and the half-width of its 95 % interval (0 for a single value)."""
    if len(values) < 2:
        return float(np.mean(values)), 0.0
    t = _T95[len(values) - 2] if len(values) - 2 < len(_T95) else 1.96
    return float(np.mean(values)), t * float(np.std(values, ddof=1)) / math.sqrt(len(values))


def _step(seed: int, before_ms: float, after_ms: float) -> EndTrace:
    """One direction of a call whose path delay changes once, on the LAN's jitter."""
    values = {**PATHS["lan"], "delay_ms": before_ms, "seconds": 2 * STEP_AT_S, "seed": seed}
    change = {"at_s": STEP_AT_S, "delay_ms": after_ms}
    return simulate(scenario_from({"fixed": True, **values, "changes": [change]})).ends[1]


def _step_up(seed: int) -> Figures:
    end = _step(seed, 0.6, 0.6 + STEP_MS)
    after = end.pull_ns >= round((STEP_AT_S - 1) * NS_PER_S)
    concealed = int((end.kind[after] == CONCEAL).sum())
    gap = math.ceil(STEP_MS / FRAME_MS)  # in so much time no frame comes
    return {"seed": seed, "concealed": concealed, "gap": gap, "beyond_the_gap": max(0, concealed - gap)}


def _step_down(seed: int) -> Figures:
    """Seconds until the level is back within a frame and a half of where it stays."""
    end = _step(seed, 0.6 + STEP_MS, 0.6)
    at_s = end.pull_ns / NS_PER_S - STEP_AT_S
    settled_us = float(np.median(end.level_us[at_s > STEP_AT_S - 5]))
    off = at_s[(at_s > 0) & (end.level_us > settled_us + 1500 * FRAME_MS)]
    concealed = int((end.kind[at_s > -1] == CONCEAL).sum())
    return {"seed": seed, "recovered_s": round(float(off.max(initial=0.0)), 2), "concealed": concealed}


def _drift(ppm: float) -> Figures:
    """Ten minutes on a path without jitter; the level is compared with its target second by second.

    A loudspeaker takes whole slots, so the level goes from the target to a slot above it and a guard more: beside the
    distance from the target stands that from the middle of this slot, which is what the buffer holds on average.
    """
    trace = simulate(scenario_from({"fixed": True, "seconds": DRIFT_S, "drift_ppm": ppm, "delay_ms": 20.0, "seed": 1}))
    off = off_middle = 0.0
    for end in trace.ends:
        second = (end.pull_ns // NS_PER_S).astype(np.int64)
        settled = (second >= WARM_UP_S) & (second < int(DRIFT_S))
        apart = (end.level_us - end.target_us)[settled].astype(np.float64)
        sums = np.bincount(second[settled], apart)[int(WARM_UP_S) :]
        counts = np.bincount(second[settled])[int(WARM_UP_S) :]
        above = sums / counts / 1000 / FRAME_MS
        off = max(off, float(np.abs(above).max()))
        off_middle = max(off_middle, float(np.abs(above - 0.5).max()))
    concealed = sum(int((end.kind == CONCEAL).sum()) for end in trace.ends)
    adjusted = sum(end.stats["frames_skipped"] + end.stats["frames_inserted"] for end in trace.ends)
    return {
        "ppm": ppm, "concealed": concealed, "off_target_frames": round(off, 3),
        "off_middle_frames": round(off_middle, 3), "adjusted_frames": adjusted,
    }  # fmt: skip
