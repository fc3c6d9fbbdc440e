"""Marks on packets as they arrive: of a client, of a server, IPv4 and IPv6; and where the system refuses."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys

import pytest

from tests.server.test_app import serving
from voicelink.errors import CallError
from voicelink.net.address import bind_udp, mark
from voicelink.net.loop import run
from voicelink.net.udp import SessionDriver
from voicelink.settings import DSCP_EF, Address, SessionSettings, Settings, format_address, parse_address
from voicelink.wire.handshake import NO_COOKIE
from voicelink.wire.packet import Header, Kind, join
from voicelink.wire.rendezvous import Ring, encode_request, padded

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads marks as Linux tells them")
HOSTS = ("127.0.0.1", "::1")


def receiver(host: str) -> socket.socket:
    try:
        sock = bind_udp((host, 0))
    except CallError as error:
        pytest.skip(str(error))
    six = sock.family == socket.AF_INET6
    option = (socket.IPPROTO_IPV6, socket.IPV6_RECVTCLASS) if six else (socket.IPPROTO_IP, socket.IP_RECVTOS)
    sock.setsockopt(*option, 1)
    sock.settimeout(5)
    return sock


def mark_of_next(sock: socket.socket) -> int:
    _, ancillary, _, _ = sock.recvmsg(2_048, 128)
    (data,) = (data for _, kind, data in ancillary if kind in (socket.IP_TOS, socket.IPV6_TCLASS))
    return int.from_bytes(data, "little") >> 2


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("dscp", [DSCP_EF, 0])
def test_what_a_client_sends_is_marked(host: str, dscp: int) -> None:
    async def main(to: Address) -> None:
        driver = await SessionDriver.open(SessionSettings(model_ids=("m",)), local=(host, 0), dscp=dscp)
        await driver.call(format_address(to))
        await asyncio.sleep(0.05)
        await driver.close()

    with receiver(host) as sock:
        run(main((host, sock.getsockname()[1])))
        assert mark_of_next(sock) == dscp


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("workers", ["1", "2"])
def test_what_a_server_sends_is_marked(host: str, workers: str) -> None:
    request = join(Header(Kind.SERVER, 7, 0), encode_request(padded(Ring(7, "", b"")), NO_COOKIE))
    with receiver(host) as sock, serving("--workers", workers, listen=format_address((host, 0))) as (where, _):
        sock.settimeout(0.5)
        for _ in range(20):  # as clients do: its processes may not be there yet
            sock.sendto(request, parse_address(where["listening"]))
            with contextlib.suppress(TimeoutError):
                assert mark_of_next(sock) == DSCP_EF
                return
        raise AssertionError("the server did not answer")


def test_a_socket_for_both_families_marks_both() -> None:
    with receiver("127.0.0.1") as four, receiver("::1") as six, bind_udp(("::", 0)) as sender:
        mark(sender, DSCP_EF)
        sender.sendto(b"x", ("::ffff:127.0.0.1", four.getsockname()[1]))
        sender.sendto(b"x", ("::1", six.getsockname()[1]))
        assert (mark_of_next(four), mark_of_next(six)) == (DSCP_EF, DSCP_EF)


def test_a_system_that_refuses_is_no_failure() -> None:
    class Refusing:
        family = socket.AF_INET6

        def setsockopt(self, *args: object) -> None:
            raise PermissionError(1, os.strerror(1))

    mark(Refusing(), DSCP_EF)  # type: ignore[arg-type]


def test_it_is_on_by_default() -> None:
    settings = Settings()
    assert (settings.network.dscp, settings.server.dscp) == (DSCP_EF, DSCP_EF)
