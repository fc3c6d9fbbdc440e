"""What the processes of a server tell each other, over a pair of Unix sockets: packets of small msgpack records.

The first process holds the directory and says which calls there are; the others forward, and say what they count and
which calls they have forgotten. Whichever of them is restarted finds the socket where it was.
"""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import Callable
from typing import Any, Final

import msgpack  # type: ignore[import-untyped, unused-ignore]

from voicelink.core.relay import RelayCounts, Sides
from voicelink.core.switchboard import Forwarder, Switchboard

#: Records in a packet, so that it stays far below a socket's buffer.
MAX_RECORDS: Final = 100
_MAX_PACKET_BYTES: Final = 1 << 16


class Channel:
    """Records out, in order, and in. Belongs to the running loop."""

    def __init__(self, sock: socket.socket, take: Callable[..., None]) -> None:
        self._sock, self._take = sock, take
        self._loop = asyncio.get_running_loop()
        self._queue: deque[list[Any]] = deque()
        self._scheduled = False
        sock.setblocking(False)
        self._loop.add_reader(sock.fileno(), self._read)

    def send(self, *record: Any) -> None:
        """Send a record soon."""
        self._queue.append(list(record))
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._write)

    def close(self) -> None:
        """Leave the socket alone (it is not closed: it outlives us)."""
        self._loop.remove_reader(self._sock.fileno())
        self._loop.remove_writer(self._sock.fileno())

    def _write(self) -> None:
        while self._queue:
            records = [self._queue[i] for i in range(min(MAX_RECORDS, len(self._queue)))]
            try:
                self._sock.send(msgpack.packb(records))
            except BlockingIOError:
                self._loop.add_writer(self._sock.fileno(), self._write)
                return
            for _ in records:
                self._queue.popleft()
        self._scheduled = False
        self._loop.remove_writer(self._sock.fileno())

    def _read(self) -> None:
        try:
            while packet := self._sock.recv(_MAX_PACKET_BYTES):
                for record in msgpack.unpackb(packet, use_list=False):
                    self._take(*record)
        except BlockingIOError:
            pass


class RemoteDesk:
    """The directory's side of a relay in another process; a `core.relay.Desk`."""

    def __init__(self, number: int, sock: socket.socket) -> None:
        self.counts = RelayCounts()
        self.calls = self.received = self.invalid = 0
        self.machine: Switchboard | None = None
        self._number = number
        self._channel = Channel(sock, self._on_record)
        self._now_ns = 0

    def begin(self, machine: Switchboard, now_ns: int) -> None:
        """This is whose desk it is; what the process knows of calls is restored in there."""
        self.machine, self._now_ns = machine, now_ns
        self._channel.send("tell")

    def bind(self, call: int, sides: Sides, ticket: bytes, now_ns: int) -> None:
        """As Desk.bind."""
        self._channel.send("bind", call, sides, ticket)

    def drop(self, call: int) -> None:
        """As Desk.drop."""
        self._channel.send("drop", call)

    def _on_record(self, kind: str, *rest: Any) -> None:
        machine = self.machine
        if machine is None:
            return
        if kind == "started":
            machine.rooms.bind_again(self._number, self._now_ns)
        elif kind == "idle":
            machine.rooms.forget(*rest)
        elif kind == "call":
            machine.rooms.restore(*rest)
        elif kind == "counts":
            self.calls, self.received, self.invalid, *counts = rest
            self.counts = RelayCounts(*counts)


class RemoteDirectory:
    """A relaying process's side."""

    def __init__(self, machine: Forwarder, sock: socket.socket, clock: Callable[[], int]) -> None:
        self._machine, self._clock = machine, clock
        self._channel = Channel(sock, self._on_record)
        self._channel.send("started")

    def tell_idle(self, call: int) -> None:
        """A call was forgotten."""
        self._channel.send("idle", call)

    def tell_counts(self) -> None:
        """What was done since the process was started."""
        machine, counts = self._machine, self._machine.relay.counts
        every = (counts.datagrams_forwarded, counts.bytes_forwarded, counts.dropped_stranger, counts.dropped_rate)
        self._channel.send("counts", len(machine.relay), machine.datagrams_received, machine.datagrams_invalid, *every)

    def _on_record(self, kind: str, *rest: Any) -> None:
        relay = self._machine.relay
        if kind == "bind":
            relay.bind(*rest, self._clock())
        elif kind == "drop":
            relay.drop(*rest)
        elif kind == "tell":
            for call in relay.calls():
                self._channel.send("call", *call)
