"""The E-model in a report: Ie and Bpl fitted to the sweep's own MOS, and what R comes of it with the delay counted."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np

from voicelink.experiments import emodel
from voicelink.experiments.drawing import COLOURS, MARKERS, Canvas, Drawn
from voicelink.experiments.labels import label
from voicelink.experiments.statistics import Row, grouped, is_number, mean_of

#: Judges whose scale is a MOS, best first.
MOS_JUDGES: Final = ("visqol", "pesq_wb")


def draw_ratings(rows: list[Row], judged: list[str]) -> Iterator[Drawn]:
    """R over the frames lost, with each codec's fit; and R of each cell with its delay. Nothing without a MOS."""
    judge = next((name for name in MOS_JUDGES if name in judged), None)
    if judge is None:
        return
    fits = fitted(rows, judge)
    if fits:
        yield _fit_figure(rows, judge, fits)
        yield _cells_figure(rows, judge, fits)


def fitted(rows: list[Row], judge: str) -> dict[str, emodel.Codec]:
    """Ie and Bpl of each codec from the measured MOS of its rows; codecs with too few conditions are left out."""
    found = {}
    for codec, members in grouped(rows, lambda row: row["codec"]).items():
        points = _points(members, judge)
        try:
            found[codec] = emodel.fit([lost for lost, _ in points], [mos for _, mos in points])
        except ValueError:
            continue
    return found


# ---- helpers -------------------------------------------------------------------------------------
def _points(rows: list[Row], judge: str) -> list[tuple[float, float]]:
    """Frames lost in percent, and MOS."""
    return [
        (100 * row["frame_loss"], row[judge])
        for row in rows
        if is_number(row.get(judge)) and is_number(row.get("frame_loss"))
    ]


def _fit_figure(rows: list[Row], judge: str, fits: dict[str, emodel.Codec]) -> Drawn:
    canvas, numbers, told = Canvas("E-model rating, fitted", "frames concealed, %", "R"), [], []
    for number, (codec, made) in enumerate(fits.items()):
        points = _points([row for row in rows if row["codec"] == codec], judge)
        colour = COLOURS[number % len(COLOURS)]
        lost = np.linspace(0, max(lost for lost, _ in points), 60)
        canvas.axes.plot(lost, emodel.R_BASE - emodel.loss_impairment(lost, made), color=colour, label=codec)
        canvas.axes.plot(
            [p[0] for p in points], emodel.rating_of([p[1] for p in points]), ".", color=colour, alpha=0.35
        )
        bounded = " (at the fit's bound: loss hardly told)" if made.bounded else ""
        told.append(f"{codec}: Ie {made.ie:.1f}, Bpl {made.bpl:.1f}{bounded} (RMS error {made.rms_error:.1f})")
        numbers.append(
            {"codec": codec, "ie": made.ie, "bpl": made.bpl, "rms_error_r": made.rms_error, "judge": judge,
             "points": len(points)}
        )  # fmt: skip
    canvas.axes.legend(fontsize=8)
    caption = (
        f"R of ITU-T G.107 without delay. Ie and Bpl are fitted to this sweep's {label(judge)} and are no figures of "
        f"the ITU: {'; '.join(told)}. Delay costs further: nothing to 100 ms, 3 at 200 ms, 24 at 400 ms."
    )
    return canvas.finish("emodel", caption, "Quality", numbers)


def _cells_figure(rows: list[Row], judge: str, fits: dict[str, emodel.Codec]) -> Drawn:
    """Each cell of each fitted codec: R over its median mouth-to-ear delay."""
    canvas = Canvas("E-model rating with delay", label("mouth_to_ear_p50_ms"), "R")
    numbers: list[dict[str, Any]] = []
    for number, (codec, made) in enumerate(fits.items()):
        cells = grouped((row for row in rows if row["codec"] == codec), lambda row: row["cell"])
        rated = [_rated(codec, cell, group, made) for cell, group in cells.items()]
        known = [row for row in rated if row is not None]
        canvas.axes.plot(
            [row["mouth_to_ear_p50_ms"] for row in known], [row["r"] for row in known], ls="", ms=5,
            marker=MARKERS[number % len(MARKERS)], color=COLOURS[number % len(COLOURS)], label=codec,
        )  # fmt: skip
        numbers += known
    canvas.axes.legend(fontsize=8)
    caption = (
        f"R of each cell: its loss by the fit to {label(judge)} beside, and its delay by G.107. It ranks the cells of "
        "this sweep and is no planning value."
    )
    return canvas.finish("emodel-cells", caption, "Quality", numbers)


def _rated(codec: str, cell: int, rows: list[Row], made: emodel.Codec) -> Row | None:
    lost, delay = (
        mean_of(row.get("frame_loss") for row in rows),
        mean_of(row.get("mouth_to_ear_p50_ms") for row in rows),
    )
    if lost is None or delay is None:
        return None
    r = emodel.rating(delay.mean, 100 * lost.mean, made)
    mos = float(emodel.mos_of(r))
    return {
        "codec": codec,
        "cell": cell,
        "frame_loss": lost.mean,
        "mouth_to_ear_p50_ms": delay.mean,
        "r": r,
        "mos": mos,
    }
