"""Figures of a sweep's table: curves with 95 % bands, rate and loss against quality, heat maps, the E-model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np

from voicelink.experiments import emodel
from voicelink.experiments.drawing import COLOURS, MARKERS, Canvas, Drawn
from voicelink.experiments.metrics import METRICS
from voicelink.experiments.statistics import Mean, Row, grouped, is_number, mean_of

LABELS: Final = {
    "estoi": "ESTOI", "pesq_wb": "PESQ-WB, MOS-LQO", "visqol": "ViSQOL, MOS-LQO", "plcmos": "PLCMOS v2",
    "dnsmos": "DNSMOS overall", "speaker_similarity": "speaker similarity, cosine", "word_accuracy": "word accuracy",
    "log_mel_db": "log-mel error, dB", "f0_rmse_semitones": "pitch error, semitones", "voicing_accuracy":
    "voicing accuracy", "frame_loss": "frames concealed, share", "late_loss": "frames late, share",
    "packet_loss": "packets lost, share", "wire_kbps": "on the wire, kbps", "buffer_mean_ms": "jitter buffer, mean, ms",
    "mouth_to_ear_p50_ms": "mouth to ear, median, ms", "mouth_to_ear_p95_ms": "mouth to ear, 95th percentile, ms",
    "interruption_ms": "interruptions of 150 ms or more, ms in all", "convergence_s": "delay converged after, s",
    "loss": "packet loss asked for, share", "burst": "mean burst, packets", "jitter_ms": "jitter, ms",
    "rate_kbps": "bottleneck, kbps", "bitrate_bps": "codec bitrate, bit/s", "frames_per_packet": "frames a packet",
    "redundancy": "redundant frames a packet", "drift_ppm": "clock drift, ppm", "codec": "codec",
    "jitter_model": "jitter model",
}  # fmt: skip
NETWORK: Final = (
    *("frame_loss", "late_loss", "wire_kbps", "mouth_to_ear_p50_ms", "mouth_to_ear_p95_ms", "buffer_mean_ms"),
    *("interruption_ms", "convergence_s"),
)
#: Judges whose scale is a MOS, best first, for the E-model's fit.
MOS_JUDGES: Final = ("visqol", "pesq_wb")
MOST_CURVES: Final = 7


def draw_table(rows: list[Row], view: dict[str, Any], axes: dict[str, list[Any]]) -> Iterator[Drawn]:
    """Every figure that the table of a sweep supports."""
    good = [row for row in rows if row["error"] is None]
    judged = [name for name in METRICS if any(is_number(row.get(name)) for row in good)]
    if view["x"]:
        for name in (*judged, *NETWORK):
            if _varies(good, name) or name in judged:
                yield from _curve(good, view, axes, name)
    for name in judged:
        for against in ("frame_loss", "wire_kbps"):
            if _varies(good, against):
                yield _against(good, name, against)
    for name in (*judged, "frame_loss", "mouth_to_ear_p50_ms") if view["heat"] else ():
        if _varies(good, name):
            yield _heat(good, view["heat"], name, axes)
    yield from _rating(good, judged)


def label(name: str) -> str:
    """A column's name as an axis shows it."""
    return LABELS.get(name, name)


# ---- helpers -------------------------------------------------------------------------------------
def _varies(rows: list[Row], name: str) -> bool:
    return len({row.get(name) for row in rows if is_number(row.get(name))}) > 1


def _series(row: Row, view: dict[str, Any]) -> str:
    """The curve that a row belongs to."""
    by = view["by"]
    parts = [f"{label(by)} {row.get(by)}" if by != "codec" else str(row["codec"])] if by else []
    return ", ".join(parts) or str(row["codec"])


def _curve(rows: list[Row], view: dict[str, Any], axes: dict[str, list[Any]], name: str) -> Iterator[Drawn]:
    x = view["x"]
    canvas = Canvas(label(name), label(x), label(name))
    series = grouped(rows, lambda row: _series(row, view))
    numbers: list[dict[str, Any]] = []
    for number, (title, members) in enumerate(list(series.items())[:MOST_CURVES]):
        points = {at: mean_of(row.get(name) for row in group) for at, group in grouped(members, lambda r: r[x]).items()}
        known = {at: mean for at, mean in points.items() if mean is not None}
        _band(canvas, title, list(known), list(known.values()), number, log=view["log"])
        numbers += [
            {"curve": title, x: at, "mean": m.mean, "low95": m.low, "high95": m.high, "n": m.n}
            for at, m in known.items()
        ]
    if not numbers:
        return
    if len(series) > 1:
        canvas.axes.legend(fontsize=8)
    pooled = [axis for axis in axes if axis not in (x, view["by"]) and len(axes[axis]) > 1]
    over = f", pooled over {', '.join(pooled)}" if pooled else ""
    caption = f"{label(name)} over {label(x)}: mean and 95 % confidence of the mean over seeds and clips{over}."
    section = "Quality" if name in METRICS else "Network"
    yield canvas.finish(f"{name}-over-{x}", caption, section, numbers)


def _band(canvas: Canvas, title: str, at: list[Any], means: list[Mean], number: int, *, log: bool) -> None:
    colour, ax = COLOURS[number % len(COLOURS)], canvas.axes
    numeric = all(is_number(value) for value in at)
    order = sorted(range(len(at)), key=lambda i: at[i]) if numeric else list(range(len(at)))
    xs: list[Any] = [at[i] if numeric else str(at[i]) for i in order]
    ms = [means[i] for i in order]
    ax.plot(xs, [m.mean for m in ms], color=colour, marker=MARKERS[number % len(MARKERS)], ms=4, lw=1.5, label=title)
    ax.fill_between(xs, [m.low for m in ms], [m.high for m in ms], color=colour, alpha=0.18, lw=0)
    if log and numeric and all(value > 0 for value in xs):
        ax.set_xscale("log", base=2)
        ax.set_xticks(xs, [f"{value:g}" for value in xs], minor=False)


def _against(rows: list[Row], name: str, against: str) -> Drawn:
    """Each cell as a point: what was measured of the network against what was heard."""
    what = "Loss" if against == "frame_loss" else "Rate"
    canvas = Canvas(f"{what} and {label(name)}", label(against), label(name))
    numbers: list[dict[str, Any]] = []
    for number, (codec, members) in enumerate(grouped(rows, lambda row: row["codec"]).items()):
        title: str | None = codec
        colour = COLOURS[number % len(COLOURS)]
        for cell, group in grouped(members, lambda row: row["cell"]).items():
            x, y = mean_of(row.get(against) for row in group), mean_of(row.get(name) for row in group)
            if x is None or y is None:
                continue
            canvas.axes.errorbar(
                x.mean, y.mean, xerr=x.half or 0, yerr=y.half or 0, color=colour, alpha=0.85, ms=4.5, elinewidth=0.8,
                fmt=MARKERS[number % len(MARKERS)], label=title,
            )  # fmt: skip
            title = None  # one entry a codec in the legend
            numbers.append(
                {"codec": codec, "cell": cell, against: x.mean, name: y.mean, "low95": y.low, "high95": y.high}
            )
    canvas.axes.legend(fontsize=8)
    caption = f"Each cell's mean {label(name)} against what was measured of the network; bars are 95 % confidence."
    return canvas.finish(f"{name}-against-{against}", caption, f"{what} and quality", numbers)


def _heat(rows: list[Row], pair: list[str], name: str, axes: dict[str, list[Any]]) -> Drawn:
    across, up = ((axes.get(key) or sorted({row[key] for row in rows})) for key in pair)
    canvas = Canvas(label(name), label(pair[0]), label(pair[1]), height=0.7 + 0.5 * max(4, len(up)))
    values = np.full((len(up), len(across)), np.nan)
    numbers = []
    for (x, y), group in grouped(rows, lambda row: (row[pair[0]], row[pair[1]])).items():
        mean = mean_of(row.get(name) for row in group)
        if mean is not None:
            values[up.index(y), across.index(x)] = mean.mean
            numbers.append(
                {pair[0]: x, pair[1]: y, "mean": mean.mean, "low95": mean.low, "high95": mean.high, "n": mean.n}
            )
    ax = canvas.axes
    ax.grid(visible=False)
    image = ax.imshow(values, cmap="viridis", aspect="auto", origin="lower")
    ax.set_xticks(range(len(across)), [_short(value) for value in across])
    ax.set_yticks(range(len(up)), [_short(value) for value in up])
    middle = (np.nanmin(values) + np.nanmax(values)) / 2
    for y, x in np.argwhere(~np.isnan(values)):
        ink = "white" if values[y, x] < middle else "black"
        ax.text(x, y, f"{values[y, x]:.3g}", ha="center", va="center", fontsize=8, color=ink)
    canvas.figure.colorbar(image, ax=ax, label=label(name))
    caption = f"{label(name)}: mean over all rows of each pair of {label(pair[0])} and {label(pair[1])}."
    return canvas.finish(f"{name}-heat", caption, "Heat maps", numbers)


def _short(value: Any) -> str:
    return f"{value:g}" if is_number(value) else str(value)


def _rating(rows: list[Row], judged: list[str]) -> Iterator[Drawn]:
    """The E-model's R over frames lost, with Ie and Bpl fitted to this sweep's own MOS."""
    judge = next((name for name in MOS_JUDGES if name in judged), None)
    if judge is None:
        return
    canvas, numbers, told = Canvas("E-model rating, fitted", "frames concealed, %", "R"), [], []
    for number, (codec, members) in enumerate(grouped(rows, lambda row: row["codec"]).items()):
        points = [
            (100 * row["frame_loss"], row[judge]) for row in members
            if is_number(row.get(judge)) and is_number(row.get("frame_loss"))
        ]  # fmt: skip
        try:
            fitted = emodel.fit([lost for lost, _ in points], [mos for _, mos in points])
        except ValueError:
            continue
        colour, most = COLOURS[number % len(COLOURS)], max(lost for lost, _ in points)
        lost = np.linspace(0, most, 60)
        canvas.axes.plot(lost, emodel.R_BASE - emodel.loss_impairment(lost, fitted), color=colour, label=codec)
        canvas.axes.plot(
            [p[0] for p in points], emodel.rating_of([p[1] for p in points]), ".", color=colour, alpha=0.35
        )
        told.append(f"{codec}: Ie {fitted.ie:.1f}, Bpl {fitted.bpl:.1f} (RMS error {fitted.rms_error:.1f})")
        numbers += [
            {"codec": codec, "ie": fitted.ie, "bpl": fitted.bpl, "rms_error_r": fitted.rms_error, "judge": judge}
        ]
    if not numbers:
        return
    canvas.axes.legend(fontsize=8)
    caption = (
        f"R of ITU-T G.107 without delay. Ie and Bpl are fitted to this sweep's {label(judge)} and are no figures of "
        f"the ITU: {'; '.join(told)}. Delay costs further: nothing to 100 ms, 3 at 200 ms, 24 at 400 ms."
    )
    yield canvas.finish("emodel", caption, "Quality", numbers)
