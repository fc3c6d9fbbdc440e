"""What the call's screen shows, collected from the call: the screen draws it, `gauges.py` says how."""

from __future__ import annotations

from collections import deque
from typing import Final

from voicelink_client.call import CallStatus
from voicelink_client.controls import Controls
from voicelink_client.history import History
from voicelink_client.sentences import Notice, describe

from voicelink.core.events import Connected, Event, IncomingCall, PathChanged, PeerReport, Security
from voicelink.settings import Address, format_address

LINES_KEPT: Final = 100


class Board:
    """A call's view (`call.CallView`) that only remembers."""

    def __init__(self, controls: Controls, *, target: str = "") -> None:
        self.controls = controls
        self.target = target
        """Whom we call; empty where we wait for a call."""
        self.local: Address | None = None
        self.status_now: CallStatus | None = None
        self.history = History()
        self.security: Security | None = None
        self.path = ""
        self.peer_report: PeerReport | None = None
        self.lines: deque[str] = deque(maxlen=LINES_KEPT)
        """What happened, oldest first."""

    def ready(self, local: Address) -> None:
        """The socket is bound."""
        self.local = local
        self.lines.append(f"socket at {format_address(local)}")

    def event(self, event: Event | Notice) -> None:
        """Something happened."""
        match event:
            case IncomingCall() | Connected():
                self.security = event.security
            case PeerReport():
                self.peer_report = event
        if isinstance(event, (Connected, PathChanged)):
            self.path = f"{'through the relay at' if event.relayed else 'directly to'} {format_address(event.path)}"
        self.note(describe(event))

    def note(self, text: str) -> None:
        """Add a line to what happened; none for an empty text."""
        if text:
            self.lines.append(text)

    def status(self, status: CallStatus) -> None:
        """The call goes on."""
        self.status_now = status
        self.history.add(status.seconds, status.stats, status.buffer_ms, status.said_dbfs, status.heard_dbfs)

    async def ask(self, call: IncomingCall) -> bool:
        """Whether to answer: a key says so."""
        return await self.controls.decision()

    def close(self) -> None:
        """Nothing to do."""
