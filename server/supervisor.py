"""Several processes that serve together: started by fork, started again where one ends, stopped together.

This process serves nothing itself and runs no event loop. It keeps the sockets, so that a process that ends unforeseen
finds them, and what came meanwhile, where they were.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import signal
import socket
import sys
import time
from collections import deque
from collections.abc import Callable
from typing import Final

from voicelink_server.notify import notify

log = logging.getLogger("voicelink.server")

#: So many ends of processes in so long a time, and it is given up.
MAX_ENDS: Final = 5
ENDS_WINDOW_S: Final = 10.0
_BUFFER_BYTES: Final = 1 << 20


class Supervisor:
    """`serve(number, channels, parent)` is what each process does, until SIGTERM, or until `parent` can be read.

    The first process has a channel to each of the others, each of these one to the first.
    """

    def __init__(self, processes: int, serve: Callable[[int, list[socket.socket], int], None]) -> None:
        self._processes, self._serve = processes, serve
        self._pids: dict[int, int] = {}
        self._stopping = 0
        pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in range(processes - 1)]
        for pair in pairs:
            for sock in pair:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER_BYTES)
        self._channels = [[pair[0] for pair in pairs], *([pair[1]] for pair in pairs)]
        self._parent, self._life = os.pipe()  # its writing end closes when we end, however that happens

    def start(self) -> None:
        """Start all processes."""
        gc.collect()
        gc.freeze()  # what is there now is shared by all, as long as nobody writes to it
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        for process in range(self._processes):
            self._fork(process)

    def wait(self) -> bool:
        """Until all have stopped; False where they ended unforeseen again and again."""
        ends: deque[float] = deque(maxlen=MAX_ENDS)
        fine = True
        while self._pids:
            pid, status = os.wait()
            process = self._pids.pop(pid, None)
            if process is None or self._stopping:
                continue
            log.warning("process %d ended with status %d and is started again", process, status)
            ends.append(time.monotonic())
            if len(ends) == MAX_ENDS and ends[-1] - ends[0] < ENDS_WINDOW_S:
                fine = False
                self._stop()
            else:
                self._fork(process)
        return fine

    def _on_signal(self, number: int, _: object) -> None:
        notify("STOPPING=1")
        self._stop()

    def _stop(self) -> None:
        self._stopping += 1
        for pid in list(self._pids):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)

    def _fork(self, process: int) -> None:
        sys.stdout.flush()
        signals = {signal.SIGTERM, signal.SIGINT}
        signal.pthread_sigmask(signal.SIG_BLOCK, signals)
        pid = os.fork()
        if pid:
            self._pids[pid] = process
            signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)
            return
        code = 1
        try:
            os.close(self._life)
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # from the terminal, for all of us: the parent passes it on
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)
            self._serve(process, self._channels[process], self._parent)
            code = 0
        except BaseException:
            log.exception("process %d failed", process)
        finally:
            os._exit(code)
