"""`voicelink bench`: speed on this machine."""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from voicelink.commands.common import CodecOptions, Common, command
from voicelink.errors import ConfigError

if TYPE_CHECKING:
    from voicelink.codec.api import Codec


def register(app: typer.Typer) -> None:
    """Add the subcommands."""
    group = typer.Typer(no_args_is_help=True, help="Speed on this machine.")
    command(group, "codec", "voicelink bench codec --engine onnx")(codec)
    command(group, "relay", "voicelink bench relay --clients 10000")(relay)
    command(group, "sim", "voicelink bench sim --seconds 120 --audio")(sim)
    command(group, "session", "voicelink bench session --seeds 3 --seconds 60 --json")(session)
    command(group, "loss", "voicelink bench loss --out losses --seeds 1 --seconds 30")(loss)
    app.add_typer(group, name="bench")


def codec(
    common: Common,
    options: CodecOptions,
    seconds: Annotated[float, typer.Option(min=0.5, max=600, help="How much speech to code, s.")] = 5.0,
) -> None:
    """Milliseconds a frame (11.6 ms of speech) of encoder, decoder and vocoder, on one thread; medians."""
    settings = common.settings(options.options()).codec
    from voicelink.codec.bench import bench_codec  # noqa: PLC0415

    figures = bench_codec(settings.model or None, settings.engine, seconds)  # type: ignore[arg-type]
    lines = [
        f"{figures['model']} on {figures['engine']}, one thread",
        f"encoder {figures['encoder_ms_per_frame']} ms, decoder {figures['decoder_ms_per_frame']} ms, "
        f"vocoder {figures['vocoder_ms_per_frame']} ms a frame",
        f"both directions take {figures['duplex_rtf']} of real time: {figures['streams_per_core']} calls a core",
    ]
    common.result(figures, lines)


def sim(
    common: Common,
    options: CodecOptions,
    seconds: Annotated[float, typer.Option(min=1, max=86_400, help="Length of the simulated call, s.")] = 60.0,
    audio: Annotated[bool, typer.Option("--audio", help="Also render calls with the codec, side by side.")] = False,
    calls: Annotated[int, typer.Option(min=1, max=1_000, help="How many calls, for --audio.")] = 32,
) -> None:
    """Simulated seconds a wall second: the protocol of a two-way call at two frames a packet, on one core.

    With --audio also how many seconds of one direction the renderer makes in a second, coding the clip included.
    """
    from voicelink.commands.simulate import load_for_rendering  # noqa: PLC0415

    figures = _bench_protocol(seconds)
    lines = [f"a call of {seconds:g} s is simulated at {figures['speed_x']:.0f} times real time (best of 3)"]
    lines.append(f"memory grew by {figures['memory_mb']:.1f} MB, the trace is {figures['trace_mb']:.1f} MB of that")
    if audio:
        model = load_for_rendering(common, options)
        figures |= {"engine": model.engine.name, "model": model.model_id, "calls": calls}
        figures["audio_speed_x"] = _bench_audio(model, min(seconds, 10.0), calls)
        lines.append(f"{calls} calls are rendered side by side at {figures['audio_speed_x']:.1f} times real time")
    common.result(figures, lines)


def relay(
    common: Common,
    clients: Annotated[int, typer.Option(min=0, max=100_000, help="Also the memory of so many names.")] = 0,
    load: Annotated[
        float, typer.Option(min=1, max=1e6, help="Packets a second at which delay and loss are measured.")
    ] = 20_000.0,
    calls: Annotated[
        int, typer.Option(min=0, max=50_000, help="Instead: so many relayed calls at once (a soak), for --seconds.")
    ] = 0,
    seconds: Annotated[float, typer.Option(min=1, max=86_400, help="Length of the soak, s.")] = 600.0,
    packets: Annotated[
        float, typer.Option(min=0.1, max=400, help="Packets a second of each end in the soak (43.1: two frames each).")
    ] = 43.1,
) -> None:
    """Packets a second that the server relays on one core, beside a raw uvloop echo measured in turns with it.

    Then delay and loss at --load, beside the same without a relay. All over the loopback interface; packets/s are for a
    second of the processor's time.
    """
    from voicelink_server.bench import bench_memory, bench_relay, soak  # noqa: PLC0415

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # the server that is measured must not outlive us
    if calls:
        parts = []
        for part in soak(calls, seconds, packets):
            sys.stderr.write(f"{part}\n")
            parts.append(part)
        grown = parts[-1]["resident_mb"] - parts[0]["resident_mb"]
        lost, sent = sum(p["lost"] for p in parts), sum(p["sent"] for p in parts)
        figures: dict[str, Any] = {"calls": calls, "seconds": seconds, "sent": sent, "lost": lost}
        figures["held_up_ms"] = sum(p["held_up_ms"] for p in parts)
        figures |= {"resident_mb": parts[-1]["resident_mb"], "grown_mb": round(grown, 2), "parts": parts}
        held_up = f"; the load itself was held up for {figures['held_up_ms']} ms" if figures["held_up_ms"] else ""
        line = f"{calls} calls: {lost} of {sent} packets lost, memory grew by {grown:.2f} MB{held_up}"
        common.result(figures, [line])
        return
    figures = bench_relay(load)
    if clients:
        figures |= bench_memory(clients)
    delay, direct = figures["load_delay_ms"], figures["direct_delay_ms"]
    lines = [
        f"relays {figures['packets_per_s']} packets/s a core; a raw echo {figures['raw_echo_packets_per_s']} "
        f"(ratio {figures['ratio']})",
        f"at {figures['load_packets_per_s']} packets/s: delay p50 {delay['p50']} ms, p99 {delay['p99']} ms "
        f"(without a relay {direct['p50']} and {direct['p99']}), "
        f"{figures['load_lost']} of {figures['load_sent']} lost",
    ]
    if clients:
        lines.append(f"{figures['resident_mb']} MB, and {figures['bytes_per_client']} bytes a registered client")
    common.result(figures, lines)


def session(
    common: Common,
    seeds: Annotated[int, typer.Option(min=1, max=100, help="Calls a path.")] = 3,
    seconds: Annotated[float, typer.Option(min=10, max=3_600, help="Length of each simulated call, s.")] = 60.0,
    late: Annotated[float, typer.Option(min=0.0005, max=0.2, help="Share of frames that may be late.")] = 0.01,
) -> None:
    """How well the jitter buffer does on eight kinds of path; simulated, takes a minute or two.

    Late share and delay beside NetEq's rule, Speex's rule and the best that could be known afterwards; steps of the
    path's delay; clock drift.

    docs/simulation.md explains the columns and the JSON keys.
    """
    from voicelink.commands.simulate import shown_progress  # noqa: PLC0415
    from voicelink.experiments.session_bench import bench_session, lines  # noqa: PLC0415

    with shown_progress("simulating", True) as told:
        figures = bench_session(seeds, seconds, late, None if told is None else lambda _, share: told(share))
    common.result(figures, lines(figures))


def loss(
    common: Common,
    options: CodecOptions,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for rows and tables; what is in it is kept.")] = Path(
        "voicelink-loss"
    ),
    seeds: Annotated[int, typer.Option(min=1, max=100, help="Calls a cell, each with losses of its own.")] = 3,
    seconds: Annotated[float, typer.Option(min=5, max=600, help="Length of each simulated call, s.")] = 60.0,
    wire: Annotated[
        list[int] | None, typer.Option(metavar="KBPS", help="Only this rate: 9, 12, 16 or 24. May be repeated.")
    ] = None,
    only: Annotated[
        str | None, typer.Option(metavar="CODEC", help="Only this one now: voicelink or opus; cells need both.")
    ] = None,
    search: Annotated[
        int, typer.Option(min=0, max=4, help="Rounds of voicelink's encoder search, as `voicelink call --search`.")
    ] = 2,
    words: Annotated[bool, typer.Option("--words", help="Also the share of words that a recogniser hears.")] = False,
    find_opus: Annotated[
        bool, typer.Option("--find-opus", help="Instead: search Opus' best setting of each cell anew, and print it.")
    ] = False,
) -> None:
    """Speech under loss beside Opus, each at its best setting, at 9, 12, 16 and 24 kbps on the wire.

    No loss to 30 %, independent and in bursts of 60 and 120 ms; ESTOI, PLCMOS and delay of both, and who leads by how
    much. Takes an hour or more; may be stopped at any time, and the same command goes on.
    """
    from voicelink.experiments.progress import Progress  # noqa: PLC0415

    if find_opus:
        return _find_opus(common, seconds)
    from voicelink.commands.simulate import load_for_rendering  # noqa: PLC0415
    from voicelink.experiments.lossbench import bench_loss  # noqa: PLC0415
    from voicelink.experiments.losspage import lines  # noqa: PLC0415
    from voicelink.experiments.losstable import WIRE_KBPS  # noqa: PLC0415

    unknown = next((rate for rate in wire or () if rate not in WIRE_KBPS), None)
    if unknown is not None:
        raise ConfigError(f"--wire {unknown}: the table has {', '.join(map(str, WIRE_KBPS))} kbps")
    if only not in (None, "voicelink", "opus"):
        raise ConfigError(f"--only {only}: the table has voicelink and opus")
    model = load_for_rendering(common, options)
    try:
        figures = bench_loss(
            out, model, seeds=seeds, seconds=seconds, words=words, wires=wire or (), codecs=[only] if only else (),
            search=search,
            progress=Progress("rows").show,
        )  # fmt: skip
    except KeyboardInterrupt:
        sys.stderr.write(f"{out}: stopped; the same command goes on\n")
        raise
    told = f"{out}: loss.md and loss.html hold the table, rows.csv and rows.parquet what it is made of"
    common.result(figures, [*lines(figures["cells"]), told])
    return None


def _find_opus(common: Common, seconds: float) -> None:
    from voicelink.experiments.losstable import find_opus  # noqa: PLC0415

    found = find_opus(0, seconds)
    settings = [{"wire_kbps": w, "loss": p, "burst_ms": b, "setting": s.text} for (w, p, b), s in found.items()]
    lines = [f"{s['wire_kbps']:>3} kbps, {s['loss']:g}, {s['burst_ms']} ms: {s['setting']}" for s in settings]
    common.result({"seconds": seconds, "opus_settings": settings}, lines)


def _bench_protocol(seconds: float) -> dict[str, Any]:
    from voicelink.sim.call import simulate  # noqa: PLC0415
    from voicelink.sim.scenario import scenario_from  # noqa: PLC0415

    simulate(scenario_from({"seconds": 1.0}))
    before_kb = _peak_kb()
    spent = []
    for _ in range(3):
        begin = time.perf_counter()
        trace = simulate(scenario_from({"seconds": seconds, "loss": 0.05, "delay_ms": 40.0, "fixed": True}))
        spent.append(time.perf_counter() - begin)
        trace_mb = sum(end.nbytes for end in trace.ends) / (1 << 20)
        del trace  # or the next call's stands beside it
    grown_mb = (_peak_kb() - before_kb) / 1024
    return {
        "seconds": seconds,
        "speed_x": round(seconds / min(spent), 1),
        "memory_mb": round(grown_mb, 1),
        "trace_mb": round(trace_mb, 2),
    }


def _bench_audio(model: Codec, seconds: float, calls: int) -> float:
    from voicelink_client.clips import bundled_clips, clip_for  # noqa: PLC0415

    from voicelink.sim.call import simulate  # noqa: PLC0415
    from voicelink.sim.render import render  # noqa: PLC0415
    from voicelink.sim.scenario import scenario_from  # noqa: PLC0415

    clip = clip_for(bundled_clips()[0], seconds)
    losses = [0.5 * i / calls for i in range(calls)]
    traces = [
        simulate(scenario_from({"seconds": seconds, "loss": p, "seed": i, "fixed": True})) for i, p in enumerate(losses)
    ]
    begin = time.perf_counter()
    render(traces, clip, model)
    return round(seconds * calls / (time.perf_counter() - begin), 2)


def _peak_kb() -> int:
    """Most memory that this process has held so far."""
    import resource  # noqa: PLC0415 (not on Windows)

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak // 1024 if sys.platform == "darwin" else peak
