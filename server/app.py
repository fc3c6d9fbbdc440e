"""Starting, announcing and stopping the server: in this process, or in several that share its port."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import logging
import os
import signal
import socket
from collections.abc import Callable, Iterator

from voicelink_server.listening import bind_all, can_share
from voicelink_server.metrics import bind_web
from voicelink_server.notify import notify
from voicelink_server.serving import First, Other, Stops
from voicelink_server.supervisor import Supervisor

from voicelink.errors import CallError, ConfigError
from voicelink.net.address import mark, plain, resolve_local
from voicelink.net.loop import run
from voicelink.settings import ServerSettings, format_address

log = logging.getLogger("voicelink.server")


async def main_async(
    settings: ServerSettings,
    *,
    json_output: bool = False,
    say: Callable[[str], None] = print,
    stop: asyncio.Event | None = None,
) -> None:
    """Serve in this process alone until SIGTERM or SIGINT, or until `stop` is set.

    `say` gets one line at the start: what is listened at, as JSON ({"listening": "host:port", ...}) where
    `json_output`. Raises CallError where an address cannot be listened at, ConfigError where it is none.
    A call that is relayed then is given `settings.drain_s` to end; a second signal cuts that short.
    """
    (sockets,), web = await _bind(settings, 1)
    await _alone(settings, sockets, web, say, json_output, stop)


def run_server(
    settings: ServerSettings, *, json_output: bool = False, say: Callable[[str], None] | None = None
) -> None:
    """Serve in `settings.workers` processes until SIGTERM or SIGINT, as `main_async`. Raises as it does."""
    say = say or _say
    processes = settings.workers or len(os.sched_getaffinity(0)) if can_share() else 1
    sockets, web = asyncio.run(_bind(settings, processes))
    if len(sockets) == 1:
        run(_alone(settings, sockets[0], web, say, json_output))
        return

    def serve(number: int, channels: list[socket.socket], parent: int) -> None:
        made = Other(settings, sockets[number], channels[0]) if number else First(settings, sockets[0], web, channels)
        run(made.run(Stops(parent=parent)))

    supervisor = Supervisor(len(sockets), serve)
    supervisor.start()
    _announce(sockets[0], web, say, json_output)
    if not supervisor.wait():
        raise CallError("the server's processes end again and again; see the log")


async def _alone(
    settings: ServerSettings,
    sockets: list[socket.socket],
    web: socket.socket | None,
    say: Callable[[str], None],
    json_output: bool,
    stop: asyncio.Event | None = None,
) -> None:
    stops = Stops(stop)
    with _signals_call(stops.signalled):
        await First(settings, sockets, web).run(stops, lambda: _announce(sockets, web, say, json_output))


async def _bind(settings: ServerSettings, processes: int) -> tuple[list[list[socket.socket]], socket.socket | None]:
    """The sockets of each process, marked for routers, and that of the metrics page."""
    sockets, web = await _bind_unmarked(settings, processes)
    for sock in itertools.chain.from_iterable(sockets):
        mark(sock, settings.dscp)
    return sockets, web


async def _bind_unmarked(
    settings: ServerSettings, processes: int
) -> tuple[list[list[socket.socket]], socket.socket | None]:
    if settings.redis:
        await _check_cluster(settings)
    web = bind_web(await resolve_local(settings.metrics)) if settings.metrics else None
    local = await resolve_local(settings.listen)
    try:
        try:
            return bind_all(local, processes), web
        except CallError:
            if processes == 1:
                raise
            alone = bind_all(local)  # a sandbox that knows no groups of sockets, or a port that is taken: see which
            log.warning("this system does not let processes share a port: one process relays all")
            return alone, web
    except CallError:
        if web is not None:
            web.close()
        raise


async def _check_cluster(settings: ServerSettings) -> None:
    """Raise ConfigError or CallError where the other servers cannot be met."""
    if not settings.advertise:
        raise ConfigError("server.redis needs server.advertise, the HOST:PORT at which clients reach this server")
    try:
        import redis.asyncio as redis  # noqa: PLC0415 (an extra)
        from redis.exceptions import RedisError  # noqa: PLC0415
    except ImportError:
        raise ConfigError("server.redis needs the redis package: pip install 'voicelink[cluster-server]'") from None
    try:
        async with redis.Redis.from_url(settings.redis, socket_timeout=5, socket_connect_timeout=5) as client:
            await client.ping()
    except ValueError as error:
        raise ConfigError(f"server.redis = {settings.redis!r}: {error}") from None
    except (RedisError, OSError):
        raise CallError(f"no Redis answers at {settings.redis}: is it running?") from None


def _announce(
    sockets: list[socket.socket], web: socket.socket | None, say: Callable[[str], None], json_output: bool
) -> None:
    where = {"listening": format_address(plain(sockets[0].getsockname()))}
    if web is not None:
        where["metrics"] = f"http://{format_address(plain(web.getsockname()))}/metrics"
    say(json.dumps(where) if json_output else _sentence(where))
    notify("READY=1")


@contextlib.contextmanager
def _signals_call(stop: Callable[[], None]) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    numbers = (signal.SIGTERM, signal.SIGINT)
    with contextlib.suppress(NotImplementedError, RuntimeError):  # not the main thread, or not a Unix
        for number in numbers:
            loop.add_signal_handler(number, stop)
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
