"""The server's driver: datagrams of calls straight on to the other side, the rest through the machine.

Relayed datagrams are most of what a server does, so their way is short: one look-up, one send.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Sequence
from typing import Protocol, Self

from voicelink.net.address import bind_udp, plain
from voicelink.net.port import Deadline
from voicelink.settings import Address


class Machine(Protocol):
    """What is driven: `core.switchboard.Switchboard`, or in a worker what only forwards."""

    def forward(self, data: bytes, source: Address, now_ns: int) -> Address | None:
        """Where a datagram goes unchanged; None where the machine took it, or dropped it."""

    def handle_timer(self, now_ns: int) -> None:
        """Do what is due."""

    def datagrams_to_send(self, now_ns: int) -> list[tuple[bytes, Address]]:
        """Datagrams of its own to send now."""

    def next_timer_ns(self) -> int | None:
        """When `handle_timer` wants to be called."""


class RelayDriver:
    """Runs a machine on UDP sockets of the running asyncio loop, at most one of each family; `async with` closes it."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.local_addresses: list[Address] = []
        self._ports: dict[bool, _RelayPort] = {}
        self._timer = Deadline(asyncio.get_running_loop(), self._on_timer)

    @classmethod
    async def open(cls, machine: Machine, *local: Address) -> Self:
        """Bind a socket at each of `local` (port 0: any). Raises CallError if it cannot."""
        return await cls.on(machine, [bind_udp(address) for address in local])

    @classmethod
    async def on(cls, machine: Machine, sockets: Sequence[socket.socket]) -> Self:
        """Run on sockets that are bound already, the first one's address being `local_address`."""
        driver = cls(machine)
        loop = asyncio.get_running_loop()
        for sock in sockets:
            driver.local_addresses.append(plain(sock.getsockname()))
            port = _RelayPort(driver)
            await loop.create_datagram_endpoint(lambda port=port: port, sock=sock)  # type: ignore[misc]
            driver._ports[sock.family == socket.AF_INET6] = port
        for port in driver._ports.values():
            port.alone = len(driver._ports) == 1
        return driver

    @property
    def local_address(self) -> Address:
        """Where the first socket is bound."""
        return self.local_addresses[0]

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the sockets."""
        self._timer.set(None)
        for port in self._ports.values():
            port.transport.close()
        self._ports.clear()
        await asyncio.sleep(0)

    def send(self, data: bytes, to: Address) -> None:
        """Through the socket of the address's family; dropped where there is none."""
        port = self._ports.get(":" in to[0])
        if port is not None:
            port.transport.sendto(data, to)

    def drain(self) -> None:
        """Take the machine's outputs; to be called after every input that is not a datagram."""
        for data, to in self.machine.datagrams_to_send(time.monotonic_ns()):
            self.send(data, to)
        self._timer.set(self.machine.next_timer_ns())

    def _on_timer(self, now_ns: int) -> None:
        self.machine.handle_timer(now_ns)
        self.drain()


class _RelayPort(asyncio.DatagramProtocol):
    """One socket."""

    transport: asyncio.DatagramTransport

    def __init__(self, driver: RelayDriver) -> None:
        self.alone = True
        """Whether all that is sent leaves by this socket."""
        self._driver = driver
        self._forward = driver.machine.forward

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        """See asyncio."""
        self.transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """See asyncio."""
        to = self._forward(data, addr if len(addr) == 2 else addr[:2], time.monotonic_ns())
        if to is None:
            self._driver.drain()
        elif self.alone:
            self.transport.sendto(data, to)
        else:
            self._driver.send(data, to)

    def error_received(self, exc: Exception) -> None:
        """See asyncio: an ICMP answer to an earlier datagram means nothing."""
