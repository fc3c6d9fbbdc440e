"""Heat maps of a sweep: a metric over two of its axes, one map for each value of what else parts the rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np

from voicelink.experiments.drawing import Canvas, Drawn
from voicelink.experiments.labels import label, named, short
from voicelink.experiments.statistics import Row, grouped, mean_of

MOST_MAPS: Final = 6


def draw_heat(
    rows: list[Row], pair: list[str], by: list[str], name: str, axes: dict[str, list[Any]]
) -> Iterator[Drawn]:
    """Metric `name` over the two columns of `pair`; rows that differ in `by` never share a map."""
    others = [key for key in by if key not in pair]
    parts = grouped(rows, lambda row: tuple(row.get(key) for key in others))
    for number, (values, members) in enumerate(list(parts.items())[:MOST_MAPS]):
        of = ", ".join(named(key, value) for key, value in zip(others, values, strict=True))
        suffix = f"-{number + 1}" if len(parts) > 1 else ""
        yield _heat(members, pair, name, axes, of, suffix)


# ---- helpers -------------------------------------------------------------------------------------
def _heat(rows: list[Row], pair: list[str], name: str, axes: dict[str, list[Any]], of: str, suffix: str) -> Drawn:
    across, up = (_ticks(rows, key, axes) for key in pair)
    title = f"{label(name)}, {of}" if of else label(name)
    canvas = Canvas(title, label(pair[0]), label(pair[1]), height=0.7 + 0.5 * max(4, len(up)))
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
    ax.set_xticks(range(len(across)), [short(value) for value in across])
    ax.set_yticks(range(len(up)), [short(value) for value in up])
    known = values[~np.isnan(values)]
    middle = (known.min() + known.max()) / 2 if len(known) else 0.0
    for y, x in np.argwhere(~np.isnan(values)):
        ink = "white" if values[y, x] < middle else "black"
        ax.text(x, y, f"{values[y, x]:.3g}", ha="center", va="center", fontsize=8, color=ink)
    canvas.figure.colorbar(image, ax=ax, label=label(name))
    caption = (
        f"{label(name)}{f' ({of})' if of else ''}: mean over all rows of each pair of {label(pair[0])} and "
        f"{label(pair[1])}."
    )
    return canvas.finish(f"{name}-heat{suffix}", caption, "Heat maps", numbers)


def _ticks(rows: list[Row], key: str, axes: dict[str, list[Any]]) -> list[Any]:
    """Values of a column in the grid's order; a table in the grid stands as text in its rows."""
    there = list(dict.fromkeys(row[key] for row in rows))
    plain = [value for value in axes.get(key, []) if not isinstance(value, (list, dict))]
    return [*plain, *(value for value in there if value not in plain)]
