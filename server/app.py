"""Starting, announcing and stopping the server."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
from collections.abc import Callable, Iterator

from voicelink_server.metrics import MetricsServer, render

from voicelink.core.switchboard import Switchboard
from voicelink.net.address import resolve_local
from voicelink.net.loop import run
from voicelink.net.udp import RelayDriver
from voicelink.settings import ServerSettings, format_address

log = logging.getLogger("voicelink.server")


async def main_async(
    settings: ServerSettings,
    *,
    json_output: bool = False,
    say: Callable[[str], None] = print,
    stop: asyncio.Event | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT, or until `stop` is set.

    `say` gets one line at the start: what is listened at, as JSON ({"listening": "host:port", ...}) where
    `json_output`. Raises CallError where an address cannot be listened at, ConfigError where it is none.
    """
    stop = stop or asyncio.Event()
    machine = Switchboard(settings, entropy=os.urandom)
    async with contextlib.AsyncExitStack() as stack:
        driver = await stack.enter_async_context(await RelayDriver.open(machine, await resolve_local(settings.listen)))
        where = {"listening": format_address(driver.local_address)}
        if settings.metrics:
            metrics = MetricsServer(lambda: render(machine))
            at = await metrics.start(await resolve_local(settings.metrics))
            stack.push_async_callback(metrics.close)
            where["metrics"] = f"http://{format_address(at)}/metrics"
        stack.enter_context(_signals_set(stop))
        say(json.dumps(where) if json_output else _sentence(where))
        await stop.wait()
    log.info("stopped with %d calls and %d names", len(machine.relay), len(machine.directory))


def run_server(settings: ServerSettings, *, json_output: bool = False) -> None:
    """`main_async` on an event loop of its own. Raises as it does."""
    run(main_async(settings, json_output=json_output, say=_say))


@contextlib.contextmanager
def _signals_set(stop: asyncio.Event) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    numbers = (signal.SIGTERM, signal.SIGINT)
    with contextlib.suppress(NotImplementedError, RuntimeError):  # not the main thread, or not a Unix
        for number in numbers:
            loop.add_signal_handler(number, stop.set)
    try:
        yield
    finally:
        for number in numbers:
            with contextlib.suppress(NotImplementedError, RuntimeError):
                loop.remove_signal_handler(number)


def _sentence(where: dict[str, str]) -> str:
    also = f", metrics at {where['metrics']}" if "metrics" in where else ""
    return f"listening at {where['listening']} (UDP){also}; stop with Ctrl-C"


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 (the program's output)
