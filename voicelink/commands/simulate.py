"""`voicelink simulate`."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from voicelink.commands.common import (
    MAX_BITRATE_BPS,
    MIN_BITRATE_BPS,
    CodecOptions,
    Common,
    ConstantRate,
    Dtx,
    Fixed,
    Redundancy,
    WireKbps,
    command,
)
from voicelink.commands.scenario import ScenarioOptions, make_scenario
from voicelink.errors import AudioError, ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

    from voicelink.codec.api import Codec
    from voicelink.sim.scenario import Scenario
    from voicelink.sim.trace import Trace

    Sound = NDArray[np.float32]

NAMES: Final = ("a", "b")


@dataclass(frozen=True, kw_only=True)
class CallOptions:
    """The call itself."""

    seconds: Annotated[float | None, typer.Option(help="Length of the call, s (default 30).")] = None
    bitrate: Annotated[
        int | None,
        typer.Option(
            metavar="BPS", min=MIN_BITRATE_BPS, max=MAX_BITRATE_BPS, help="Codec bitrate, bit/s (default 3000)."
        ),
    ] = None
    frames_per_packet: Annotated[int | None, typer.Option(help="Frames of 11.6 ms in a packet (default 2).")] = None
    redundancy: Redundancy = None
    distance: Annotated[
        int | None, typer.Option(metavar="FRAMES", help="Frames between the repeated and the new ones (default 0).")
    ] = None
    fixed: Fixed = None
    dtx: Dtx = None
    constant_rate: ConstantRate = None
    wire_kbps: WireKbps = None
    late: Annotated[
        float | None,
        typer.Option(metavar="SHARE", help="Frames that may come too late: small is safe, large quick (default 0.01)."),
    ] = None
    playout_delay: Annotated[
        float | None, typer.Option(metavar="MS", help="A fixed playout delay (default: it follows the path).")
    ] = None
    drift: Annotated[
        float | None, typer.Option(metavar="PPM", help="How much slower the second end's sound card runs.")
    ] = None
    relay: Annotated[bool | None, typer.Option("--relay/--direct", help="Go through a relay (default: direct).")] = None

    def values(self) -> dict[str, Any]:
        """What was given, by scenario key."""
        named = {
            "seconds": self.seconds,
            "bitrate_bps": self.bitrate,
            "frames_per_packet": self.frames_per_packet,
            "redundancy": self.redundancy,
            "redundancy_distance": self.distance,
            "wire_kbps": self.wire_kbps,
            "fixed": self.fixed,
            "dtx": self.dtx,
            "constant_rate": self.constant_rate,
            "target_late_rate": self.late,
            "playout_delay_ms": None if self.playout_delay is None else round(self.playout_delay),
            "drift_ppm": self.drift,
            "relay": self.relay,
        }
        return {key: value for key, value in named.items() if value is not None}


def register(app: typer.Typer) -> None:
    """Add the subcommand."""
    command(app, "simulate", "voicelink simulate --profile wifi --loss 0.05 --seconds 60 --audio --out lossy")(simulate)


def simulate(
    common: Common,
    path: ScenarioOptions,
    call: CallOptions,
    codec: CodecOptions,
    scenario: Annotated[
        Path | None, typer.Argument(metavar="[SCENARIO.toml]", help="Scenario file; options go over what is in it.")
    ] = None,
    audio: Annotated[bool, typer.Option("--audio", help="Render what was heard with the codec, and score it.")] = False,
    source: Annotated[
        list[Path] | None,
        typer.Option(
            "--input", metavar="FILE", help="What the first end says (given twice: the other, too); with --audio."
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder for the trace, the figures and, with --audio, WAV files.")
    ] = None,
    print_netem: Annotated[
        str | None,
        typer.Option(metavar="DEVICE", help="Print the tc commands that impair DEVICE like this path, and leave."),
    ] = None,
) -> None:
    """One call under a virtual clock: the protocol of a real call, hundreds of times faster, and repeatable.

    The same scenario and seed give the same trace (and its digest) on every machine. docs/simulation.md has all keys.
    """
    if call.constant_rate and call.fixed is False:
        raise ConfigError("--constant-rate and --adaptive exclude each other; leave one of the two out")
    made = make_scenario(common, scenario, path.values() | call.values())
    if print_netem is not None:
        return _print_netem(common, made, print_netem)
    if source and not audio:
        raise ConfigError("--input is what is said, and only --audio renders it; add --audio")
    if len(source or ()) > len(NAMES):
        raise ConfigError(f"--input is given {len(source or ())} times; there are two ends")
    if out is not None:
        _make_folder(out)
    said = _clips(source or [], made.seconds) if audio else {}
    model = load_for_rendering(common, codec) if audio else None
    trace, figures = _run(made, said)
    if model is not None:
        heard = _render(trace, said, model)
        figures |= {"estoi": _scores(trace, said, heard), "model_id": model.model_id}
    if out is not None:
        _write(out, trace, figures, said | heard if model is not None else {})
        figures["out"] = str(out)
    common.result(figures, _lines(figures))
    return None


def load_for_rendering(common: Common, codec: CodecOptions) -> Codec:
    """The model; on torch, which decodes faster here, where nobody says otherwise and torch is installed."""
    from importlib.util import find_spec  # noqa: PLC0415

    from voicelink.codec import load_codec  # noqa: PLC0415

    effective = common.effective(codec.options())
    engine = effective.settings.codec.engine
    if engine == "auto" and find_spec("torch") is not None:
        engine = "torch"
    return load_codec(effective.settings.codec.model or None, engine=engine)  # type: ignore[arg-type]


# ---- stages --------------------------------------------------------------------------------------
def _run(scenario: Scenario, said: dict[str, Sound]) -> tuple[Trace, dict[str, Any]]:
    from voicelink.sim.call import simulate as run  # noqa: PLC0415
    from voicelink.sim.render import speech_of  # noqa: PLC0415

    clips = [said[f"{name}_said"] for name in NAMES] if said and scenario.dtx else []
    speech = (speech_of(clips[0]), speech_of(clips[1])) if clips else None
    begin, cpu = time.perf_counter(), time.process_time()
    with shown_progress("simulating", scenario.seconds > 600) as progress:
        trace = run(scenario, progress, speech)
    wall_s, cpu_s = time.perf_counter() - begin, time.process_time() - cpu
    figures = trace.summary() | {
        "speed_x": round(trace.seconds / wall_s, 1),
        "cpu_rtf": round(cpu_s / trace.seconds, 5),
        "ends": {end.name: end.stats for end in trace.ends},
        "scenario": trace.scenario,
    }
    return trace, figures


def _clips(files: list[Path], seconds: float) -> dict[str, Sound]:
    """What each end says, at the codec's rate."""
    from voicelink_client.clips import bundled_clips, clip_for  # noqa: PLC0415

    paths = [*files, *bundled_clips()[len(files) :]]
    return {f"{name}_said": clip_for(path, seconds) for name, path in zip(NAMES, paths, strict=False)}


def _render(trace: Trace, said: dict[str, Sound], model: Codec) -> dict[str, Sound]:
    from voicelink.sim.render import render  # noqa: PLC0415

    heard = {}
    for listener, name in enumerate(NAMES):
        with shown_progress(f"rendering what {name} heard", True) as progress:
            (heard[f"{name}_heard"],) = render([trace], said[f"{NAMES[1 - listener]}_said"], model, listener, progress)
    return heard


def _scores(trace: Trace, said: dict[str, Sound], heard: dict[str, Sound]) -> dict[str, float | None]:
    from voicelink_client.measure import estoi  # noqa: PLC0415

    from voicelink.sim.render import aligned  # noqa: PLC0415

    scores = {}
    for listener, name in enumerate(NAMES):
        speaker = NAMES[1 - listener]
        pair = aligned(trace.ends[listener], said[f"{speaker}_said"], heard[f"{name}_heard"])
        scores[f"{speaker}_to_{name}"] = estoi(*pair)
    return scores


def _print_netem(common: Common, scenario: Scenario, device: str) -> None:
    from voicelink.sim.netem import netem_script  # noqa: PLC0415

    commands = netem_script(scenario, device)
    figures, lines = {"commands": commands}, list(commands)
    if scenario.back:
        figures["back"] = netem_script(scenario, device, 1)
        lines += ["# The way back, for the other end's device:", *(f"# {line}" for line in figures["back"])]
    common.result(figures, lines)


# ---- files and words -----------------------------------------------------------------------------
def _make_folder(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise AudioError(f"{out}: cannot be made ({error.strerror or error}); choose another --out") from error


def _write(out: Path, trace: Trace, figures: dict[str, Any], sounds: dict[str, Sound]) -> None:
    import json  # noqa: PLC0415

    from voicelink.audio.files import write_audio  # noqa: PLC0415
    from voicelink.units import SAMPLE_RATE_HZ  # noqa: PLC0415

    try:
        trace.save(out / "trace.npz")
        (out / "figures.json").write_text(json.dumps(figures, indent=1) + "\n")
    except OSError as error:
        where = error.filename or out
        raise AudioError(f"{where}: cannot be written ({error.strerror or error}); choose another --out") from None
    for name, sound in sounds.items():
        write_audio(out / f"{name}.wav", sound, SAMPLE_RATE_HZ)


def _lines(figures: dict[str, Any]) -> Iterator[str]:
    delay, buffer = figures["mouth_to_ear_ms"], figures["buffer_ms"]
    sent = figures["packets_sent"]
    yield (
        f"{figures['seconds']:g} s at {figures['bitrate_bps'] / 1000:.2f} kbit/s, with IP and UDP headers "
        f"{figures['wire_kbps']:.2f} kbit/s each way"
    )
    yield f"lost {figures['packets_lost']} of {sent} packets; {figures['late']} frames late, {figures['healed']} healed"
    yield (
        f"played {figures['frames_played']} frames, concealed {figures['frames_concealed']}, "
        f"{figures['interruptions']} interruptions"
    )
    if delay["p50"] is not None:
        yield f"mouth to ear {delay['p50']:.0f} ms median, {delay['p95']:.0f} ms 95 %"
    waited = f"jitter buffer {buffer['mean']:.0f} ms mean, {buffer['p95']:.0f} ms 95 %"
    yield f"{waited}; aimed at {figures['target_ms']:.0f} ms"
    for way, score in figures.get("estoi", {}).items():
        yield f"ESTOI {way.replace('_', ' ')} {'too little speech' if score is None else score}"
    yield f"trace {figures['trace_digest']}, simulated at {figures['speed_x']:.0f} times real time"
    if "out" in figures:
        yield f"written to {figures['out']}"


@contextmanager
def shown_progress(text: str, wanted: bool) -> Iterator[Callable[[float], None] | None]:
    """A bar on standard error, where that is a terminal."""
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import Progress  # noqa: PLC0415

    console = Console(stderr=True)
    if not wanted or not console.is_terminal:
        yield None
        return
    with Progress(console=console, transient=True) as bar:
        task = bar.add_task(text, total=1.0)
        yield lambda share: bar.update(task, completed=share)
