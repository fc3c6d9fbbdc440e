"""The drivers: the only code that meets a socket and a clock. They decide nothing."""

from __future__ import annotations

from typing import Protocol

from voicelink.core.events import Event, PlayoutDecision
from voicelink.core.session import Session
from voicelink.core.stats import Stats
from voicelink.frame import Frame
from voicelink.settings import Address, SessionSettings


class Impairment(Protocol):
    """What happens to one outgoing media datagram (`voicelink.sim.link.Link` is one)."""

    def depart_ns(self, size_bytes: int, now_ns: int) -> int | None:
        """When the datagram leaves (at least `now_ns`), or None where it is lost."""


class SessionDriver:
    """Runs one Session on a UDP socket of the running asyncio loop.

    Threads: the machine is behind one lock. `send_frame`, `pull_frame` and `stats` may be called from any
    thread: they hold the lock for some microseconds and never wait for the network; what is to be sent is
    sent by the loop, woken at once. All other methods belong to the loop's thread.
    """

    @classmethod
    async def open(
        cls,
        settings: SessionSettings,
        *,
        local: Address = ("0.0.0.0", 0),
        impairment: Impairment | None = None,
    ) -> SessionDriver:
        """Bind a socket at `local` (port 0: any) and make a Session. Raises CallError if it cannot bind."""
        raise NotImplementedError

    @property
    def local_address(self) -> Address:
        """Where the socket is bound."""
        raise NotImplementedError

    @property
    def session(self) -> Session:
        """The machine; to be used on the loop's thread, and only to look."""
        raise NotImplementedError

    async def listen(self, server: str | None = None) -> None:
        """Wait for a call, also under `settings.name` at `server` (HOST:PORT) where given."""
        raise NotImplementedError

    async def call(self, target: str, server: str | None = None) -> None:
        """Call HOST:PORT (`server` None), or the name `target` at `server`. CallError for a bad host."""
        raise NotImplementedError

    def accept(self) -> None:
        """Answer the IncomingCall."""
        raise NotImplementedError

    def refuse(self, detail: str = "") -> None:
        """Refuse the IncomingCall."""
        raise NotImplementedError

    def end(self, detail: str = "") -> None:
        """Hang up, cancel or stop listening; `Ended` follows as the last event."""
        raise NotImplementedError

    async def next_event(self) -> Event:
        """Wait for the next event. After Ended there is none: raises LocalProtocolError."""
        raise NotImplementedError

    def send_frame(self, frame: Frame) -> None:
        """Send one coded frame. Any thread. As Session.send_frame."""
        raise NotImplementedError

    def pull_frame(self) -> PlayoutDecision:
        """What to play in the next slot. Any thread. As Session.pull_frame."""
        raise NotImplementedError

    def stats(self) -> Stats:
        """A copy of the statistics. Any thread."""
        raise NotImplementedError

    async def close(self) -> None:
        """End the call if it stands (waiting shortly for the peer to know) and close the socket."""
        raise NotImplementedError
