"""Tables of the report, as HTML that the page's script makes sortable."""

from __future__ import annotations

import html
from collections.abc import Iterable
from typing import Any, Final

from voicelink.experiments.labels import NETWORK
from voicelink.experiments.metrics import METRICS
from voicelink.experiments.statistics import Mean, Row, grouped, is_number, mean_of

MOST_ROWS: Final = 3000


def summary_html(plan: dict[str, Any], rows: list[Row], axes: dict[str, list[Any]]) -> str:
    """A row for each codec and cell: what varies, and mean +- 95 % confidence of what was measured."""
    measured = _measured(rows)
    head = ["codec", *axes, "n", *measured]
    body = []
    for (codec, cell), group in grouped(rows, lambda row: (row["codec"], row["cell"])).items():
        good = [row for row in group if row["error"] is None]
        means = [mean_of(row.get(name) for row in good) for name in measured]
        point = plan["points"][cell]
        body.append([_td(codec), *(_td(point.get(key, "")) for key in axes), _td(len(good)), *map(_mean_td, means)])
    return _table(head, body)


def rows_html(rows: list[Row], axes: dict[str, list[Any]]) -> str:
    """Every row (up to 3000) with what varies, what was measured, and errors."""
    head = ["codec", "clip", "cell", "seed", *axes, *_measured(rows), "error"]
    body = [[_td(row.get(name)) for name in head] for row in rows[:MOST_ROWS]]
    note = f"<p>The first {MOST_ROWS} of {len(rows)} rows; all are in rows.csv.</p>" if len(rows) > MOST_ROWS else ""
    return note + _table(head, body)


def _measured(rows: list[Row]) -> list[str]:
    return [name for name in (*METRICS, "packet_loss", *NETWORK) if any(is_number(row.get(name)) for row in rows)]


def _table(head: Iterable[str], body: Iterable[list[str]]) -> str:
    titles = "".join(f'<th scope="col"><button type="button">{html.escape(name)}</button></th>' for name in head)
    lines = "".join(f"<tr>{''.join(cells)}</tr>" for cells in body)
    table = f'<table class="sortable"><thead><tr>{titles}</tr></thead><tbody>{lines}</tbody></table>'
    return f'<div class="wide">{table}</div>'


def _td(value: Any) -> str:
    """A cell; numbers carry their exact value for sorting."""
    if is_number(value):
        return f'<td data-value="{value!r}">{value:.5g}</td>' if isinstance(value, float) else f"<td>{value}</td>"
    return f"<td>{html.escape('' if value is None else str(value))}</td>"


def _mean_td(mean: Mean | None) -> str:
    if mean is None:
        return "<td></td>"
    half = f" <small>\u00b1 {mean.half:.2g}</small>" if mean.half is not None else ""
    return f'<td data-value="{mean.mean!r}">{mean.mean:.4g}{half}</td>'
