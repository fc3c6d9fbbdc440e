"""What drivers are made of: a datagram protocol, a deadline on the loop's clock, and the impairment of datagrams."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Protocol

from voicelink.net.address import plain
from voicelink.settings import Address
from voicelink.units import NS_PER_S


class Impairment(Protocol):
    """What happens to one outgoing media datagram (`voicelink.sim.link.Link` is one)."""

    def carry(self, data: bytes, now_ns: int) -> list[tuple[int, bytes]]:
        """When (at least `now_ns`) which bytes leave: mostly one copy, none where it is lost."""


class DatagramPort(asyncio.DatagramProtocol):
    """Hands datagrams on; errors of the socket (an ICMP answer to an earlier datagram) mean nothing."""

    def __init__(self, take: Callable[[bytes, Address], None]) -> None:
        self._take = take

    def datagram_received(self, data: bytes, addr: tuple[object, ...]) -> None:
        """See asyncio."""
        self._take(data, plain(addr))

    def error_received(self, exc: Exception) -> None:
        """See asyncio."""


class Deadline:
    """One deadline of a machine on the loop's clock."""

    def __init__(self, loop: asyncio.AbstractEventLoop, fire: Callable[[int], None]) -> None:
        self._loop, self._fire = loop, fire
        self._handle: asyncio.TimerHandle | None = None
        self._due_ns: int | None = None

    def set(self, due_ns: int | None) -> None:
        """Fire at `due_ns` (monotonic), or not at all."""
        if due_ns == self._due_ns:
            return
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        self._due_ns = due_ns
        if due_ns is not None:
            wait_ns = max(0, due_ns - time.monotonic_ns())
            self._handle = self._loop.call_later(wait_ns / NS_PER_S, self._run, due_ns)

    def _run(self, due_ns: int) -> None:
        self._handle = self._due_ns = None
        self._fire(max(due_ns, time.monotonic_ns()))
