"""HOST:PORT texts, sockets bound to them, and our own address as a peer would see it."""

from __future__ import annotations

import asyncio
import socket

from voicelink.errors import CallError
from voicelink.settings import Address, format_address, parse_address

#: Room for about a second of datagrams of a thousand calls; the system may grant less.
RECEIVE_BUFFER_BYTES = 1 << 20


def bind_udp(local: Address) -> socket.socket:
    """A non-blocking UDP socket bound at `local`. Raises CallError."""
    family = socket.AF_INET6 if ":" in local[0] else socket.AF_INET
    made = socket.socket(family, socket.SOCK_DGRAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
        made.setblocking(False)
        made.bind(local)
    except OSError as error:
        made.close()
        raise CallError(f"cannot listen at {format_address(local)}: {error.strerror or error}") from None
    return made


async def resolve(text: str, family: int) -> Address:
    """The address that HOST:PORT in `text` names, in the socket's `family`. Raises CallError, ConfigError."""
    host, port = parse_address(text)
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, port, family=family, type=socket.SOCK_DGRAM)
    except OSError as error:
        kind = {socket.AF_INET6: "IPv6", socket.AF_INET: "IPv4"}.get(socket.AddressFamily(family), "IP")
        raise CallError(f"no {kind} address for host {host}: {error.strerror or error}") from None
    return plain(found[0][4])


async def resolve_local(text: str) -> Address:
    """An address of ours to listen at, from HOST:PORT. Raises CallError, ConfigError."""
    return await resolve(text, socket.AF_UNSPEC)


def plain(sockaddr: tuple[object, ...]) -> Address:
    """A socket's address without IPv6 flow and scope."""
    host, port = sockaddr[0], sockaddr[1]
    assert isinstance(host, str)
    assert isinstance(port, int)
    return host, port


def address_towards(peer: Address) -> str | None:
    """The local host address that packets to `peer` leave from; None without a route. Sends nothing."""
    family = socket.AF_INET6 if ":" in peer[0] else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(peer)
        except OSError:
            return None
        return plain(probe.getsockname())[0]
