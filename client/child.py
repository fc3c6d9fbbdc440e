"""A child process that talks in JSON lines: started, read, and ended whatever happens."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from voicelink.errors import CallError

STOP_TIMEOUT_S: Final = 3.0
#: A codec on one thread is the point; these keep numerical libraries from starting more.
ONE_THREAD: Final = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
#: Every frame reads all weights from memory; in huge pages (glibc 2.35 on; ignored elsewhere) that costs a tenth less.
HUGE_PAGES: Final = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}

#: Told of each message: the child's name and the message.
MessageObserver = Callable[[str, dict[str, Any]], None]


class Child:
    """A process whose standard output is JSON lines, and which ends when its standard input is closed."""

    def __init__(
        self, name: str, process: asyncio.subprocess.Process, log: Path, observer: MessageObserver | None
    ) -> None:
        self.name, self._process, self._log, self._observer = name, process, log, observer

    def go(self) -> None:
        """Write a line to it: begin."""
        assert self._process.stdin is not None
        self._process.stdin.write(b"go\n")

    async def read_until(self, key: str, timeout_s: float) -> dict[str, Any]:
        """Messages until one whose `event` is `key`, or that has `key`. CallError on failure or timeout."""
        try:
            async with asyncio.timeout(timeout_s):
                while True:
                    message = await self._message()
                    if key in (message.get("event"), *message):
                        return message
        except TimeoutError:
            raise CallError(f"{self.name}: no '{key}' within {timeout_s:.0f} s; {self._complaint()}") from None

    async def finish(self, timeout_s: float) -> None:
        """Wait for its end. Raises CallError where it failed or goes on."""
        try:
            code = await asyncio.wait_for(self._process.wait(), timeout_s)
        except TimeoutError:
            raise CallError(f"{self.name}: does not end") from None
        if code:
            raise CallError(f"{self.name}: {self._complaint()}")

    async def stop(self) -> None:
        """Close its input and end it: politely, then not."""
        process = self._process
        if process.stdin is not None:
            process.stdin.close()
        for end in (process.terminate, process.kill):
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    end()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(process.wait(), STOP_TIMEOUT_S)
        await process.wait()

    async def _message(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            with contextlib.suppress(ValueError):
                found = json.loads(line)
                if isinstance(found, dict):
                    if self._observer is not None:
                        self._observer(self.name, found)
                    return found
        await self._process.wait()
        raise CallError(f"{self.name}: {self._complaint()}")

    def _complaint(self) -> str:
        """The last line it wrote to standard error."""
        lines = self._log.read_text(errors="replace").strip().splitlines()
        code = self._process.returncode
        return lines[-1] if lines else "it said nothing" if code is None else f"it ended with exit code {code}"


@asynccontextmanager
async def child_process(
    name: str, command: tuple[str, ...], scratch: Path, observer: MessageObserver | None = None
) -> AsyncIterator[Child]:
    """Start a process in a session of its own: Ctrl-C reaches us alone, and we end it."""
    log = scratch / f"{name}.log"
    with log.open("wb") as errors:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=errors,
            env=os.environ | HUGE_PAGES | ONE_THREAD,
            start_new_session=True,
            limit=1 << 20,
        )
    child = Child(name, process, log, observer)
    try:
        yield child
    finally:
        await asyncio.shield(child.stop())
