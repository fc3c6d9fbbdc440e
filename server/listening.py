"""The server's sockets: one of each address family, or a group of them that several processes share.

Linux hands each datagram for such a group to one of its sockets, by a small program that we give it: requests go to the
first, datagrams of a call to the one that the connection id leads to. So both ends of a call always meet in the same
process, wherever they come from, and no datagram is passed on from one process to another.
"""

from __future__ import annotations

import ctypes
import logging
import socket
import struct
import sys
from typing import Final

from voicelink.errors import CallError
from voicelink.net.address import bind_udp, plain, why_not
from voicelink.settings import Address, format_address
from voicelink.wire.packet import Kind

log = logging.getLogger("voicelink.server")

#: Linux: include/uapi/asm-generic/socket.h.
SO_ATTACH_REUSEPORT_CBPF: Final = 51
_ANY6, _ANY4 = "::", "0.0.0.0"


def can_share() -> bool:
    """Whether several processes can share a port here in the way that we need."""
    return sys.platform == "linux" and hasattr(socket, "SO_REUSEPORT")


def bind_all(local: Address, processes: int = 1) -> list[list[socket.socket]]:
    """For each process its sockets at `local`: one, or for the address `::` one of each family.

    Raises CallError where an address cannot be had, and where somebody else has it.
    """
    host, port = local
    if host != _ANY6:
        return _as_processes([_group(local, processes)])
    try:
        six = _group(local, processes)
    except CallError:
        if _has_ipv6():
            raise
        log.warning("this machine has no IPv6: listening at %s only", format_address((_ANY4, port)))
        return _as_processes([_group((_ANY4, port), processes)])
    try:
        return _as_processes([six, _group((_ANY4, plain(six[0].getsockname())[1]), processes)])
    except CallError:
        for sock in six:
            sock.close()
        raise


def _group(local: Address, processes: int) -> list[socket.socket]:
    """Sockets at one address, the first of which says which port it is."""
    probe = bind_udp(local, only_ipv6=True)  # a group would let in another server: see that there is none
    if processes == 1:
        return [probe]
    at = plain(probe.getsockname())
    probe.close()
    made: list[socket.socket] = []
    try:
        for _ in range(processes):
            made.append(bind_udp(at, only_ipv6=True, shared=True))
        _steer(made[0], processes)
    except OSError as error:
        for sock in made:
            sock.close()
        raise CallError(f"cannot share {format_address(local)} among processes: {why_not(error)}") from None
    return made


def _steer(sock: socket.socket, processes: int) -> None:
    """Give the group of `sock` its program, in classic BPF: see linux/filter.h and socket(7), SO_ATTACH_REUSEPORT_CBPF.

    A datagram that ends before its connection id goes to the first socket.
    """
    program = b"".join(
        struct.pack("=HBBI", *instruction)
        for instruction in (
            (0x30, 0, 0, 0),  # ldb [0]: the datagram's first byte
            (0x54, 0, 0, 0x70),  # and #0x70: its kind
            (0x15, 3, 0, Kind.SERVER << 4),  # jeq #server, first
            (0x20, 0, 0, 1),  # ld [1]: the connection id
            (0x94, 0, 0, processes),  # mod #processes
            (0x16, 0, 0, 0),  # ret a
            (0x06, 0, 0, 0),  # first: ret #0
        )
    )
    buffer = ctypes.create_string_buffer(program, len(program))
    where = struct.pack("@HP", len(program) // 8, ctypes.addressof(buffer))
    sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, where)


def _as_processes(families: list[list[socket.socket]]) -> list[list[socket.socket]]:
    return [list(sockets) for sockets in zip(*families, strict=True)]


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True
