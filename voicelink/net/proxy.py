"""A UDP proxy that impairs what it passes on: the link model between two real endpoints, without root.

Like a NAT: each address that sends to us gets a socket of its own towards the target, and what the target replies there
goes back to that address. Every datagram is held for as long as its link says; the links decide, not this file.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from voicelink.net.address import bind_udp, plain, resolve, resolve_local
from voicelink.net.port import DatagramPort, Deadline, Impairment
from voicelink.settings import Address
from voicelink.units import NS_PER_S

#: Addresses served at a time, and how long one is kept that nothing is heard of.
MAX_PEERS: Final = 256
MAX_BYTES: Final = 65_535
IDLE_NS: Final = 120 * NS_PER_S

#: The link for way 0 (towards the target) or 1 (back), one pair for each peer.
MakeLink = Callable[[int], Impairment]


@dataclass
class ProxyCounts:
    """Datagrams that came in and went out, by way: towards the target, back."""

    received: list[int] = field(default_factory=lambda: [0, 0])
    sent: list[int] = field(default_factory=lambda: [0, 0])
    bytes_sent: list[int] = field(default_factory=lambda: [0, 0])
    refused: int = 0
    """From a new address while there were `MAX_PEERS`."""


class Proxy:
    """Passes datagrams on until it is closed; `async with` closes it."""

    def __init__(self, sock: socket.socket, target: Address, make_link: MakeLink) -> None:
        self.counts = ProxyCounts()
        self.links: list[Impairment] = []
        """The links made so far, way 0 and way 1 of each peer in turn."""
        self.local_address = plain(sock.getsockname())
        self._loop = asyncio.get_running_loop()
        self._family, self._target, self._make_link = sock.family, target, make_link
        self._front: asyncio.DatagramTransport | None = None
        self._peers: dict[Address, _Peer] = {}
        self._held: list[tuple[int, int, _Peer, int, bytes]] = []
        self._order = 0
        self._deadline = Deadline(self._loop, self._release)

    @classmethod
    async def open(cls, listen: str, to: str, make_link: MakeLink) -> Proxy:
        """Listen at HOST:PORT `listen` and pass on to HOST:PORT `to`. Raises CallError, ConfigError."""
        sock = bind_udp(await resolve_local(listen))
        try:
            proxy = cls(sock, await resolve(to, sock.family), make_link)
        except BaseException:
            sock.close()
            raise
        port = DatagramPort(proxy._from_peer)
        proxy._front, _ = await proxy._loop.create_datagram_endpoint(lambda: port, sock=sock)
        return proxy

    async def __aenter__(self) -> Proxy:
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.close()
        await asyncio.sleep(0)  # transports close their sockets in the loop's next pass

    def close(self) -> None:
        """Drop what is held, and close all sockets."""
        self._deadline.set(None)
        self._held.clear()
        for peer in self._peers.values():
            peer.close()
        if self._front is not None:
            self._front.close()

    # ---- datagrams -------------------------------------------------------------------------------
    def _from_peer(self, data: bytes, source: Address) -> None:
        self.counts.received[0] += 1
        now_ns = time.monotonic_ns()
        peer = self._peers.get(source)
        if peer is None:
            peer = self._meet(source, now_ns)
            if peer is None:
                self.counts.refused += 1
                return
        peer.heard_ns = now_ns
        self._hold(peer, 0, data, now_ns)

    def _meet(self, source: Address, now_ns: int) -> _Peer | None:
        for address, peer in list(self._peers.items()):
            if now_ns - peer.heard_ns > IDLE_NS:
                peer.close()
                del self._peers[address]
        if len(self._peers) >= MAX_PEERS:
            return None
        made = socket.socket(self._family, socket.SOCK_DGRAM)
        made.setblocking(False)
        made.connect(self._target)
        links = (self._make_link(0), self._make_link(1))
        self.links += links
        peer = self._peers[source] = _Peer(source, made, links, self._loop, self._from_target)
        return peer

    def _from_target(self, peer: _Peer, data: bytes) -> None:
        self.counts.received[1] += 1
        self._hold(peer, 1, data, time.monotonic_ns())

    def _hold(self, peer: _Peer, way: int, data: bytes, now_ns: int) -> None:
        for due_ns, copy in peer.links[way].carry(data, now_ns):
            self._order += 1
            heapq.heappush(self._held, (due_ns, self._order, peer, way, copy))
        self._release(time.monotonic_ns())

    def _release(self, now_ns: int) -> None:
        while self._held and self._held[0][0] <= now_ns:
            _, _, peer, way, data = heapq.heappop(self._held)
            self.counts.sent[way] += 1
            self.counts.bytes_sent[way] += len(data)
            if way == 0:
                peer.send(data)
            elif self._front is not None:
                self._front.sendto(data, peer.address)
        self._deadline.set(self._held[0][0] if self._held else None)


class _Peer:
    """One address that sends to us, its socket towards the target, and its two links."""

    def __init__(
        self,
        address: Address,
        sock: socket.socket,
        links: tuple[Impairment, Impairment],
        loop: asyncio.AbstractEventLoop,
        take: Callable[[_Peer, bytes], None],
    ) -> None:
        self.address, self.links = address, links
        self.heard_ns = 0
        self._sock, self._loop, self._take = sock, loop, take
        loop.add_reader(sock.fileno(), self._read)

    def send(self, data: bytes) -> None:
        """To the target; dropped where the system has no room or the target is not there."""
        with contextlib.suppress(OSError):
            self._sock.send(data)

    def close(self) -> None:
        """Release the socket."""
        self._loop.remove_reader(self._sock.fileno())
        self._sock.close()

    def _read(self) -> None:
        with contextlib.suppress(OSError):  # nothing more to read, or an ICMP answer to an earlier datagram
            while True:
                self._take(self, self._sock.recv(MAX_BYTES))
