"""Several servers with one directory, by Redis: whose a name is, where it is registered, which servers there are.

The machine asks and gets an answer at once where one is known here, else ASKING; the answer is fetched meanwhile, and
the request is handled again. Keys, all with a time to live:

    voicelink:owner:NAME   the public key that the name belongs to
    voicelink:home:NAME    the server where it is registered now
    voicelink:server:ADDR  a server that is alive

and a channel `voicelink:to:ADDR` for each server, on which the others tell it whom to invite.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import Callable, Coroutine
from typing import Any, Final

import msgpack  # type: ignore[import-untyped, unused-ignore]
import redis.asyncio as redis
from redis.exceptions import RedisError

from voicelink.core.directory import ASKING, Asking
from voicelink.core.switchboard import Switchboard
from voicelink.settings import Address, ServerSettings, format_address, parse_address

log = logging.getLogger("voicelink.server")

PREFIX: Final = "voicelink:"
#: A server says so often that it is alive, and is believed for so long.
BEAT_S: Final = 1.0
ALIVE_S: Final = 5
#: What was asked is remembered for so long.
ANSWER_S: Final = 2.0
MAX_ANSWERS: Final = 10_000
RETRY_S: Final = 1.0


class Cluster:
    """This server among others; a `core.directory.Others`. Belongs to the running loop; `run` until cancelled."""

    def __init__(
        self, settings: ServerSettings, here: Address, machine: Switchboard, drain: Callable[[], None]
    ) -> None:
        self.here = here
        self._settings, self._machine, self._drain = settings, machine, drain
        self._redis = redis.Redis.from_url(settings.redis, socket_timeout=5, socket_connect_timeout=5)
        self._servers: list[Address] = [here]
        self._owners: dict[str, tuple[float, bytes]] = {}
        self._homes: dict[str, tuple[float, Address | None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._asked: set[str] = set()

    # ---- what the machine asks ---------------------------------------------------------------------
    def owner(self, name: str, key: bytes) -> bytes | Asking:
        """As Others.owner."""
        known = self._owners.get(name)
        if known is not None and known[0] > time.monotonic():
            return known[1]
        self._ask(f"owner {name}", self._claim(name, key))
        return ASKING

    def home(self, name: str) -> Address | Asking | None:
        """As Others.home."""
        known = self._homes.get(name)
        if known is not None and known[0] > time.monotonic():
            return known[1]
        self._ask(f"home {name}", self._find(name))
        return ASKING

    def keep(self, name: str) -> None:
        """As Others.keep."""
        self._start(self._keep(name))

    def leave(self, name: str) -> None:
        """As Others.leave."""
        self._start(self._leave(name))

    def relay_for(self, call: int) -> Address:
        """As Others.relay_for: the highest random weight (Thaler and Ravishankar, 1998) of those that are alive."""
        return max(self._servers, key=lambda server: weight(call, server))

    def invite(self, home: Address, name: str, call: int, ticket: bytes, relay: Address) -> None:
        """As Others.invite."""
        if home == self.here:
            self._machine.invite(name, call, ticket, relay, time.monotonic_ns())
            self._drain()
            return
        self._start(self._publish(home, [name, call, ticket, list(relay)]))

    # ---- talking to Redis ----------------------------------------------------------------------------
    async def run(self) -> None:
        """Say that we are alive, learn who else is, and listen to the others."""
        listening = asyncio.ensure_future(self._listen())
        try:
            while True:
                try:
                    await self._beat()
                except RedisError as error:
                    log.warning("the shared directory does not answer: %s", type(error).__name__)
                await asyncio.sleep(BEAT_S)
        finally:
            listening.cancel()
            for task in self._tasks:
                task.cancel()
            await self._redis.aclose()

    async def _beat(self) -> None:
        mine = f"{PREFIX}server:{format_address(self.here)}"
        await self._redis.set(mine, b"", ex=ALIVE_S)
        found = {self.here}
        async for key in self._redis.scan_iter(match=f"{PREFIX}server:*"):
            found.add(parse_address(key.decode().removeprefix(f"{PREFIX}server:")))
        self._servers = sorted(found)

    async def _listen(self) -> None:
        while True:
            try:
                async with self._redis.pubsub() as channel:
                    await channel.subscribe(f"{PREFIX}to:{format_address(self.here)}")
                    while True:
                        message = await channel.get_message(ignore_subscribe_messages=True, timeout=1.0)
                        if message is not None:
                            self._on_invitation(message["data"])
            except RedisError:
                await asyncio.sleep(RETRY_S)

    def _on_invitation(self, data: bytes) -> None:
        try:
            name, call, ticket, (host, port) = msgpack.unpackb(data)
        except (ValueError, TypeError):
            log.warning("another server said what nobody understands")
            return
        self._machine.invite(name, call, ticket, (host, port), time.monotonic_ns())
        self._drain()

    async def _claim(self, name: str, key: bytes) -> None:
        owner = f"{PREFIX}owner:{name}"
        hold_s = max(1, self._settings.name_hold_s)
        whose = key
        if not await self._redis.set(owner, key, nx=True, ex=hold_s):
            whose = await self._redis.get(owner) or key
        if whose == key:
            await self._keep(name)  # before its owner hears that it is registered, and tells others
        _note(self._owners, name, whose)

    async def _find(self, name: str) -> None:
        found = await self._redis.get(f"{PREFIX}home:{name}")
        _note(self._homes, name, parse_address(found.decode()) if found else None)

    async def _keep(self, name: str) -> None:
        lifetime_s = self._settings.registration_lifetime_s
        async with self._redis.pipeline() as several:
            several.set(f"{PREFIX}home:{name}", format_address(self.here), ex=lifetime_s)
            several.expire(f"{PREFIX}owner:{name}", max(lifetime_s, self._settings.name_hold_s))
            await several.execute()

    async def _leave(self, name: str) -> None:
        home = f"{PREFIX}home:{name}"
        if await self._redis.get(home) == format_address(self.here).encode():
            await self._redis.delete(home)

    async def _publish(self, home: Address, invitation: list[Any]) -> None:
        await self._redis.publish(f"{PREFIX}to:{format_address(home)}", msgpack.packb(invitation))

    def _ask(self, what: str, answer: Coroutine[Any, Any, None]) -> None:
        """Have something answered, once at a time; then the machine handles again what waits for it."""
        if what in self._asked:
            answer.close()
            return
        self._asked.add(what)

        async def ask() -> None:
            try:
                await answer
            finally:
                self._asked.discard(what)
            self._machine.answered(time.monotonic_ns())
            self._drain()

        self._start(ask())

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(_logged(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def weight(call: int, server: Address) -> bytes:
    """How much a server is worth to a call: the same for all who compute it."""
    return hashlib.blake2b(f"{call} {format_address(server)}".encode(), digest_size=8).digest()


async def _logged(work: Coroutine[Any, Any, None]) -> None:
    try:
        await work
    except RedisError as error:
        log.warning("the shared directory does not answer: %s", type(error).__name__)


def _note(answers: dict[str, tuple[float, Any]], name: str, answer: Any) -> None:
    while len(answers) >= MAX_ANSWERS:
        del answers[next(iter(answers))]
    answers[name] = time.monotonic() + ANSWER_S, answer
