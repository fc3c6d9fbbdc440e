"""Each cell of a sweep as a point: what was measured of the network against what was heard."""

from __future__ import annotations

from typing import Any

from voicelink.experiments.drawing import COLOURS, MARKERS, Canvas, Drawn
from voicelink.experiments.labels import label
from voicelink.experiments.statistics import Row, grouped, mean_of


def draw_against(rows: list[Row], name: str, against: str) -> Drawn:
    """Metric `name` over `against` (frame_loss or wire_kbps), a colour for each codec."""
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
