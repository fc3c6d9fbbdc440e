"""Everything about one simulated call, as one flat value: from a TOML file, a mapping, or keyword arguments.

A scenario is a link (`LinkSettings`: both directions alike, unless `back` says otherwise), a session
(`SessionSettings`: both ends alike) and what is around them: length, bitrate, sound cards, coding times, relay,
and changes over time. `simulate` is a pure function of it.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping
from dataclasses import Field, dataclass, fields, replace
from pathlib import Path
from typing import Any, Final

from voicelink.config import check_value
from voicelink.core.plan import check_wire_limit
from voicelink.errors import ConfigError
from voicelink.settings import LinkSettings, SessionSettings, setting
from voicelink.sim.link import Link
from voicelink.sim.profiles import PROFILES
from voicelink.sim.tracefile import with_trace
from voicelink.units import MAX_BITS_PER_FRAME, bitrate_bps, bits_per_frame

MODEL_ID: Final = "simulated"
#: Settings of a session that a scenario sets by itself.
_OWN: Final = ("name", "model_ids", "bits_max")


@dataclass(frozen=True)
class Change:
    """From `at_s` on, these link fields (and `bitrate_bps`) have these values."""

    at_s: float
    values: tuple[tuple[str, Any], ...]


@dataclass(frozen=True)
class Scenario(LinkSettings, SessionSettings):
    """One call. Fields of `LinkSettings` and `SessionSettings` and these; all times from when the call stands."""

    seconds: float = setting(30.0, "length of the call, s", low=0.1, high=86_400.0)
    profile: str = setting("", "the preset that it began with", choices=("", *PROFILES))
    bitrate_bps: int = setting(
        3000, "codec bitrate, bit/s, in steps of 86", low=bitrate_bps(1), high=bitrate_bps(MAX_BITS_PER_FRAME)
    )
    encode_ms: float = setting(1.0, "time to code a frame, ms", low=0.0, high=1_000.0)
    decode_ms: float = setting(2.0, "time to decode a frame, ms", low=0.0, high=1_000.0)
    drift_ppm: float = setting(
        0.0, "how much slower the second end's sound card runs than the first's, ppm", low=-1e5, high=1e5
    )
    loudspeaker_drift_ppm: float = setting(
        0.0, "how much slower each end's loudspeaker runs than its microphone, ppm", low=-1e5, high=1e5
    )
    talk_s: float = setting(1.004, "with dtx and no speech: mean length of a talk spurt, s", low=0.02, high=3_600.0)
    pause_s: float = setting(1.587, "with dtx and no speech: mean length of a pause, s", low=0.02, high=3_600.0)
    relay: bool = setting(False, "the ends reach each other only through a relay")
    back: tuple[tuple[str, Any], ...] = ()
    """Link fields that differ on the way from the second end to the first."""
    changes: tuple[Change, ...] = ()
    """Change points, by rising time."""
    trace_data: tuple[int, ...] = ()
    """What the file `trace` holds, a number for each entry: delay over the fastest packet in us, -1: lost."""

    def link(self, direction: int, at_s: float = 0.0) -> LinkSettings:
        """The link from the first end to the second (0) or back (1), `at_s` seconds into the call."""
        values = {f.name: getattr(self, f.name) for f in fields(LinkSettings)}
        values |= dict(self.back) if direction else {}
        for change in self.changes:
            if change.at_s <= at_s:
                values |= {name: value for name, value in change.values if name in values}
        return LinkSettings(**values)

    def bits(self, at_s: float = 0.0) -> int:
        """Bits a frame that both ends send, `at_s` seconds into the call."""
        wanted = self.bitrate_bps
        for change in self.changes:
            if change.at_s <= at_s:
                wanted = dict(change.values).get("bitrate_bps", wanted)
        return bits_per_frame(wanted)

    def session(self, name: str) -> SessionSettings:
        """Settings of one end."""
        values = {f.name: getattr(self, f.name) for f in fields(SessionSettings)}
        used = [self.bits(), *(self.bits(change.at_s) for change in self.changes)]
        least = min(used) if not self.adapts and not self.wire_kbps else min(self.bits_min, *used)
        own = {"name": name, "model_ids": (MODEL_ID,), "bits_min": least, "bits_max": max(used)}
        return SessionSettings(**values | own)

    def to_mapping(self) -> dict[str, Any]:
        """Plain values by key, as `scenario_from` takes them (with the profile written out)."""
        values = {name: getattr(self, name) for name in scenario_fields()}
        values |= {"back": dict(self.back)} if self.back else {}
        if self.changes:
            values["changes"] = [{"at_s": c.at_s, **dict(c.values)} for c in self.changes]
        return values


def scenario_fields() -> dict[str, Field[Any]]:
    """Fields that can be set, by name, with help text and limits in their metadata."""
    return {f.name: f for f in fields(Scenario) if f.name not in _OWN and f.metadata}


def load_scenario(
    path: Path, options: Mapping[str, Any] | None = None, defaults: Mapping[str, Any] | None = None
) -> Scenario:
    """The scenario in the TOML file at `path`; `options` go over what is in it, which goes over `defaults`.

    Raises ConfigError.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read the scenario {path}: {error.strerror or error}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from None
    return scenario_from(values | dict(options or {}), str(path), path.parent, defaults)


def scenario_from(
    values: Mapping[str, Any],
    source: str = "scenario",
    folder: Path | None = None,
    defaults: Mapping[str, Any] | None = None,
) -> Scenario:
    """A scenario from plain values by key, which go over their preset `profile`, and that over `defaults`.

    `source` names where they came from in messages; a relative `trace` is looked for in `folder`. Raises ConfigError
    for unknown keys (with the nearest right name), wrong types, and values out of range or not fitting each other.
    """
    merged = dict(defaults or {}) | _profile(values.get("profile", ""), source) | dict(values)
    back, changes = merged.pop("back", {}), merged.pop("changes", [])
    taken = {key: _checked(key, value, source, scenario_fields()) for key, value in merged.items()}
    scenario = Scenario(
        **taken, back=_pairs(back, f"{source}: back", _LINK), changes=_changes(changes, f"{source}: changes")
    )
    return _complete(scenario, source, folder or Path())


# ---- helpers -------------------------------------------------------------------------------------
_LINK: Final = {f.name: f for f in fields(LinkSettings) if f.name not in ("seed", "trace")}


def _profile(name: Any, source: str) -> dict[str, Any]:
    """What a preset stands for; nothing for no name."""
    if name == "":
        return {}
    if isinstance(name, str) and name in PROFILES:
        return dict(PROFILES[name])
    near = difflib.get_close_matches(str(name), PROFILES, 1)
    hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(PROFILES)}"
    raise ConfigError(f"{source}: profile = {name!r} is unknown; {hint}")


def _checked(key: str, value: Any, source: str, known: Mapping[str, Field[Any]]) -> Any:
    if key not in known:
        near = difflib.get_close_matches(key, [*known, "back", "changes"], 1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
        raise ConfigError(f"{source}: {key} is unknown; {hint}")
    return check_value(known[key], key, value, source)


def _pairs(values: Any, source: str, known: Mapping[str, Field[Any]]) -> tuple[tuple[str, Any], ...]:
    if not isinstance(values, Mapping):
        raise ConfigError(f"{source} is not a table of link settings")
    return tuple((key, _checked(key, value, source, known)) for key, value in values.items())


def _changes(entries: Any, source: str) -> tuple[Change, ...]:
    if not isinstance(entries, (list, tuple)):
        raise ConfigError(f"{source} is not a list of tables, each [[changes]] with at_s and what changes then")
    known = _LINK | {"bitrate_bps": scenario_fields()["bitrate_bps"]}
    made = []
    for number, entry in enumerate(entries, 1):
        where = f"{source}, number {number}"
        if not isinstance(entry, Mapping) or type(entry.get("at_s")) not in (int, float) or entry["at_s"] < 0:
            raise ConfigError(f"{where}: at_s, the time from the call's start in seconds, is missing or no such number")
        rest = {key: value for key, value in entry.items() if key != "at_s"}
        made.append(Change(float(entry["at_s"]), _pairs(rest, where, known)))
    return tuple(sorted(made, key=lambda change: change.at_s))


def _complete(scenario: Scenario, source: str, folder: Path) -> Scenario:
    """Read the trace, and check what must fit together."""
    try:
        link, entries = with_trace(scenario.link(0), folder)
        complete = replace(scenario, trace_interval_ms=link.trace_interval_ms, trace_data=entries)
        for at_s in (0.0, *(change.at_s for change in complete.changes)):
            for way in (0, 1):
                Link(complete.link(way, at_s), way, entries)
    except ConfigError as error:
        raise ConfigError(f"{source}: {error}") from None
    if scenario.playout_delay_min_ms > scenario.playout_delay_max_ms:
        least, most = scenario.playout_delay_min_ms, scenario.playout_delay_max_ms
        raise ConfigError(f"{source}: playout_delay_min_ms = {least} is above playout_delay_max_ms = {most}")
    if scenario.constant_rate and scenario.dtx:
        text = "constant_rate hides when somebody talks, and dtx shows it; leave one of the two out"
        raise ConfigError(f"{source}: {text}")
    if scenario.constant_rate and any("bitrate_bps" in dict(change.values) for change in scenario.changes):
        raise ConfigError(f"{source}: bitrate_bps changes, and constant_rate keeps it; leave one of the two out")
    low, high = scenario.frames_per_packet_min, scenario.frames_per_packet_max
    if not low <= scenario.frames_per_packet <= high:
        raise ConfigError(f"{source}: frames_per_packet = {scenario.frames_per_packet} is outside {low}..{high}")
    try:
        check_wire_limit(scenario.session(""))
    except ConfigError as error:
        raise ConfigError(f"{source}: {error}") from None
    return complete
