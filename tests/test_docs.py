"""The documentation's tables against the settings, metrics and columns that there are."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from voicelink.config import check_value
from voicelink.experiments.metrics import METRICS
from voicelink.experiments.network import figures
from voicelink.experiments.plan import CODECS, KEEP, load_sweep, shipped, sweep_from
from voicelink.sim.call import simulate
from voicelink.sim.profiles import PROFILES
from voicelink.sim.scenario import scenario_fields, scenario_from

DOCS = Path(__file__).parents[1] / "docs"
SIMULATION = (DOCS / "simulation.md").read_text(encoding="utf-8")
EXPERIMENTS = (DOCS / "experiments.md").read_text(encoding="utf-8")


def rows(text: str, columns: int) -> list[list[str]]:
    """Rows of all Markdown tables with so many columns, heads left out."""
    found = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in text.splitlines() if line[:1] == "|"]
    found = [cells for cells in found if len(cells) == columns and not set(cells[0]) <= {"-", "|"}]
    return [cells for cells in found if cells[0].startswith("`")]


def toml(value: Any) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value).lower()


def test_every_setting_of_a_scenario_stands_with_its_default_limits_and_text() -> None:
    fields = scenario_fields()
    written = {cells[0].strip("`"): cells[1:] for cells in rows(SIMULATION, 4)}
    assert set(written) == set(fields)
    for name, (default, allowed, text) in written.items():
        about = fields[name].metadata
        assert default == f"`{toml(fields[name].default)}`", name
        assert text == about["text"], name
        if about["choices"] and name != "profile":
            assert allowed == ", ".join(f"`{choice}`" for choice in about["choices"]), name
        elif about["low"] is not None:
            assert allowed == f"{about['low']:g}..{about['high']:g}", name


def test_profiles_are_all_in_the_table() -> None:
    table = SIMULATION.partition("### Profiles")[2].partition("## ")[0]
    written = set(re.findall(r"^\| `([\w-]+)` \|", table, re.M))
    assert {name for name in PROFILES if not name.startswith("g1050")} <= written
    assert "`g1050-A` ... `g1050-H`" in table


def test_the_example_scenario_is_one() -> None:
    import tomllib

    (block,) = re.findall(r"```toml\n(.*?)```", SIMULATION, re.S)
    assert scenario_from(tomllib.loads(block)).changes


def test_every_metric_codec_and_shipped_sweep_is_named() -> None:
    table = {name for cells in rows(EXPERIMENTS, 3) for name in re.findall(r"`(\w+)`", cells[0])}
    assert set(METRICS) <= table
    for name in (*CODECS, *KEEP):
        assert name in EXPERIMENTS, name
    for name in shipped():
        assert f"`{name}`" in EXPERIMENTS, name
        load_sweep(shipped()[name])


def test_the_example_sweep_is_one(tmp_path: Path) -> None:
    import tomllib

    block = re.findall(r"```toml\n(.*?)```", EXPERIMENTS, re.S)[0].replace(', "mine.wav"', "")
    made = sweep_from(tomllib.loads(block), "docs", "docs", tmp_path)
    assert made.view.by == ("redundancy",)


@pytest.mark.parametrize("shown", ["`mouth_to_ear_p50_ms`, `_p95_ms`, `_p99_ms`"])
def test_every_column_of_the_network_is_explained(shown: str) -> None:
    text = EXPERIMENTS.replace(shown, "`mouth_to_ear_p50_ms`, `mouth_to_ear_p95_ms`, `mouth_to_ear_p99_ms`")
    for name in figures(simulate(scenario_from({"seconds": 2.0}))):
        assert f"`{name}`" in text, name


def test_defaults_pass_their_own_check() -> None:
    for name, field in scenario_fields().items():
        assert check_value(field, name, field.default, "default") == field.default
