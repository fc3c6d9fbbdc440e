"""Figures of a sweep's table: what there is to draw, and the curves with their 95 % bands."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from voicelink.experiments.drawing import COLOURS, MARKERS, Canvas, Drawn
from voicelink.experiments.heatmaps import draw_heat
from voicelink.experiments.labels import NETWORK, label, named
from voicelink.experiments.metrics import METRICS
from voicelink.experiments.ratings import draw_ratings
from voicelink.experiments.scatter import draw_against
from voicelink.experiments.statistics import Mean, Row, grouped, is_number, mean_of

#: More in one figure cannot be told apart; from the eighth on they are dashed.
MOST_CURVES: Final = 14


def draw_table(rows: list[Row], view: dict[str, Any], axes: dict[str, list[Any]]) -> Iterator[Drawn]:
    """Every figure that the table of a sweep supports.

    `view` as `plan.View`; codecs are never drawn together, whether it parts them or not.
    """
    good = [row for row in rows if row["error"] is None]
    judged = [name for name in METRICS if any(is_number(row.get(name)) for row in good)]
    by = parting(view, good)
    if view["x"]:
        for name in (*judged, *NETWORK):
            if _varies(good, name) or name in judged:
                yield from _curves(good, view, by, axes, name)
    for name in judged:
        for against in ("frame_loss", "wire_kbps"):
            if _varies(good, against):
                yield draw_against(good, name, against)
    for name in (*judged, "frame_loss", "mouth_to_ear_p50_ms") if view["heat"] else ():
        if _varies(good, name):
            yield from draw_heat(good, view["heat"], by, name, axes)
    yield from draw_ratings(good, judged)


def parting(view: dict[str, Any], rows: list[Row]) -> list[str]:
    """The columns that part rows into curves: those that the view names, and the codec where there are several."""
    by = [view["by"]] if isinstance(view["by"], str) else list(view["by"])
    several = len({row["codec"] for row in rows}) > 1
    first = ["codec"] if several and "codec" not in by and view["x"] != "codec" else []
    return [*first, *(key for key in by if key)]


# ---- helpers -------------------------------------------------------------------------------------
def _varies(rows: list[Row], name: str) -> bool:
    return len({row.get(name) for row in rows if is_number(row.get(name))}) > 1


def _curves(
    rows: list[Row], view: dict[str, Any], by: list[str], axes: dict[str, list[Any]], name: str
) -> Iterator[Drawn]:
    x = view["x"]
    canvas = Canvas(label(name), label(x), label(name))
    series = grouped(rows, lambda row: ", ".join(named(key, row.get(key)) for key in by) or str(row["codec"]))
    numbers: list[dict[str, Any]] = []
    for number, (title, members) in enumerate(series.items()):
        points = {at: mean_of(row.get(name) for row in group) for at, group in grouped(members, lambda r: r[x]).items()}
        known = {at: mean for at, mean in points.items() if mean is not None}
        if number < MOST_CURVES:
            _band(canvas, title, list(known), list(known.values()), number, log=view["log"])
        numbers += [
            {"curve": title, x: at, "mean": m.mean, "low95": m.low, "high95": m.high, "n": m.n}
            for at, m in known.items()
        ]
    if not numbers:
        return
    if len(series) > 1:
        canvas.axes.legend(fontsize=8 if len(series) <= MOST_CURVES // 2 else 6)
    section = "Quality" if name in METRICS else "Network"
    yield canvas.finish(f"{name}-over-{x}", _caption(name, x, by, axes, len(series)), section, numbers)


def _caption(name: str, x: str, by: list[str], axes: dict[str, list[Any]], curves: int) -> str:
    pooled = [label(axis) for axis in axes if axis not in (x, *by) and len(axes[axis]) > 1]
    over = f", pooled over {', '.join(pooled)}" if pooled else ""
    left = f" The first {MOST_CURVES} of {curves} curves; the CSV has all." if curves > MOST_CURVES else ""
    return f"{label(name)} over {label(x)}: mean and 95 % confidence of the mean over seeds and clips{over}.{left}"


def _band(canvas: Canvas, title: str, at: list[Any], means: list[Mean], number: int, *, log: bool) -> None:
    colour, ax = COLOURS[number % len(COLOURS)], canvas.axes
    numeric = all(is_number(value) for value in at)
    order = sorted(range(len(at)), key=lambda i: at[i]) if numeric else list(range(len(at)))
    xs: list[Any] = [at[i] if numeric else str(at[i]) for i in order]
    ms = [means[i] for i in order]
    ax.plot(
        xs, [m.mean for m in ms], color=colour, marker=MARKERS[number % len(MARKERS)], ms=4, lw=1.5, label=title,
        ls="-" if number < len(COLOURS) else "--",
    )  # fmt: skip
    ax.fill_between(xs, [m.low for m in ms], [m.high for m in ms], color=colour, alpha=0.18, lw=0)
    if log and numeric and all(value > 0 for value in xs):
        ax.set_xscale("log", base=2)
        ax.set_xticks(xs, [f"{value:g}" for value in xs], minor=False)
