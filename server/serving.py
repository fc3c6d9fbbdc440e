"""What one process of the server does: the first one has names and relays, others only relay."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from voicelink_server.channel import RemoteDesk, RemoteDirectory
from voicelink_server.metrics import MetricsServer, render
from voicelink_server.notify import notify

from voicelink.core.switchboard import Forwarder, Switchboard
from voicelink.net.address import resolve_local
from voicelink.net.relay import RelayDriver
from voicelink.settings import Address, ServerSettings
from voicelink.units import NS_PER_S

log = logging.getLogger("voicelink.server")

#: Both ends of a call that is relayed send something every second.
QUIET_S: Final = 2.5
TELL_EVERY_S: Final = 1.0


class Stops:
    """When to stop: asked once, relay on for a while; asked twice, at once."""

    def __init__(self, asked: asyncio.Event | None = None, parent: int | None = None) -> None:
        self.asked = asked or asyncio.Event()
        self.at_once = asyncio.Event()
        self._parent = parent

    def signalled(self) -> None:
        """A signal came."""
        (self.at_once if self.asked.is_set() else self.asked).set()

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """In a process that a supervisor started: its signals, and its own end, stop us."""
        if self._parent is None:
            yield
            return
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self.signalled)
        loop.add_reader(self._parent, self._orphaned)
        try:
            yield
        finally:
            loop.remove_signal_handler(signal.SIGTERM)
            loop.remove_reader(self._parent)

    def _orphaned(self) -> None:
        self.asked.set()
        self.at_once.set()
        assert self._parent is not None
        asyncio.get_running_loop().remove_reader(self._parent)


class First:
    """The process that has the names; alone, or with others that relay."""

    def __init__(
        self,
        settings: ServerSettings,
        sockets: Sequence[socket.socket],
        web: socket.socket | None,
        channels: Sequence[socket.socket] = (),
    ) -> None:
        self._settings, self._sockets, self._web, self._channels = settings, sockets, web, channels

    async def run(self, stops: Stops, ready: Callable[[], None] = lambda: None) -> None:
        """Serve until told to stop."""
        settings = self._settings
        desks = [RemoteDesk(1 + i, sock) for i, sock in enumerate(self._channels)]
        machine = Switchboard(settings, entropy=os.urandom, desks=desks)
        for desk in desks:
            desk.begin(machine, time.monotonic_ns())
        async with contextlib.AsyncExitStack() as stack:
            driver = await stack.enter_async_context(await RelayDriver.on(machine, self._sockets))
            if settings.redis:
                sharing = await _share(settings, machine, driver)
                stack.callback(sharing.cancel)
            if self._web is not None:
                metrics = MetricsServer(lambda: render(machine, desks))
                await metrics.start(self._web)
                stack.push_async_callback(metrics.close)
            stack.enter_context(stops.watched())
            ready()
            await stops.asked.wait()
            notify("STOPPING=1")
            if len(machine.rooms) and not stops.at_once.is_set():
                log.info("stopping within %d s: calls are relayed on", settings.drain_s)
                machine.close(settings.drain_s, time.monotonic_ns())
                driver.drain()
                await _quiet(lambda: _forwarded(machine, desks), stops, settings.drain_s)
        log.info("stopped with %d calls and %d names", len(machine.rooms), len(machine.directory))


class Other:
    """A process that only relays."""

    def __init__(self, settings: ServerSettings, sockets: Sequence[socket.socket], channel: socket.socket) -> None:
        self._settings, self._sockets, self._channel = settings, sockets, channel

    async def run(self, stops: Stops) -> None:
        """Relay until told to stop."""
        machine = Worker(self._settings)
        directory = RemoteDirectory(machine, self._channel, time.monotonic_ns)
        machine.tell_idle = directory.tell_idle
        async with await RelayDriver.on(machine, self._sockets) as driver:
            with stops.watched():
                telling = asyncio.ensure_future(_tell(directory, driver))
                await stops.asked.wait()
                if len(machine.relay) and not stops.at_once.is_set():
                    forwarded = machine.relay.counts
                    await _quiet(lambda: forwarded.datagrams_forwarded, stops, self._settings.drain_s)
                telling.cancel()


class Worker(Forwarder):
    """A machine that only forwards."""

    def __init__(self, settings: ServerSettings) -> None:
        super().__init__(settings)
        self.tell_idle: Callable[[int], None] = lambda call: None
        self._sweep_ns = 0

    def handle_timer(self, now_ns: int) -> None:
        """Forget idle calls."""
        if now_ns >= self._sweep_ns:
            for call in self.relay.expire(now_ns):
                self.tell_idle(call)
            self._sweep_ns = now_ns + NS_PER_S

    def datagrams_to_send(self, now_ns: int) -> list[tuple[bytes, Address]]:
        """None of its own."""
        return []

    def next_timer_ns(self) -> int | None:
        """When to look for idle calls next."""
        return self._sweep_ns


async def _share(settings: ServerSettings, machine: Switchboard, driver: RelayDriver) -> asyncio.Task[None]:
    """Be one of several servers."""
    from voicelink_server.cluster import Cluster  # noqa: PLC0415 (redis is an extra)

    here = await resolve_local(settings.advertise)
    cluster = Cluster(settings, here, machine, driver.drain)
    machine.directory.others = cluster
    return asyncio.ensure_future(cluster.run())


async def _tell(directory: RemoteDirectory, driver: RelayDriver) -> None:
    driver.drain()
    while True:
        await asyncio.sleep(TELL_EVERY_S)
        directory.tell_counts()


async def _quiet(forwarded: Callable[[], int], stops: Stops, limit_s: float) -> None:
    """Until nothing has been relayed for a while, `limit_s` have passed, or we are told again."""
    loop = asyncio.get_running_loop()
    now_s = loop.time()
    deadline_s, changed_s, before = now_s + limit_s, now_s, forwarded()
    while now_s < min(deadline_s, changed_s + QUIET_S) and not stops.at_once.is_set():
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stops.at_once.wait(), 0.25)
        now_s = loop.time()
        if (count := forwarded()) != before:
            before, changed_s = count, now_s


def _forwarded(machine: Switchboard, desks: Sequence[RemoteDesk]) -> int:
    return machine.relay.counts.datagrams_forwarded + sum(desk.counts.datagrams_forwarded for desk in desks)
