"""The drivers: the only code that meets a socket and a clock. They decide nothing.

Each input to a machine (a datagram, its timer, a call of the application) is stamped with
`time.monotonic_ns()` and followed by taking its outputs: datagrams to the socket, events to a queue, the
deadline to a loop timer. uvloop's timers may fire early, hence `max(due, now)`.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import logging
import os
import socket
import threading
import time
from collections.abc import Callable

from voicelink.core.events import Condition, Ended, Event, PlayoutDecision
from voicelink.core.session import Session
from voicelink.core.stats import Stats
from voicelink.errors import LocalProtocolError
from voicelink.frame import Frame, Pause
from voicelink.net.address import address_towards, bind_udp, mark, plain, resolve
from voicelink.net.port import DatagramPort, Deadline, Impairment
from voicelink.secure.identity import Credentials
from voicelink.settings import Address, SessionSettings
from voicelink.wire.packet import is_media

log = logging.getLogger(__name__)

#: `close` waits so long for the peer to confirm the end (the machine itself gives up after 2 s).
CLOSE_TIMEOUT_S = 2.5


class SessionDriver:
    """Runs one Session on a UDP socket of the running asyncio loop; `async with` closes it.

    Threads: the machine is behind one lock. `send_frame`, `send_bits`, `sends_second`, `pull_frame` and `stats` may be
    called from any thread: they hold the lock for some microseconds and never wait for the network; what is to be sent
    is sent by the loop, woken at once. All other methods belong to the loop's thread.
    """

    def __init__(
        self,
        settings: SessionSettings,
        sock: socket.socket,
        impairment: Impairment | None = None,
        credentials: Credentials | None = None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._family = sock.family
        self._local = plain(sock.getsockname())
        self._settings = settings
        self._impairment = impairment
        self._towards: Address | None = None
        self._lock = threading.Lock()
        self._session = Session(
            settings, entropy=os.urandom, local_addresses=self._candidates(None), credentials=credentials
        )
        self._events: asyncio.Queue[Event] = asyncio.Queue()
        self._ended = asyncio.Event()
        self._over = False
        self._transport: asyncio.DatagramTransport | None = None
        self._timer = Deadline(self._loop, self._on_timer)
        self._delayed: list[tuple[int, int, bytes, Address]] = []
        self._delayed_count = 0
        self._delay_timer = Deadline(self._loop, self._send_delayed)

    @classmethod
    async def open(
        cls,
        settings: SessionSettings,
        *,
        local: Address = ("0.0.0.0", 0),
        impairment: Impairment | None = None,
        credentials: Credentials | None = None,
        dscp: int = 0,
    ) -> SessionDriver:
        """Bind a socket at `local` (port 0: any) and make a Session. Raises CallError if it cannot bind.

        `credentials` as in Session: by default a key for this session alone.
        `impairment` is asked about every outgoing media datagram (tests and demonstrations). `dscp` marks what is
        sent, where the system allows it.
        """
        sock = bind_udp(local)
        mark(sock, dscp)
        driver = cls(settings, sock, impairment, credentials)
        protocol = DatagramPort(driver._on_datagram)
        driver._transport, _ = await driver._loop.create_datagram_endpoint(lambda: protocol, sock=sock)
        return driver

    @property
    def local_address(self) -> Address:
        """Where the socket is bound."""
        return self._local

    @property
    def session(self) -> Session:
        """The machine; to be used on the loop's thread, and only to look."""
        return self._session

    async def listen(self, server: str | None = None) -> None:
        """Wait for a call, also under `settings.name` at `server` (HOST:PORT) where given."""
        at = None if server is None else await resolve(server, self._family)
        self._input(lambda now_ns: self._session.listen(now_ns, at), towards=at)

    async def call(self, target: str, server: str | None = None, label: str = "") -> None:
        """Call HOST:PORT (`server` None; `label` as in Session.call), or the name `target` at `server`.

        CallError for a bad host.
        """
        at = await resolve(target if server is None else server, self._family)
        if server is None:
            self._input(lambda now_ns: self._session.call(at, now_ns, label), towards=at)
        else:
            self._input(lambda now_ns: self._session.call_name(target, at, now_ns), towards=at)

    def accept(self) -> None:
        """Answer the IncomingCall."""
        self._input(self._session.accept)

    def refuse(self, detail: str = "") -> None:
        """Refuse the IncomingCall."""
        self._input(lambda now_ns: self._session.refuse(now_ns, detail))

    def end(self, detail: str = "") -> None:
        """Hang up, cancel or stop listening; `Ended` follows as the last event."""
        self._input(lambda now_ns: self._session.end(now_ns, detail))

    def set_condition(self, condition: Condition) -> None:
        """As Session.set_condition."""
        self._input(lambda now_ns: self._session.set_condition(condition, now_ns))

    def set_late_rate(self, share: float) -> None:
        """As Session.set_late_rate."""
        self._input(lambda now_ns: self._session.set_late_rate(share))

    async def next_event(self) -> Event:
        """Wait for the next event. After Ended there is none: raises LocalProtocolError."""
        if self._over:
            raise LocalProtocolError("the session has ended; there are no more events")
        event = await self._events.get()
        self._over = isinstance(event, Ended)
        return event

    def send_frame(self, frame: Frame | Pause) -> None:
        """Send one coded frame, or a pause. Any thread. As Session.send_frame."""
        with self._lock:
            now_ns = time.monotonic_ns()
            self._session.send_frame(frame, now_ns)
            out = self._session.datagrams_to_send(now_ns)
        if out:
            self._loop.call_soon_threadsafe(self._send, out)

    def send_bits(self) -> int:
        """As Session.send_bits. Any thread."""
        with self._lock:
            return self._session.send_bits

    def sends_second(self) -> bool:
        """As Session.sends_second. Any thread."""
        with self._lock:
            return self._session.sends_second

    def pull_frame(self, *, quiet: bool = False) -> PlayoutDecision:
        """What to play in the next slot. Any thread. As Session.pull_frame (which sends nothing)."""
        with self._lock:
            return self._session.pull_frame(time.monotonic_ns(), quiet=quiet)

    def stats(self) -> Stats:
        """A copy of the statistics. Any thread."""
        with self._lock:
            return self._session.stats

    def late_curve(self) -> list[tuple[float, float]]:
        """As Session.late_curve. Any thread."""
        with self._lock:
            return self._session.late_curve

    async def __aenter__(self) -> SessionDriver:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    async def close(self) -> None:
        """End the call if it stands (waiting shortly for the peer to know) and close the socket."""
        if self._transport is None:
            return
        self.end()
        try:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._ended.wait(), CLOSE_TIMEOUT_S)
        finally:
            self._timer.set(None)
            self._delay_timer.set(None)
            transport, self._transport = self._transport, None
            if transport is not None:
                transport.close()
        await asyncio.sleep(0)  # the transport closes its socket in the loop's next pass

    # ---- the machine's inputs and outputs --------------------------------------------------------
    def _input(self, step: Callable[[int], None], towards: Address | None = None) -> None:
        with self._lock:
            if towards is not None:
                self._towards = towards
                self._session.local_addresses = self._candidates(towards)
            step(time.monotonic_ns())
        self._drain()

    def _on_datagram(self, data: bytes, source: Address) -> None:
        with self._lock:
            self._session.handle_datagram(data, source, time.monotonic_ns())
        self._drain()

    def _on_timer(self, now_ns: int) -> None:
        with self._lock:
            self._session.handle_timer(now_ns)
        self._drain()

    def _drain(self) -> None:
        """Take all three outputs; on the loop's thread."""
        with self._lock:
            if self._session.is_silent:  # perhaps because we are somewhere else
                self._session.local_addresses = self._candidates(self._towards)
            out = self._session.datagrams_to_send(time.monotonic_ns())
            due_ns = self._session.next_timer_ns()
            events: list[Event] = []
            while (event := self._session.next_event()) is not None:
                events.append(event)
        self._send(out)
        self._timer.set(due_ns)
        for event in events:
            log.debug("event %r", event)
            self._events.put_nowait(event)
            if isinstance(event, Ended):
                self._ended.set()

    def _send(self, out: list[tuple[bytes, Address]]) -> None:
        if self._transport is None:
            return
        for data, to in out:
            if self._impairment is None or not is_media(data):
                self._transport.sendto(data, to)
                continue
            now_ns = time.monotonic_ns()
            for depart_ns, copy in self._impairment.carry(data, now_ns):
                self._delayed_count += 1
                heapq.heappush(self._delayed, (depart_ns, self._delayed_count, copy, to))
        if self._delayed:
            self._send_delayed(time.monotonic_ns())

    def _send_delayed(self, now_ns: int) -> None:
        while self._delayed and self._delayed[0][0] <= now_ns:
            _, _, data, to = heapq.heappop(self._delayed)
            if self._transport is not None:
                self._transport.sendto(data, to)
        self._delay_timer.set(self._delayed[0][0] if self._delayed else None)

    def _candidates(self, towards: Address | None) -> tuple[Address, ...]:
        """Our own address as far as it is known: the one bound, or the one that leads `towards` somebody."""
        host, port = self._local
        if host not in ("0.0.0.0", "::"):
            return ((host, port),)
        outside = None if towards is None else address_towards(towards)
        return () if outside is None else ((outside, port),)
