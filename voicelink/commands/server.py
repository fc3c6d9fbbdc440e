"""`voicelink server`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from voicelink.commands.common import Common, command
from voicelink.settings import ServerSettings

if TYPE_CHECKING:
    import asyncio


def register(app: typer.Typer) -> None:
    """Add the subcommand."""
    command(app, "server", "voicelink server --listen 0.0.0.0:47600 --metrics 127.0.0.1:9100")(server)


def server(
    common: Common,
    listen: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="UDP address (default [::]:47600, all; port 0: any)."),
    ] = None,
    metrics: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="TCP address for Prometheus metrics (default none).")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(metavar="N", help="Processes that relay (default 0: one a core; Linux only).")
    ] = None,
    log_addresses: Annotated[
        bool, typer.Option("--log-addresses", help="Names and addresses of clients in the log.")
    ] = False,
    until_input_closes: Annotated[bool, typer.Option("--until-input-closes", hidden=True)] = False,
) -> None:
    """The meeting point of a group: names, and a relay for callers who cannot reach each other. Ctrl-C ends it.

    Calls that are relayed then are given 30 s to end; a second Ctrl-C cuts that short. With --json prints one line at
    the start: {"listening": "HOST:PORT"}.
    """
    settings = common.settings(
        {
            "server.listen": listen,
            "server.metrics": metrics,
            "server.workers": workers,
            "server.log_addresses": log_addresses or None,
        }
    ).server
    from voicelink_server.logs import set_up_logging  # noqa: PLC0415

    set_up_logging(as_json=common.log_json, verbose=common.verbose, addresses=settings.log_addresses)
    if until_input_closes:
        from voicelink.net.loop import run  # noqa: PLC0415

        run(_serve(settings, common.as_json))
    else:
        from voicelink_server.app import run_server  # noqa: PLC0415

        run_server(settings, json_output=common.as_json, say=_say)


async def _serve(settings: ServerSettings, as_json: bool) -> None:
    import asyncio  # noqa: PLC0415

    from voicelink_server.app import main_async  # noqa: PLC0415

    stop = asyncio.Event()
    watch = asyncio.ensure_future(_stop_at_eof(stop))
    try:
        await main_async(settings, json_output=as_json, say=_say, stop=stop)
    finally:
        watch.cancel()


async def _stop_at_eof(stop: asyncio.Event) -> None:
    """Set `stop` when whoever holds the other end of standard input is gone."""
    import asyncio  # noqa: PLC0415

    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while await reader.read(4096):
        pass
    stop.set()


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
