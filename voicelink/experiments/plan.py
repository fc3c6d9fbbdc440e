"""A sweep as its TOML file states it: a grid of scenarios x seeds x clips x codecs.

title = "Random loss"
seeds = 3                      # 1, 2, 3; or a list
clips = ["english", "a.wav"]   # bundled names or audio files; without clips only the protocol runs
metrics = ["estoi", "plcmos"]
codecs = ["voicelink", "opus"]
[scenario]                     # what all cells share: any setting of `voicelink simulate`
seconds = 6.0
[grid]                         # every combination of these; several [[grid]] tables are united
loss = [0.0, 0.1, 0.2]
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from difflib import get_close_matches
from importlib.resources import files
from itertools import product
from pathlib import Path
from typing import Any, Final

from voicelink.errors import ConfigError
from voicelink.experiments.clips import Clip, load_clips
from voicelink.experiments.metrics import METRICS
from voicelink.sim.scenario import Scenario, scenario_fields, scenario_from

OURS: Final = "voicelink"
CODECS: Final = (OURS, "opus", "codec2")
KEEP: Final = ("first", "none", "all")
MAX_ROWS: Final = 1_000_000
#: Curves that a figure shows well.
CURVES: Final = 7
DEFAULT_METRICS: Final = ("estoi", "pesq_wb", "plcmos")


@dataclass(frozen=True)
class Cell:
    """One point of the grid: `point` holds the settings that the grid varies, `scenario` all of them (but the seed)."""

    index: int
    point: dict[str, Any]
    scenario: Scenario


@dataclass(frozen=True)
class View:
    """How the report draws a sweep: `x` axis, a curve for each values of all of `by`, two axes of a heat map."""

    x: str = ""
    by: tuple[str, ...] = ()
    heat: tuple[str, ...] = ()
    log: bool = False


@dataclass(frozen=True)
class Sweep:
    """A checked sweep. `keep`: of which seeds traces and audio are kept ("first", "none", "all")."""

    name: str
    title: str
    about: str
    seeds: tuple[int, ...]
    cells: tuple[Cell, ...]
    clips: tuple[Clip, ...]
    metrics: tuple[str, ...]
    codecs: tuple[str, ...]
    keep: str
    view: View = field(default_factory=View)

    @property
    def rows(self) -> int:
        """How many rows its table has."""
        return len(self.codecs) * max(1, len(self.clips)) * len(self.cells) * len(self.seeds)

    @property
    def axes(self) -> dict[str, list[Any]]:
        """What the grid varies: each setting with its values in their first order."""
        found: dict[str, list[Any]] = {}
        for cell in self.cells:
            for key, value in cell.point.items():
                if value not in found.setdefault(key, []):
                    found[key].append(value)
        return found

    def kept(self, seed: int) -> bool:
        """Whether traces and audio of this seed are kept."""
        return self.keep == "all" or (self.keep == "first" and seed == self.seeds[0])

    def describe(self) -> dict[str, Any]:
        """Everything that decides the table's content, as plain values: two equal ones give equal tables."""
        return {
            "name": self.name,
            "title": self.title,
            "about": self.about,
            "seeds": list(self.seeds),
            "cells": [cell.scenario.to_mapping() for cell in self.cells],
            "points": [cell.point for cell in self.cells],
            "clips": {clip.name: clip.sha256 for clip in self.clips},
            "metrics": list(self.metrics),
            "codecs": list(self.codecs),
            "keep": self.keep,
            "view": {"x": self.view.x, "by": list(self.view.by), "heat": list(self.view.heat), "log": self.view.log},
        }


def shipped() -> dict[str, Path]:
    """The sweeps that come with the program, by name."""
    folder = files("voicelink.experiments") / "sweeps"
    found = [Path(str(file)) for file in folder.iterdir() if file.name.endswith(".toml")]
    return {path.stem: path for path in sorted(found)}


def find_sweep(name: str) -> Path:
    """The file of that path, or the shipped sweep of that name. Raises ConfigError."""
    known = shipped()
    if name in known:
        return known[name]
    path = Path(name)
    if path.exists() or path.suffix or "/" in name:
        return path
    near = get_close_matches(name, known, 1)
    hint = f"did you mean {near[0]}?" if near else f"shipped are {', '.join(known)}"
    raise ConfigError(f"{name}: no such file and no sweep of that name; {hint}")


def load_sweep(path: Path) -> Sweep:
    """The sweep in the TOML file at `path`. Raises ConfigError (and AudioError for its clips), each one line."""
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read the sweep {path}: {error.strerror or error}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from None
    return sweep_from(values, path.stem, str(path), path.parent)


def sweep_from(values: Mapping[str, Any], name: str, source: str, folder: Path) -> Sweep:
    """A sweep from plain values; `source` names them in messages, relative files are looked for in `folder`."""
    take = _Taker(values, source)
    clips = tuple(load_clips(take.texts("clips", ()), folder, source))
    made = Sweep(
        name=name,
        title=take.text("title", name.replace("-", " ").capitalize()),
        about=take.text("about", ""),
        seeds=_seeds(values.get("seeds", 3), source),
        cells=_cells(values, source, folder),
        clips=clips,
        metrics=take.texts("metrics", DEFAULT_METRICS if clips else (), METRICS),
        codecs=take.texts("codecs", (OURS,), CODECS),
        keep=take.text("keep", "first", KEEP),
    )
    if not clips and (made.metrics or made.codecs != (OURS,)):
        raise ConfigError(f"{source}: metrics and other codecs need clips = [...]; there are none")
    if made.rows > MAX_ROWS:
        raise ConfigError(f"{source}: {made.rows} rows are too many (at most {MAX_ROWS}); make the grid smaller")
    return replace(made, view=_view(values.get("report", {}), made, source))


# ---- helpers -------------------------------------------------------------------------------------
#: A sweep's cells are what they say, and do not adapt, unless it says `fixed = false`.
FIXED: Final[dict[str, Any]] = {"fixed": True}
_KEYS: Final = ("title", "about", "seeds", "clips", "metrics", "codecs", "keep", "scenario", "grid", "report")


class _Taker:
    """Typed access to the top level of a file."""

    def __init__(self, values: Mapping[str, Any], source: str) -> None:
        self.values, self.source = values, source
        for key in values:
            require_known(key, _KEYS, source)

    def text(self, key: str, default: str, allowed: tuple[str, ...] = ()) -> str:
        value = self.values.get(key, default)
        if not isinstance(value, str):
            raise ConfigError(f"{self.source}: {key} = {value!r} is not text")
        if allowed and value not in allowed:
            raise ConfigError(f"{self.source}: {key} = {value!r} is unknown; allowed is {' or '.join(allowed)}")
        return value

    def texts(self, key: str, default: tuple[str, ...], allowed: tuple[str, ...] = ()) -> tuple[str, ...]:
        value = self.values.get(key, default)
        if not isinstance(value, (list, tuple)) or not all(isinstance(item, str) for item in value):
            raise ConfigError(f"{self.source}: {key} = {value!r} is not a list of texts")
        for item in value if allowed else ():
            require_known(item, allowed, f"{self.source}: {key}")
        if len(set(value)) < len(value) or (key == "codecs" and not value):
            raise ConfigError(f"{self.source}: {key} = {list(value)!r} names something twice or nothing")
        return tuple(value)


def require_known(key: str, known: tuple[str, ...], source: str) -> None:
    """Raise ConfigError, with the nearest right name, where `key` is none of `known`."""
    if key not in known:
        near = get_close_matches(key, known, 1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
        raise ConfigError(f"{source}: {key} is unknown; {hint}")


def _seeds(value: Any, source: str) -> tuple[int, ...]:
    """A count n stands for 1..n."""
    seeds = list(range(1, value + 1)) if type(value) is int and 0 < value <= MAX_ROWS else value
    if not isinstance(seeds, list) or not seeds or any(type(s) is not int or s < 0 for s in seeds):
        raise ConfigError(f"{source}: seeds = {value!r} is neither a count nor a list of whole numbers")
    if len(set(seeds)) < len(seeds):
        raise ConfigError(f"{source}: seeds = {value!r} names one twice")
    return tuple(seeds)


def _cells(values: Mapping[str, Any], source: str, folder: Path) -> tuple[Cell, ...]:
    shared = _table(values.get("scenario", {}), f"{source}: scenario")
    if "seed" in shared:
        raise ConfigError(f"{source}: seed in [scenario]: a sweep's seeds stand in seeds = [...]")
    grids = values.get("grid", [{}])
    cells: list[Cell] = []
    for number, grid in enumerate(grids if isinstance(grids, list) else [grids], 1):
        where = f"{source}: grid" + (f" {number}" if isinstance(grids, list) else "")
        for point in _points(_table(grid, where), where):
            scenario = scenario_from(FIXED | dict(shared) | point, f"{source}: cell {point or 'one'}", folder)
            if all(point != cell.point for cell in cells):
                cells.append(Cell(len(cells), point, scenario))
            if len(cells) > MAX_ROWS:
                raise ConfigError(f"{source}: more than {MAX_ROWS} cells; make the grid smaller")
    return tuple(cells)


def _points(grid: Mapping[str, Any], where: str) -> Iterator[dict[str, Any]]:
    """Every combination of a grid's values, the last key fastest."""
    for key, choices in grid.items():
        require_known(key, tuple(name for name in (*scenario_fields(), "back", "changes") if name != "seed"), where)
        if not isinstance(choices, list) or not choices:
            raise ConfigError(f"{where}: {key} = {choices!r} is not a list of values to try")
    for values in product(*grid.values()):
        yield dict(zip(grid, values, strict=True))


def _table(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ConfigError(f"{where} is not a table")
    return value


def _view(value: Any, sweep: Sweep, source: str) -> View:
    """What [report] says; where it says nothing, the axis with most numbers, and others as curves."""
    table = dict(_table(value, f"{source}: report"))
    axes = sweep.axes
    for key, named in table.items():
        require_known(key, tuple(f.name for f in fields(View)), f"{source}: report")
        for axis in (named if isinstance(named, list) else [named]) if key != "log" else ():
            require_known(str(axis), (*axes, "codec"), f"{source}: report: {key}")
    for key in ("x", "log"):
        if not isinstance(table.get(key, getattr(View(), key)), type(getattr(View(), key))):
            what = "text" if key == "x" else "true or false"
            raise ConfigError(f"{source}: report: {key} = {table[key]!r} is not {what}")
    numeric = [key for key, choices in axes.items() if all(type(c) in (int, float) for c in choices)]
    numeric.sort(key=lambda key: -len(axes[key]))
    x = table.get("x") or next(iter(numeric), next(iter(axes), ""))
    others = [key for key in axes if key != x and len(axes[key]) > 1]
    given = table.get("by", [])
    by = tuple([given] if isinstance(given, str) else given) or _parted(
        sweep, [key for key in others if key != "codec"]
    )
    heat = tuple(table.get("heat") or ((x, others[0]) if others and len(axes[x]) > 1 else ()))
    if heat and len(heat) != 2:
        raise ConfigError(f"{source}: report: heat = {list(heat)!r} does not name two axes")
    return View(x, by, heat, bool(table.get("log", False)))


def _parted(sweep: Sweep, others: list[str]) -> tuple[str, ...]:
    """What parts the curves where nobody says so: the codecs, and of the other axes as many as a figure can show."""
    curves = len(sweep.codecs)
    by = ["codec"] if curves > 1 else []
    for key in others:
        if curves * len(sweep.axes[key]) <= CURVES:
            curves *= len(sweep.axes[key])
            by.append(key)
    return tuple(by)
