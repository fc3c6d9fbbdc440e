"""`python -m voicelink_server.echo`: a datagram echo on the bare event loop, to measure the relay beside."""

from __future__ import annotations

import asyncio
import json
import socket

from voicelink_server.metrics import MetricsServer, bind_web

from voicelink.net.address import bind_udp
from voicelink.net.loop import run
from voicelink.settings import format_address


class _Echo(asyncio.DatagramProtocol):
    count = 0
    transport: asyncio.DatagramTransport

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        self.transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.count += 1
        self.transport.sendto(data, addr)


async def _main() -> None:
    echo = _Echo()
    sock: socket.socket = bind_udp(("127.0.0.1", 0))
    web = bind_web(("127.0.0.1", 0))
    await asyncio.get_running_loop().create_datagram_endpoint(lambda: echo, sock=sock)
    metrics = MetricsServer(lambda: f"voicelink_datagrams_forwarded_total {echo.count}\n")
    await metrics.start(web)
    page = f"http://{format_address(web.getsockname()[:2])}/metrics"
    print(json.dumps({"listening": format_address(sock.getsockname()), "count": page}), flush=True)  # noqa: T201
    await asyncio.Event().wait()


if __name__ == "__main__":
    run(_main())
