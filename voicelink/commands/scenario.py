"""Options that make a scenario, shared by `voicelink simulate` and `voicelink proxy`."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from voicelink.commands.common import Common
from voicelink.errors import ConfigError
from voicelink.settings import JITTER_MODELS, LOSS_MODELS

if TYPE_CHECKING:
    from voicelink.sim.scenario import Scenario


@dataclass(frozen=True, kw_only=True)
class ScenarioOptions:
    """Conditions of the path, both directions alike. Each field's name is a scenario key, or see `_KEYS`."""

    profile: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Preset, which the others add to: lan, wifi, moderate, international, spiky, g1050-A to -H.",
        ),
    ] = None
    seed: Annotated[int | None, typer.Option(help="Seed of everything random (default 0).")] = None
    loss: Annotated[float | None, typer.Option(help="Share of packets lost, 0..0.9.")] = None
    burst: Annotated[
        float | None, typer.Option(help="Mean length of a loss burst, packets; 0: independent losses.")
    ] = None
    loss_model: Annotated[str | None, typer.Option(metavar="|".join(LOSS_MODELS), help="What loses packets.")] = None
    trace: Annotated[
        str | None, typer.Option(metavar="FILE", help="Recorded losses or arrivals: CSV, *_is_lost.txt, pcap.")
    ] = None
    delay: Annotated[float | None, typer.Option(help="Delay of every packet, ms.")] = None
    jitter: Annotated[float | None, typer.Option(help="Additional delay, ms, as the jitter model takes it.")] = None
    jitter_model: Annotated[
        str | None, typer.Option(metavar="|".join(JITTER_MODELS), help="How that is distributed (default uniform).")
    ] = None
    reorder: Annotated[
        bool | None, typer.Option("--reorder/--in-order", help="Whether jitter may reorder packets (default no).")
    ] = None
    duplicate: Annotated[float | None, typer.Option(help="Share of packets that come twice.")] = None
    corrupt: Annotated[float | None, typer.Option(help="Share of packets with one bit flipped.")] = None
    rate: Annotated[
        float | None, typer.Option(metavar="KBPS", help="Rate of the bottleneck, kbit/s, IP and UDP headers counted.")
    ] = None
    queue: Annotated[float | None, typer.Option(metavar="MS", help="Its queue, ms (default 100).")] = None
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Any other key of a scenario, see docs/simulation.md."),
    ] = None

    def values(self) -> dict[str, Any]:
        """What was given, by scenario key. Raises ConfigError for a --set that is none."""
        given = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "set_"}
        named = {_KEYS.get(name, name): value for name, value in given.items() if value is not None}
        if "trace" in named:  # in a file it is relative to that, here to where we are
            named["trace"] = str(Path(named["trace"]).absolute())
        return named | dict(_pair(text) for text in self.set_ or ())


def make_scenario(common: Common, file: Path | None, given: dict[str, Any]) -> Scenario:
    """The scenario in `file`, with what was `given` on the command line over it. Raises ConfigError.

    Below both, and below a profile, stand [link] and [session] of --config and the environment.
    """
    from voicelink.sim.scenario import load_scenario, scenario_from  # noqa: PLC0415

    defaults = _defaults(common)
    if file is not None:
        return load_scenario(file, given, defaults)
    return scenario_from(given, "command line", defaults=defaults)


def _defaults(common: Common) -> dict[str, Any]:
    """What a settings file or the environment says of the link and the session, by scenario key."""
    from voicelink.sim.scenario import scenario_fields  # noqa: PLC0415

    effective, known = common.effective(), scenario_fields()
    pairs = [key.split(".") for key in effective.sources]
    found = {
        name: getattr(getattr(effective.settings, table), name)
        for table, name in pairs
        if table in ("link", "session") and name in known
    }
    if found.get("trace"):  # a scenario's is looked for beside it; this one is relative to where we are, as in a call
        found["trace"] = str(Path(found["trace"]).absolute())
    return found


_KEYS: Final = {
    "delay": "delay_ms",
    "jitter": "jitter_ms",
    "rate": "rate_kbps",
    "queue": "queue_ms",
    "drift": "drift_ppm",
    "bitrate": "bitrate_bps",
    "playout_delay": "playout_delay_ms",
}


def _pair(text: str) -> tuple[str, Any]:
    """KEY=VALUE, the value as in TOML; a bare word is text."""
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise ConfigError(f"--set {text!r} is not KEY=VALUE, such as --set drift_ppm=300")
    try:
        return key.strip(), tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return key.strip(), value.strip()
