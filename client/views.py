"""What is told of a call without a screen, on stderr: plain lines, or JSON lines."""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from rich.text import Text
from voicelink_client.call import CallStatus
from voicelink_client.phone import PhoneState
from voicelink_client.sentences import Notice, describe

from voicelink.core.events import Event, IncomingCall
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
        self._state = PhoneState.TALKING

    def ready(self, local: Address) -> None:
        """The socket is bound."""
        self._say("ready", f"socket at {format_address(local)}", local=format_address(local))

    def event(self, event: Event | Notice) -> None:
        """Something happened."""
        text = describe(event)
        if text:
            self._say(type(event).__name__, text)

    def status(self, status: CallStatus) -> None:
        """One line every 5 s, and where the other end is lost or heard again."""
        if status.state is not self._state:
            self._state = status.state
            self._say("state", f"{status.state}", state=status.state, seconds=round(status.seconds, 1))
        now_s = time.monotonic()
        if now_s >= self._next_line_s:
            self._next_line_s = now_s + LINE_EVERY_S
            self._say("status", status_text(status), **status.figures())

    async def ask(self, call: IncomingCall) -> bool:
        """Yes."""
        return True

    def close(self) -> None:
        """Nothing to do."""

    def _say(self, kind: str, text: str, **more: Any) -> None:
        if self._as_json:
            text = json.dumps({"event": kind, "text": text, **more})
        print(text, file=sys.stderr, flush=True)  # noqa: T201


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
