"""Prometheus metrics over HTTP, in the text format, written here.

Not with prometheus_client: it serves from a thread of its own and keeps its values in a global registry,
while all that is needed is one page made from counters that the machine holds anyway; and so the server
needs no dependency beyond the base ones.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Sequence
from typing import Final

from voicelink_server.channel import RemoteDesk

from voicelink.core.relay import RelayCounts
from voicelink.core.switchboard import Switchboard
from voicelink.errors import CallError
from voicelink.net.address import why_not
from voicelink.settings import Address, format_address

#: A scraper that has not sent its request by then is cut off.
REQUEST_TIMEOUT_S: Final = 5.0
MAX_REQUEST_BYTES: Final = 8192
_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


def render(machine: Switchboard, desks: Sequence[RemoteDesk] = ()) -> str:
    """All figures of the server as one Prometheus page (text format 0.0.4); `desks` are its other processes."""
    relay, directory = RelayCounts(), machine.directory.counts
    for counts in (machine.relay.counts, *(desk.counts for desk in desks)):
        relay.add(counts)
    received = machine.datagrams_received + sum(desk.received for desk in desks)
    invalid = machine.datagrams_invalid + sum(desk.invalid for desk in desks)
    rows = [
        ("calls", "gauge", "Calls relayed now", len(machine.rooms)),
        ("processes", "gauge", "Processes that relay", 1 + len(desks)),
        ("closing", "gauge", "1 while the server stops and takes no new calls", int(machine.directory.closing)),
        ("registrations", "gauge", "Names registered now", len(machine.directory)),
        ("datagrams_received_total", "counter", "Datagrams received", received),
        ("datagrams_invalid_total", "counter", "Datagrams that did not parse", invalid),
        ("datagrams_forwarded_total", "counter", "Datagrams relayed", relay.datagrams_forwarded),
        ("bytes_forwarded_total", "counter", "UDP payload bytes relayed", relay.bytes_forwarded),
        ("datagrams_stranger_total", "counter", "Datagrams of no call of ours", relay.dropped_stranger),
        (
            "datagrams_over_rate_total",
            "counter",
            "Datagrams over one of the rates",
            relay.dropped_rate,
        ),
        ("calls_total", "counter", "Calls set up", machine.rooms.calls_total),
        ("registers_total", "counter", "Registrations and refreshes", directory.registers),
        ("rings_total", "counter", "Requests to reach a name", directory.rings),
        ("joins_total", "counter", "Places in calls taken again", directory.joins),
        ("cookies_total", "counter", "Cookies given to addresses not yet seen", machine.cookies_sent),
        ("strangers_dropped_total", "counter", "Requests without a cookie over the rate", machine.dropped_strangers),
        ("requests_dropped_total", "counter", "Requests of addresses over their rate", machine.dropped_requests),
        ("names_kept", "gauge", "Names registered now or kept for their owners", machine.directory.names_kept),
        ("denied_total", "counter", "Requests denied", directory.denied),
    ]
    return "".join(
        f"# HELP voicelink_{name} {text}.\n# TYPE voicelink_{name} {kind}\nvoicelink_{name} {value}\n"
        for name, kind, text, value in rows
    )


def bind_web(at: Address) -> socket.socket:
    """A socket for the page at `at` (port 0: any). Raises CallError."""
    family = socket.AF_INET6 if ":" in at[0] else socket.AF_INET
    try:
        return socket.create_server(at, family=family)
    except OSError as error:
        raise CallError(f"cannot serve metrics at {format_address(at)}: {why_not(error)}") from None


class MetricsServer:
    """GET /metrics, and nothing else, over HTTP/1.0."""

    def __init__(self, page: Callable[[], str]) -> None:
        self._page = page
        self._server: asyncio.Server | None = None

    async def start(self, sock: socket.socket) -> None:
        """Serve at a socket of `bind_web`."""
        self._server = await asyncio.start_server(self._serve, sock=sock, limit=MAX_REQUEST_BYTES)

    async def close(self) -> None:
        """Stop listening."""
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(REQUEST_TIMEOUT_S):
                request = await reader.readuntil(b"\r\n\r\n")
            writer.write(self._response(request))
            await writer.drain()
        except (TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # a scraper that went away, or none at all
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    def _response(self, request: bytes) -> bytes:
        method, _, rest = request.partition(b" ")
        path = rest.partition(b" ")[0].partition(b"?")[0]
        if path != b"/metrics":
            return _http("404 Not Found", "see /metrics\n")
        if method != b"GET":
            return _http("405 Method Not Allowed", "GET only\n")
        return _http("200 OK", self._page())


def _http(status: str, text: str) -> bytes:
    body = text.encode()
    head = f"HTTP/1.0 {status}\r\nContent-Type: {_TYPE}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body
