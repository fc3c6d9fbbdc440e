"""HOST:PORT texts, sockets bound to them, and our own address as a peer would see it."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from ipaddress import ip_address
from typing import Final

from voicelink.errors import CallError, ConfigError
from voicelink.settings import Address, format_address, parse_address

#: Room for a tenth of a second of a flood; the system may grant less.
RECEIVE_BUFFER_BYTES = 1 << 22
#: Linux: include/uapi/asm-generic/socket.h.
SO_RCVBUFFORCE: Final = 33


def bind_udp(local: Address, *, only_ipv6: bool = False, shared: bool = False) -> socket.socket:
    """A non-blocking UDP socket bound at `local`. Raises CallError.

    `only_ipv6`: an IPv6 one leaves the port free for IPv4. `shared`: other sockets of ours may be bound there, too.
    """
    family = socket.AF_INET6 if ":" in local[0] else socket.AF_INET
    try:
        made = socket.socket(family, socket.SOCK_DGRAM)
    except OSError as error:
        raise CallError(f"cannot listen at {format_address(local)}: {why_not(error)}") from None
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
        with contextlib.suppress(OSError):  # as root on Linux, also beyond net.core.rmem_max
            made.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER_BYTES)
        if only_ipv6 and family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if shared:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        made.setblocking(False)
        made.bind(local)
    except OSError as error:
        made.close()
        raise CallError(f"cannot listen at {format_address(local)}: {why_not(error)}") from None
    return made


def mark(sock: socket.socket, dscp: int) -> None:
    """Ask routers for `dscp` (RFC 2474) with all that `sock` sends. Where a system does not allow it, nothing changes.

    An IPv6 socket that also speaks IPv4 needs both marks.
    """
    traffic_class = dscp << 2
    with contextlib.suppress(OSError, AttributeError):
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, traffic_class)
    if sock.family == socket.AF_INET6:
        with contextlib.suppress(OSError, AttributeError):
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, traffic_class)


def why_not(error: OSError) -> str:
    """What keeps us from listening at an address, and what to do where we know."""
    if error.errno == errno.EADDRINUSE:
        return "the port is taken; choose another, or 0 for a free one"
    if error.errno == errno.EADDRNOTAVAIL:
        return "this machine has no such address"
    return error.strerror or str(error)


async def resolve(text: str, family: int) -> Address:
    """The address of somebody else that HOST:PORT in `text` names, in our socket's `family`.

    0.0.0.0 and [::], which a listener on this machine may have said it listens at, mean the loopback address:
    replies come from there. Raises CallError, ConfigError.
    """
    host, port = await _look_up(text, family)
    if not port:
        raise ConfigError(f"{text!r} names port 0, where nobody can be reached; ports are 1..65535")
    return _ANY_TO_LOOPBACK.get(host, host), port


async def resolve_local(text: str) -> Address:
    """An address of ours to listen at, from HOST:PORT. Raises CallError, ConfigError."""
    return await _look_up(text, socket.AF_UNSPEC)


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


async def _look_up(text: str, family: int) -> Address:
    host, port = parse_address(text)
    kind = _KINDS.get(family, "IP")
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, port, family=family, type=socket.SOCK_DGRAM)
    except UnicodeError:
        raise ConfigError(f"{host!r} is not a host name") from None
    except OSError as error:
        reason = error.strerror or error
        if kind != "IP" and _is_ip(host):
            reason = f"our own socket is an {kind} one; bind it to an address of the same kind as {host}"
        raise CallError(f"no {kind} address for host {host}: {reason}") from None
    return plain(found[0][4])


def _is_ip(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


_KINDS: Final = {int(socket.AF_INET6): "IPv6", int(socket.AF_INET): "IPv4"}
_ANY_TO_LOOPBACK: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}
