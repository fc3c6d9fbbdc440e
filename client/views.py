"""What the user of a call sees, on stderr: a live line on a terminal, or plain or JSON lines."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.text import Text
from voicelink_client.call import CallStatus

from voicelink.core.events import (
    CallMissed,
    Connected,
    Ended,
    Event,
    IncomingCall,
    PathChanged,
    PeerRinging,
    Registered,
    RegistrationLost,
    Security,
)
from voicelink.secure.identity import Trust, fingerprint
from voicelink.settings import Address, format_address

LINE_EVERY_S = 5.0
METER_CELLS = 12
METER_FLOOR_DBFS = -60.0


class LineView:
    """For `--headless` and for output that is no terminal: one line for each event, and one every 5 s.

    With `as_json` each line is a JSON object with the key `event`. Answers every call.
    """

    def __init__(self, as_json: bool = False) -> None:
        self._as_json = as_json
        self._next_line_s = 0.0

    def ready(self, local: Address) -> None:
        """The socket is bound."""
        self._say("ready", f"socket at {format_address(local)}", local=format_address(local))

    def event(self, event: Event) -> None:
        """Something happened."""
        text = describe(event)
        if text:
            self._say(type(event).__name__, text)

    def status(self, status: CallStatus) -> None:
        """One line every 5 s."""
        now_s = time.monotonic()
        if now_s >= self._next_line_s:
            self._next_line_s = now_s + LINE_EVERY_S
            self._say("status", status_text(status), seconds=round(status.seconds, 1), **status.stats.to_dict())

    async def ask(self, call: IncomingCall) -> bool:
        """Yes."""
        return True

    def close(self) -> None:
        """Nothing to do."""

    def _say(self, kind: str, text: str, **more: Any) -> None:
        if self._as_json:
            text = json.dumps({"event": kind, "text": text, **more})
        print(text, file=sys.stderr, flush=True)  # noqa: T201


class LiveView:
    """For a terminal: events as lines, below them one live line with levels and counts."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False)
        self._live = Live(console=self._console, refresh_per_second=8, transient=True)
        self._live.start()

    def ready(self, local: Address) -> None:
        """The socket is bound."""
        self._console.print(f"socket at {format_address(local)}; Ctrl-C hangs up", style="dim")

    def event(self, event: Event) -> None:
        """A line above the live one."""
        text = describe(event)
        if text:
            self._console.print(text, markup=False)

    def status(self, status: CallStatus) -> None:
        """Draw the live line."""
        line = Text.assemble("you ", meter(status.said_dbfs), "  they ", meter(status.heard_dbfs), "  ")
        self._live.update(line.append(status_text(status)))

    async def ask(self, call: IncomingCall) -> bool:
        """Ask on the terminal; yes where standard input is none."""
        if not sys.stdin.isatty():
            return True
        self._console.print("answer? [Y/n] ", end="", markup=False)
        answer = await _read_line()
        return not answer.strip().lower().startswith("n")

    def close(self) -> None:
        """Leave the terminal as it was."""
        self._live.stop()


def describe(event: Event) -> str:
    """One line for the user; empty for events that are not worth one."""
    text = ""
    match event:
        case Registered():
            text = f"registered as {event.name} at {format_address(event.server)}; waiting for a call"
        case RegistrationLost():
            text = f"the server at {format_address(event.server)} is gone ({event.detail}); trying again"
        case IncomingCall():
            who = f"{event.peer_name or 'somebody'} calls from {format_address(event.source)}"
            text = f"{who}, {_known(event.security)}"
        case CallMissed():
            text = f"{event.peer_name or 'somebody'} called in vain: {event.detail or event.reason}"
        case PeerRinging():
            text = "ringing"
        case Connected():
            path = _path(event.path, event.relayed)
            with_whom = f"connected with {event.peer_name or 'the peer'}, {path}, {_known(event.security)}"
            text = f"{with_whom}; nobody listens in if both of you see: {' '.join(event.security.words).upper()}"
        case PathChanged():
            text = f"media now goes {_path(event.path, event.relayed)}"
        case Ended():
            text = f"ended: {event.detail or event.reason}"
    return text


def status_text(status: CallStatus) -> str:
    """Counts of a call in progress."""
    stats = status.stats
    minutes, seconds = divmod(int(status.seconds), 60)
    rtt = "-" if stats.rtt_ns is None else f"{stats.rtt_ns / 1e6:.0f} ms"
    return (
        f"{minutes:02d}:{seconds:02d}  {stats.wire_kbps:.1f} kbit/s  buffer {stats.buffer.mean_ms:.0f} ms  "
        f"round trip {rtt}  lost {stats.packets_lost}  late {stats.frames_late}  concealed {stats.frames_concealed}"
    )


def meter(dbfs: float) -> Text:
    """A level bar from -60 to 0 dB of full scale: green, yellow from -12, red from -3."""
    filled = round(METER_CELLS * min(1.0, max(0.0, 1 - dbfs / METER_FLOOR_DBFS)))
    style = "red" if dbfs > -3 else "yellow" if dbfs > -12 else "green"
    return Text.assemble(("▮" * filled, style), ("▯" * (METER_CELLS - filled), "dim"))


def _known(security: Security) -> str:
    """What we know of the peer's key, in a few words."""
    passphrase = " and the same passphrase" if security.passphrase else ""
    key = {
        Trust.KNOWN: f"with the known key of {security.label}",
        Trust.NEW: f"with a key not seen before ({fingerprint(security.peer_public)})",
    }.get(security.trust, "with a key but no name")
    return key + passphrase


def _path(path: Address, relayed: bool) -> str:
    return f"{'through the relay at' if relayed else 'directly to'} {format_address(path)}"


async def _read_line() -> str:
    """A line of standard input, without a thread that nothing could end."""
    loop = asyncio.get_running_loop()
    line: asyncio.Future[str] = loop.create_future()

    def ready() -> None:
        if not line.done():
            line.set_result(sys.stdin.readline())

    loop.add_reader(sys.stdin, ready)
    try:
        return await line
    finally:
        loop.remove_reader(sys.stdin)
