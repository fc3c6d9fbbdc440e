"""`voicelink demo`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import typer

from voicelink.commands.common import (
    Bitrate,
    CodecOptions,
    Common,
    ConstantRate,
    Dtx,
    Fixed,
    Redundancy,
    WireKbps,
    command,
)
from voicelink.errors import ConfigError
from voicelink.units import bitrate_bps, bits_per_frame


@dataclass(frozen=True, kw_only=True)
class PathOptions:
    """How packets are made, and what happens to them on purpose."""

    loss: Annotated[float | None, typer.Option(help="Share of packets lost on purpose, 0..0.9.")] = None
    burst: Annotated[
        float | None, typer.Option(help="Mean length of a loss burst, packets; 0: independent losses.")
    ] = None
    delay: Annotated[float | None, typer.Option(help="Delay added to every packet, ms.")] = None
    jitter: Annotated[float | None, typer.Option(help="Further delay, drawn evenly from 0 to this, ms.")] = None
    seed: Annotated[int | None, typer.Option(help="Seed of loss and jitter.")] = None
    frames_per_packet: Annotated[int | None, typer.Option(help="Frames of 11.6 ms in a packet, 1..8 (default 2).")] = (
        None
    )
    redundancy: Redundancy = None
    fixed: Fixed = None
    dtx: Dtx = None
    constant_rate: ConstantRate = None
    wire_kbps: WireKbps = None

    def options(self) -> dict[str, Any]:
        """As options for `Common.settings`."""
        return {
            "link.loss": self.loss,
            "link.burst": self.burst,
            "link.delay_ms": self.delay,
            "link.jitter_ms": self.jitter,
            "link.seed": self.seed,
            "session.frames_per_packet": self.frames_per_packet,
            "session.redundancy": self.redundancy,
            "session.wire_kbps": self.wire_kbps,
            "session.fixed": self.fixed,
            "session.dtx": self.dtx,
            "session.constant_rate": self.constant_rate,
        }


#: Both ends, the server and all else share this machine: so much of its scheduler's hiccups goes unheard.
LEAST_DELAY_MS = 30


def register(app: typer.Typer) -> None:
    """Add the subcommand."""
    command(app, "demo", "voicelink demo --loss 0.05 --burst 2 --redundancy 1 --out lossy")(demo)


def demo(
    common: Common,
    path: PathOptions,
    codec: CodecOptions,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for recordings, picture and report.")] = Path(
        "voicelink-demo"
    ),
    seconds: Annotated[float, typer.Option(min=2, max=3600, help="Length of the call, s.")] = 15.0,
    bitrate: Bitrate = 3000,
) -> None:
    """A call between two clients on this machine, through a server and real UDP, with nothing to set up.

    Each end speaks a bundled clip. Shows both ends live, and writes what each said and heard (WAV), a
    spectrogram (PNG), the figures (JSON) and a report (HTML).
    """
    effective = common.effective(path.options() | codec.options())
    settings = effective.settings
    from voicelink_client.demo import DemoPlan, run_demo  # noqa: PLC0415
    from voicelink_client.demo_view import DemoScreen, summary  # noqa: PLC0415

    from voicelink.core.plan import check_wire_limit  # noqa: PLC0415
    from voicelink.net.loop import run  # noqa: PLC0415
    from voicelink.sim.tracefile import open_link  # noqa: PLC0415

    _check_model(settings.codec.model, bitrate)
    chosen = replace(settings.codec, model=_absolute(settings.codec.model))
    link = (
        replace(settings.link, trace=str(Path(settings.link.trace).absolute()))
        if settings.link.trace
        else settings.link
    )
    open_link(link)  # the ends' processes would fail of a wrong one
    session = settings.session
    if effective.source("session.playout_delay_min_ms") == "default":
        session = replace(session, playout_delay_min_ms=min(LEAST_DELAY_MS, session.playout_delay_max_ms))
    bits = bits_per_frame(bitrate)
    check_wire_limit(replace(session, bits_min=min(session.bits_min, bits), bits_max=bits))
    plan = DemoPlan(out, seconds, bitrate, session, link, chosen)
    with DemoScreen() as screen:
        figures = run(run_demo(plan, screen))
    common.result(figures, summary(figures))


def _check_model(model: str, bitrate: int) -> None:
    """Raise WeightsError or ConfigError for no such model, or too few bits for it: before both ends fail of it."""
    from voicelink.codec.model_folder import find_model  # noqa: PLC0415

    info = find_model(model or None)
    if bits_per_frame(bitrate) < info.min_bits:
        raise ConfigError(f"--bitrate {bitrate}: model {info.name} needs at least {bitrate_bps(info.min_bits)} bit/s")


def _absolute(model: str) -> str:
    """A model folder as an absolute path; a name as it is."""
    return str(Path(model).absolute()) if model and Path(model).is_dir() else model
