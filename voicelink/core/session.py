"""One call between two ends, as a value machine: no socket, clock, thread or global random generator."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from voicelink.core.events import Agreed, Event, PlayoutDecision
from voicelink.core.states import State
from voicelink.core.stats import Stats
from voicelink.frame import Frame
from voicelink.settings import Address, SessionSettings


class Session:
    """One call, from the first hello to its end. Give it exactly one input, then drain all three outputs.

    `entropy(n)` returns n random bytes (os.urandom in an application, a seeded generator in a test).
    `local_addresses` are our own addresses that the peer may try for a direct path.
    Bad bytes from outside are counted and dropped; wrong calls of ours raise LocalProtocolError.
    Calls are not encrypted yet.
    """

    def __init__(
        self,
        settings: SessionSettings,
        *,
        entropy: Callable[[int], bytes],
        local_addresses: Sequence[Address] = (),
    ) -> None:
        raise NotImplementedError

    # ---- the user's side -------------------------------------------------------------------------
    def listen(self, now_ns: int, server: Address | None = None) -> None:
        """Wait for a call: to this socket, and under `settings.name` at `server` where one is given."""
        raise NotImplementedError

    def call(self, peer: Address, now_ns: int) -> None:
        """Call the session that listens at `peer`."""
        raise NotImplementedError

    def call_name(self, name: str, server: Address, now_ns: int) -> None:
        """Call who is registered as `name` at `server`."""
        raise NotImplementedError

    def accept(self, now_ns: int) -> None:
        """Answer the IncomingCall."""
        raise NotImplementedError

    def refuse(self, now_ns: int, detail: str = "") -> None:
        """Refuse the IncomingCall; `detail` is shown to the caller."""
        raise NotImplementedError

    def end(self, now_ns: int, detail: str = "") -> None:
        """Hang up, cancel, or stop listening. No effect where the session is ending or has ended already."""
        raise NotImplementedError

    # ---- inputs: exactly one, then drain ---------------------------------------------------------
    def handle_datagram(self, data: bytes, source: Address, now_ns: int) -> None:
        """Take one datagram. Never raises for what is in it."""
        raise NotImplementedError

    def handle_timer(self, now_ns: int) -> None:
        """Do what is due at `now_ns`; harmless when nothing is."""
        raise NotImplementedError

    def send_frame(self, frame: Frame, now_ns: int) -> None:
        """Send one coded frame; packets leave when `agreed.frames_per_packet` frames are together.

        Dropped in silence after the call's end (the codec thread cannot know yet). Raises
        LocalProtocolError before Connected, for bits outside the agreed range, and for an index not after
        the last one.
        """
        raise NotImplementedError

    def pull_frame(self, now_ns: int) -> PlayoutDecision:
        """What the loudspeaker plays in its next slot of 256 samples; Wait before and after the call."""
        raise NotImplementedError

    # ---- outputs: take all three after every input -----------------------------------------------
    def datagrams_to_send(self, now_ns: int) -> list[tuple[bytes, Address]]:
        """Datagrams to send now, in order."""
        raise NotImplementedError

    def next_event(self) -> Event | None:
        """The next event, or None."""
        raise NotImplementedError

    def next_timer_ns(self) -> int | None:
        """When `handle_timer` wants to be called, or None."""
        raise NotImplementedError

    # ---- what is known ---------------------------------------------------------------------------
    @property
    def state(self) -> State:
        """Where the call stands."""
        raise NotImplementedError

    @property
    def agreed(self) -> Agreed | None:
        """What was negotiated, from IncomingCall (callee) or Connected (caller) on."""
        raise NotImplementedError

    @property
    def stats(self) -> Stats:
        """A copy of the statistics so far (WebRTC's names where they exist)."""
        raise NotImplementedError
