"""`voicelink listen` and `voicelink call`."""

from __future__ import annotations

import re
import sys
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from getpass import getpass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from voicelink.commands.common import (
    MAX_BITRATE_BPS,
    MIN_BITRATE_BPS,
    CodecOptions,
    Common,
    ConstantRate,
    Fixed,
    Redundancy,
    command,
)
from voicelink.errors import ConfigError
from voicelink.settings import DEFAULT_PORT, SessionSettings, Settings, parse_address
from voicelink.units import bitrate_bps, bits_per_frame

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from voicelink_client.call import CallOutcome, CallView
    from voicelink_client.controls import Controls

    from voicelink.codec.model_folder import ModelInfo
    from voicelink.secure.identity import Credentials

#: Where `listen` without a server waits, so that a caller can know it.
LISTEN_PORT: Final = DEFAULT_PORT + 1

Server = Annotated[str | None, typer.Option(metavar="HOST:PORT", help="Server that knows the names.")]


@dataclass(frozen=True, kw_only=True)
class CallOptions:
    """Options of both ends of a call."""

    name: Annotated[str | None, typer.Option(help="Your name: shown to the other, registered at the server.")] = None
    local: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Own UDP address; port 0 takes a free one.")
    ] = None
    input: Annotated[
        str | None, typer.Option(metavar="DEVICE|FILE|null", help="Microphone: name, number, audio file.")
    ] = None
    output: Annotated[
        str | None, typer.Option(metavar="DEVICE|FILE|null", help="Loudspeaker: name, number, .wav file.")
    ] = None
    echo_cancel: Annotated[
        bool | None,
        typer.Option(
            "--echo-cancel/--no-echo-cancel",
            help="Take the loudspeaker's echo from the microphone (default: where the device is called a speaker).",
        ),
    ] = None
    noise_suppression: Annotated[
        bool | None,
        typer.Option("--noise-suppression/--no-noise-suppression", help="Take steady noise away (default: no)."),
    ] = None
    gain: Annotated[
        bool | None, typer.Option("--gain/--no-gain", help="Bring your voice to an even level (default: no).")
    ] = None
    record: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Record both sides to a .wav or .flac: left you, right the other."),
    ] = None
    bitrate: Annotated[
        str | None,
        typer.Option(metavar="MIN-MAX", help="Codec bitrates you accept, bit/s, in 86-5513; or one number."),
    ] = None
    frames_per_packet: Annotated[
        int | None, typer.Option(help="Frames of 11.6 ms wanted in a packet, 1..8 (default 2).")
    ] = None
    redundancy: Redundancy = None
    fixed: Fixed = None
    dtx: Annotated[
        bool | None,
        typer.Option("--dtx/--no-dtx", help="Send next to nothing while you say nothing, which shows (default: no)."),
    ] = None
    constant_rate: ConstantRate = None
    wire_kbps: Annotated[
        float | None, typer.Option(metavar="KBPS", help="Most to send, kbit/s, IP and UDP headers counted.")
    ] = None
    search: Annotated[
        int | None,
        typer.Option(
            metavar="ROUNDS", help="Encoder search, 0..4: clearer; 1 takes 0.3 of a core, each more 0.1 (default 0)."
        ),
    ] = None
    passphrase: Annotated[
        str | None,
        typer.Option(metavar="TEXT|-", help="Both ends must give the same; - asks, so that it shows nowhere."),
    ] = field(default=None, repr=False)
    keys: Annotated[str | None, typer.Option(metavar="DIR", help="Folder of keys (default ~/.config/voicelink).")] = (
        None
    )
    late: Annotated[
        float | None,
        typer.Option(metavar="SHARE", help="Frames that may come too late: small is safe, large quick (default 0.01)."),
    ] = None
    seconds: Annotated[float | None, typer.Option(min=0.1, help="Hang up after so long, s.")] = None
    quiet_tones: Annotated[bool, typer.Option("--quiet-tones", help="No ringing, ring-back or busy tone.")] = False
    headless: Annotated[
        bool, typer.Option("--headless", help="No screen: lines on stderr (JSON with --log-json); calls are answered.")
    ] = False

    def options(self) -> dict[str, Any]:
        """As options for `Common.settings`. Raises ConfigError for a malformed bitrate."""
        low, high = parse_bitrates(self.bitrate) if self.bitrate is not None else (None, None)
        return {
            "session.name": self.name,
            "session.bits_min": low,
            "session.bits_max": high,
            "session.frames_per_packet": self.frames_per_packet,
            "session.redundancy": self.redundancy,
            "session.wire_kbps": self.wire_kbps,
            "session.fixed": self.fixed,
            "session.dtx": self.dtx,
            "session.constant_rate": self.constant_rate,
            "session.target_late_rate": self.late,
            "keys.folder": self.keys,
            "keys.passphrase": _ask_passphrase() if self.passphrase == "-" else self.passphrase,
            "codec.search": self.search,
            "audio.input": self.input,
            "audio.output": self.output,
            "audio.echo_cancel": _on_off(self.echo_cancel),
            "audio.noise_suppression": self.noise_suppression,
            "audio.gain": self.gain,
            "audio.record": self.record,
        }


def register(app: typer.Typer) -> None:
    """Add the subcommands."""
    command(app, "listen", "voicelink listen --name bob --server 192.0.2.1:47600")(listen)
    command(app, "call", "voicelink call bob --server 192.0.2.1:47600 --record call.wav")(call)


def listen(common: Common, options: CallOptions, codec: CodecOptions, server: Server = None) -> None:
    """Wait for one call, ring, and print its statistics at the end. Calls are encrypted end to end.

    On a terminal, the keys are on the screen's bottom line: a answers, r refuses, q hangs up.

    With --server under your --name. Without, at --local (default port 47601) for callers who know your address, and
    under your --name for those on the local network.
    """
    settings = common.settings(options.options() | codec.options())
    if server is not None and not settings.session.name:
        raise ConfigError("to be called by name, give it: --name NAME")
    local = options.local or (f"0.0.0.0:{LISTEN_PORT}" if server is None else _any_port_towards(server))
    _run(common, options, settings, local, server=server)


def call(
    common: Common,
    options: CallOptions,
    codec: CodecOptions,
    target: Annotated[str, typer.Argument(metavar="NAME|HOST:PORT", help="Whom to call.")],
    server: Server = None,
) -> None:
    """Call somebody by name (at --server, or on the local network) or address. Calls are encrypted end to end.

    Prints the statistics at the end. On a terminal, the keys are on the screen's bottom line: m mutes, q hangs up. With
    a file as --input, the call ends one second after the file.
    """
    settings = common.settings(options.options() | codec.options())
    label = ""
    if server is None and not _is_address(target):
        from voicelink.net.lan import find  # noqa: PLC0415

        target, label = find(target), f"{target}.local"
    local = options.local or _any_port_towards(server or target)
    _run(common, options, settings, local, target=target, server=server, label=label)


def parse_bitrates(text: str) -> tuple[int, int]:
    """MIN-MAX or one number, bit/s, as bits a frame. Raises ConfigError."""
    found = re.fullmatch(r"(\d{1,5})(?:-(\d{1,5}))?", text)
    low, high = (int(found[1]), int(found[2] or found[1])) if found else (0, 0)
    if not MIN_BITRATE_BPS <= low <= high <= MAX_BITRATE_BPS:
        raise ConfigError(
            f"--bitrate {text!r} is not MIN-MAX within {MIN_BITRATE_BPS}-{MAX_BITRATE_BPS} bit/s, such as 1500-5500"
        )
    return bits_per_frame(low), bits_per_frame(high)


def _on_off(chosen: bool | None) -> str | None:
    return None if chosen is None else "on" if chosen else "off"


def _ask_passphrase() -> str:
    """From the terminal, without showing it. Raises ConfigError where there is none."""
    if not sys.stdin.isatty():
        raise ConfigError("--passphrase - asks on a terminal, and there is none; set VOICELINK_KEYS_PASSPHRASE")
    return getpass("passphrase: ")


def _is_address(target: str) -> bool:
    """Whether `target` is HOST:PORT and not a name. Raises ConfigError for what can be neither."""
    try:
        parse_address(target)
    except ConfigError:
        if ":" in target:
            raise
        return False
    return True


def _any_port_towards(address: str) -> str:
    """A free port of our own in the address family of HOST:PORT, or [IPV6]:PORT."""
    return "[::]:0" if address.startswith("[") else "0.0.0.0:0"


def _run(
    common: Common,
    options: CallOptions,
    settings: Settings,
    local: str,
    *,
    target: str | None = None,
    server: str | None = None,
    label: str = "",
) -> None:
    """Open sound and codec, have the call, print the figures."""
    from voicelink_client.call import CallPlan, run_call  # noqa: PLC0415
    from voicelink_client.controls import Controls  # noqa: PLC0415
    from voicelink_client.ends import cleaner_for, is_device, is_file, loudspeaker, microphone  # noqa: PLC0415
    from voicelink_client.engine import Engine  # noqa: PLC0415
    from voicelink_client.figures import summary_lines  # noqa: PLC0415
    from voicelink_client.priority import raise_priority  # noqa: PLC0415
    from voicelink_client.recorder import Recorder  # noqa: PLC0415

    from voicelink.codec.api import load_call_codec  # noqa: PLC0415
    from voicelink.core.plan import check_wire_limit  # noqa: PLC0415
    from voicelink.net.loop import run  # noqa: PLC0415
    from voicelink.sim.tracefile import open_link  # noqa: PLC0415

    check_wire_limit(settings.session)
    if server is not None:
        parse_address(server)  # before devices are opened: what was typed wrong is told first
    credentials, remember = _credentials(settings)
    if is_device(settings.audio.input) or is_device(settings.audio.output):
        raise_priority()  # before threads are started, so that all have it
    model = load_call_codec(settings.codec.model or None, engine=settings.codec.engine)  # type: ignore[arg-type]
    plan = CallPlan(
        _within_model(settings.session, model.info),
        target,
        server,
        parse_address(local),
        options.seconds,
        label=label,
        end_with_input=target is not None and is_file(settings.audio.input),
        credentials=credentials,
        dscp=settings.network.dscp,
        remember=remember,
    )
    with ExitStack() as stack:
        if target is None and server is None and settings.session.name and plan.local[1]:
            from voicelink.net.lan import announced  # noqa: PLC0415

            stack.enter_context(announced(settings.session.name, plan.local))
        cleaner = cleaner_for(settings.audio)
        source, sink = microphone(settings.audio.input, cleaner), loudspeaker(settings.audio.output)
        recorder = Recorder(Path(settings.audio.record), source.rate_hz) if settings.audio.record else None
        engine = Engine(
            model,
            source,
            sink,
            recorder=recorder,
            cleaner=cleaner,
            dtx=plan.session.dtx,
            constant_rate=plan.session.constant_rate,
            search=settings.codec.search,
        )
        controls = Controls(settings.session.target_late_rate)
        view, show = _view(common, options.headless, controls, label.removesuffix(".local") or target or "")
        tones = not options.quiet_tones and is_device(settings.audio.output)
        link = open_link(settings.link)
        outcome = run(show(run_call(plan, model, engine, view, impairment=link, controls=controls, tones=tones)))
    common.result(outcome.figures, summary_lines(outcome.figures) if outcome.connected else [])
    if outcome.interrupted:
        raise KeyboardInterrupt
    outcome.raise_for_failure()


def _credentials(settings: Settings) -> tuple[Credentials, Callable[[str, bytes], None]]:
    """Who we are and whom we know, and what keeps a peer's key."""
    from voicelink.keystore import KeyStore  # noqa: PLC0415
    from voicelink.secure.identity import Credentials, psk_of  # noqa: PLC0415

    store = KeyStore(Path(settings.keys.folder).expanduser() if settings.keys.folder else None)
    passphrase = settings.keys.passphrase
    psk = psk_of(passphrase) if passphrase else None
    return Credentials(store.identity(), psk, store.known()), store.remember


def _within_model(session: SessionSettings, info: ModelInfo) -> SessionSettings:
    """No fewer bits a frame than the model was trained for. Raises ConfigError where that leaves none."""
    if session.bits_max < info.min_bits:
        least = bitrate_bps(info.min_bits)
        raise ConfigError(f"model {info.name} needs {least} bit/s; raise --bitrate or choose another --model")
    return replace(session, bits_min=max(session.bits_min, info.min_bits))


def _view(common: Common, headless: bool, controls: Controls, target: str) -> tuple[CallView, Callable[..., Any]]:
    """Who is told of the call, and what shows it while it runs. The screen needs a terminal, for keys as for itself."""
    if headless or not (sys.stderr.isatty() and sys.stdin.isatty()):
        from voicelink_client.views import LineView  # noqa: PLC0415

        return LineView(common.log_json), lambda call: call
    from voicelink_client.board import Board  # noqa: PLC0415
    from voicelink_client.screen import CallScreen, run_on_screen  # noqa: PLC0415
    from voicelink_client.sentences import describe  # noqa: PLC0415

    board = Board(controls, target=target)

    async def show(call: Coroutine[Any, Any, CallOutcome]) -> CallOutcome:
        outcome = await run_on_screen(CallScreen(board), call)
        if outcome.connected:  # the screen is gone with its lines
            sys.stderr.write(f"{describe(outcome.ended)}\n")
        return outcome

    return board, show
