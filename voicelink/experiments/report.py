"""The report of a sweep: figures as files, and one HTML page that holds everything and loads nothing.

The page carries its figures (inline SVG, with PNG and CSV to save), its tables and its recordings within itself; a
content security policy in it forbids the browser every request.
"""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Sequence
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any, Final

from voicelink.errors import ConfigError
from voicelink.experiments.calls import LONGEST_S, delay_histograms, late_curves, timeline
from voicelink.experiments.curves import draw_table
from voicelink.experiments.drawing import Drawn
from voicelink.experiments.players import choose_cells, players_html
from voicelink.experiments.statistics import Row
from voicelink.experiments.store import read_rows
from voicelink.experiments.tables import rows_html, summary_html
from voicelink.sim.trace import Trace

PAGE: Final = "report.html"
MOST_TRACES: Final = 6


def write_report(folder: Path, *, players: int = 24, cells: Sequence[str] = ()) -> Path:
    """Write `figures/` and `report.html` into a sweep's folder, finished or not; returns the page's path.

    At most `players` recordings go into the page: of the `cells` chosen (as `choose_cells` reads them), else of cells
    evenly over the grid. Raises ConfigError where there is no sweep or nothing in it yet, where it is damaged, or where
    the page cannot be written.
    """
    plan, rows = read_rows(folder)
    if not rows:
        raise ConfigError(f"{folder}: the sweep has no rows yet; run `voicelink sweep` with --resume first")
    axes = _axes(plan)
    chosen = choose_cells(plan["points"], cells)
    drawn = [*draw_table(rows, plan["view"], axes), *_calls(folder, plan)]
    page = _page(plan, rows, drawn, players_html(folder, plan, rows, players, chosen), axes)
    try:
        (folder / "figures").mkdir(exist_ok=True)
        for figure in drawn:
            for kind, data in (("png", figure.png), ("svg", figure.svg), ("csv", figure.csv)):
                (folder / "figures" / f"{figure.name}.{kind}").write_bytes(data)
        temporary = folder / f".{PAGE}.part"
        temporary.write_text(page, encoding="utf-8")
        temporary.replace(folder / PAGE)
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be written ({error.strerror or error})") from None
    return folder / PAGE


# ---- helpers -------------------------------------------------------------------------------------
def _axes(plan: dict[str, Any]) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for point in plan["points"]:
        for key, value in point.items():
            if value not in found.setdefault(key, []):
                found[key].append(value)
    return found


def _calls(folder: Path, plan: dict[str, Any]) -> Iterable[Drawn]:
    """Figures of some kept traces, evenly over the grid; the timeline shows the middle one."""
    paths = sorted((folder / "traces").glob("cell*.npz")) if (folder / "traces").is_dir() else []
    chosen = spread(paths, MOST_TRACES)
    traces = {_call_name(path, plan): Trace.load(path) for path in chosen}
    if traces:
        yield delay_histograms(traces)
        yield late_curves(traces)
        name = list(traces)[len(traces) // 2]
        if traces[name].seconds > 0:
            yield timeline(
                name + (f", first {LONGEST_S:g} s" if traces[name].seconds > LONGEST_S else ""), traces[name]
            )


def spread(items: list[Any], most: int) -> list[Any]:
    """At most `most` of `items`, the first and the last among them, evenly between."""
    if len(items) <= most:
        return items
    return [items[round(i * (len(items) - 1) / max(1, most - 1))] for i in range(most)]


def _call_name(path: Path, plan: dict[str, Any]) -> str:
    number = path.stem[4:].partition("-")[0]
    if not number.isdecimal() or int(number) >= len(plan["points"]):
        raise ConfigError(f"{path}: belongs to no cell of this sweep; remove it")
    point = plan["points"][int(number)]
    return ", ".join(f"{key} {value}" for key, value in point.items()) or "the call"


def _page(plan: dict[str, Any], rows: list[Row], drawn: list[Drawn], players: str, axes: dict[str, list[Any]]) -> str:
    parts = files("voicelink.experiments") / "page"
    sections = dict.fromkeys(figure.section for figure in drawn)
    figures = "".join(
        f'<section id="{_anchor(name)}"><h2>{name}</h2><div class="figures">'
        + "".join(_figure_html(figure) for figure in drawn if figure.section == name)
        + "</div></section>"
        for name in sections
    )
    links = [*sections, *(["Listen"] if players else []), "Cells", "Rows"]
    failed = [row for row in rows if row["error"] is not None]
    return Template((parts / "report.html").read_text(encoding="utf-8")).substitute(
        title=html.escape(plan["title"]),
        about=html.escape(plan["about"]),
        style=(parts / "report.css").read_text(encoding="utf-8"),
        script=(parts / "report.js").read_text(encoding="utf-8"),
        facts=_facts_html(plan, rows, len(failed)),
        links="".join(f'<a href="#{_anchor(name)}">{name}</a>' for name in links),
        figures=figures,
        players=players,
        summary=summary_html(plan, rows, axes),
        rows=rows_html(rows, axes),
    )


def _facts_html(plan: dict[str, Any], rows: list[Row], failed: int) -> str:
    expected = len(plan["cells"]) * len(plan["seeds"]) * max(1, len(plan["clips"])) * len(plan["codecs"])
    facts = {
        "rows": f"{len(rows)} of {expected}" + (f", {failed} failed" if failed else ""),
        "grid": f"{len(plan['cells'])} cells, seeds {', '.join(map(str, plan['seeds']))}",
        "clips": ", ".join(plan["clips"]) or "none: protocol only",
        "codecs": ", ".join(plan["codecs"]),
        "voicelink": plan["version"],
        "model": f"{plan['model']} (SHA-256 {plan['model_sha256'][:16]}\u2026, engine {plan['engine']})"
        if plan["model"] else "none",
    }  # fmt: skip
    return "".join(f"<dt>{key}</dt><dd>{html.escape(value)}</dd>" for key, value in facts.items())


def _figure_html(figure: Drawn) -> str:
    svg = figure.svg.decode()
    svg = svg[svg.index("<svg") :]
    # Ids are unique within one figure only.
    svg = (
        svg.replace('id="', f'id="{figure.name}-')
        .replace('"#', f'"#{figure.name}-')
        .replace("url(#", f"url(#{figure.name}-")
    )
    forms = (("png", "image/png", figure.png), ("svg", "image/svg+xml", figure.svg), ("csv", "text/csv", figure.csv))
    links = " ".join(
        f'<a download="{figure.name}.{kind}" href="data:{mime};base64,{base64.b64encode(data).decode()}">'
        f"{kind.upper()}</a>"
        for kind, mime, data in forms
    )
    return f"<figure>{svg}<figcaption>{html.escape(figure.caption)} <span>{links}</span></figcaption></figure>"


def _anchor(name: str) -> str:
    return name.lower().replace(" ", "-")
