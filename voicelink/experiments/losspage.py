"""The loss table's cells from its rows: who leads and by how much; for a terminal, as Markdown, and as a page."""

from __future__ import annotations

import html
from collections.abc import Iterable, Iterator, Sequence
from importlib.resources import files
from typing import Any, Final

from voicelink.experiments.losstable import CONDITIONS, WIRE_KBPS, Condition
from voicelink.experiments.statistics import Row, mean_of

OURS, OPUS = "voicelink", "opus"
LABELS: Final = {"estoi": "ESTOI", "plcmos": "PLCMOS", "word_accuracy": "words right"}
_DIGITS: Final = {"estoi": 3, "plcmos": 2, "word_accuracy": 3}
#: The rate and losses over which the cost of loss is told.
COST_KBPS, COST_LOSS = 12, 0.2


def cells(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """A dict for each cell that has rows: both codecs' means with 95 % half-widths, and the lead, seed by seed."""
    found = []
    for wire_kbps in WIRE_KBPS:
        for condition in CONDITIONS:
            here = [r for r in rows if (r["wire_kbps"], r["condition"]) == (wire_kbps, condition.name)]
            if {row["codec"] for row in here} == {OURS, OPUS}:
                found.append(_cell(wire_kbps, condition, here))
    return found


def required(cell: dict[str, Any]) -> bool:
    """Whether loss is heavy enough for its rate that voicelink is meant to lead in this cell."""
    if cell["wire_kbps"] <= 12:
        return bool(cell["loss"] >= 0.05)
    return bool(cell["loss"] >= 0.2 or cell["burst_ms"])


def summary(made: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """How many of the cells that loss rules voicelink leads, and what random loss costs it at 12 kbps."""
    wanted = [cell for cell in made if required(cell)]
    ahead = [cell for cell in wanted if cell["leader"] == OURS]
    found: dict[str, Any] = {"required": len(wanted), "required_ahead": len(ahead)}
    level = {c["loss"]: c[OURS]["estoi"]["mean"] for c in made if c["wire_kbps"] == COST_KBPS and not c["burst_ms"]}
    if {0.0, COST_LOSS} <= set(level):
        found["estoi_cost_12_kbps_20_percent"] = round(level[0.0] - level[COST_LOSS], 4)
    return found


def lines(made: Sequence[dict[str, Any]]) -> Iterator[str]:
    """The table for a terminal."""
    names = _metrics(made)
    heads = "".join(f"{LABELS[name]:>24}" for name in names)
    yield f"{'kbps':>4} {'loss':14}{heads}{'ms':>10}  leads"
    for cell in made:
        values = "".join(
            f"{_number(cell[OURS][name], name):>9} {_number(cell[OPUS][name], name):>6} {_lead(cell, name):>7}"
            for name in names
        )
        delay = f"{cell[OURS]['delay_ms']:.0f}/{cell[OPUS]['delay_ms']:.0f}"
        yield f"{cell['wire_kbps']:>4} {cell['condition']:14}{values}{delay:>10}  {cell['leader']}"
    yield _told(made)


def markdown(made: Sequence[dict[str, Any]]) -> str:
    """The table as Markdown."""
    head, body = _table(made)
    rows = [head, ["---"] * len(head), *body]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows) + f"\n\n{_told(made)}\n"


def page(made: Sequence[dict[str, Any]], about: str) -> str:
    """One self-contained HTML page: asks the network for nothing, tables sort by a click."""
    parts = files("voicelink.experiments") / "page"
    head, body = _table(made)
    titles = "".join(f'<th scope="col"><button type="button">{html.escape(text)}</button></th>' for text in head)
    rows = "".join("<tr>" + "".join(f"<td>{html.escape(text)}</td>" for text in row) + "</tr>" for row in body)
    style, script = ((parts / name).read_text(encoding="utf-8") for name in ("report.css", "report.js"))
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
        'style-src \'unsafe-inline\'; script-src \'unsafe-inline\'"><link rel="icon" href="data:,">'
        f"<title>Loss table</title><style>{style}</style></head><body><header><h1>Loss table</h1>"
        f'<p>{html.escape(about)}</p><p>{html.escape(_told(made))}</p></header><main><div class="wide">'
        f'<table class="sortable"><thead><tr>{titles}</tr></thead><tbody>{rows}</tbody></table></div></main>'
        f"<script>{script}</script></body></html>\n"
    )


# ---- helpers -------------------------------------------------------------------------------------
def _cell(wire_kbps: int, condition: Condition, rows: Sequence[Row]) -> dict[str, Any]:
    made: dict[str, Any] = {
        "wire_kbps": wire_kbps, "condition": condition.name, "loss": condition.loss, "burst_ms": condition.burst_ms,
    }  # fmt: skip
    names = [name for name in LABELS if any(row.get(name) is not None for row in rows)]
    for codec in (OURS, OPUS):
        own = [row for row in rows if row["codec"] == codec]
        made[codec] = {name: _mean([row.get(name) for row in own]) for name in names}
        made[codec] |= {"setting": own[0]["setting"]}
        for key in ("delay_ms", "wire_measured_kbps", "packet_loss"):
            mean = mean_of(row[key] for row in own)
            made[codec][key] = round(mean.mean, 4) if mean is not None else None
    made["lead"] = {name: _mean(_differences(rows, name)) for name in names}
    leads = [made["lead"][name]["mean"] for name in ("estoi", "plcmos") if name in names]
    made["leader"] = OURS if min(leads) > 0 else OPUS if max(leads) <= 0 else "neither"
    return made


def _differences(rows: Sequence[Row], name: str) -> list[float]:
    """Ours less Opus', for each seed that has both."""
    by = {(row["codec"], row["seed"]): row.get(name) for row in rows}
    seeds = sorted({row["seed"] for row in rows})
    pairs = [(by.get((OURS, seed)), by.get((OPUS, seed))) for seed in seeds]
    return [a - b for a, b in pairs if a is not None and b is not None]


def _mean(values: Iterable[Any]) -> dict[str, Any]:
    found = mean_of(values)
    if found is None:
        return {"mean": float("nan"), "half": None, "n": 0}
    return {"mean": round(found.mean, 5), "half": None if found.half is None else round(found.half, 5), "n": found.n}


def _metrics(made: Sequence[dict[str, Any]]) -> list[str]:
    return [name for name in LABELS if any(name in cell["lead"] for cell in made)]


def _table(made: Sequence[dict[str, Any]]) -> tuple[list[str], list[list[str]]]:
    names = _metrics(made)
    head = ["kbps", "loss"]
    for name in names:
        head += [f"{LABELS[name]}: voicelink", "Opus", "lead"]
    head += ["mouth to ear, ms: voicelink", "Opus", "voicelink's packets", "Opus' packets", "leads"]
    return head, [_row(cell, names) for cell in made]


def _row(cell: dict[str, Any], names: Sequence[str]) -> list[str]:
    row = [str(cell["wire_kbps"]), cell["condition"]]
    for name in names:
        half = cell["lead"][name]["half"]
        lead = _lead(cell, name) + (f" \u00b1 {half:.{_DIGITS[name]}f}" if half is not None else "")
        row += [_number(cell[OURS][name], name), _number(cell[OPUS][name], name), lead]
    delays = [f"{cell[codec]['delay_ms']:.0f}" for codec in (OURS, OPUS)]
    return [*row, *delays, cell[OURS]["setting"], cell[OPUS]["setting"], cell["leader"]]


def _number(value: dict[str, Any], name: str) -> str:
    return f"{value['mean']:.{_DIGITS[name]}f}"


def _lead(cell: dict[str, Any], name: str) -> str:
    return f"{cell['lead'][name]['mean']:+.{_DIGITS[name]}f}"


def _told(made: Sequence[dict[str, Any]]) -> str:
    told = summary(made)
    text = (
        f"voicelink leads in ESTOI and PLCMOS in {told['required_ahead']} of the {told['required']} cells measured "
        "with 5 % loss or more at 9 and 12 kbps, and 20 % or bursts at 16 and 24 kbps."
    )
    cost = told.get("estoi_cost_12_kbps_20_percent")
    return text if cost is None else f"{text} At 12 kbps, 20 % random loss costs it {cost:.3f} ESTOI."
