"""Opens, changes and reopens one end of the sound path on a thread of its own, since that may take a second."""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
import time
from collections.abc import Callable
from typing import Any, Final, Generic, Protocol, TypeVar

from voicelink.errors import AudioError

#: How often a device that is gone is looked for.
RETRY_S: Final = 1.0
#: How often PortAudio is asked for devices plugged in since; that costs half a second of a processor.
RESCAN_S: Final = 3.0
#: A call that ends waits no longer for a device that never comes back from being opened.
STUCK_S: Final = 3.0

_log = logging.getLogger(__name__)


class Openable(Protocol):
    """A `Source` or `Sink`."""

    def start(self, now_ns: int) -> None:
        """Begin."""

    def close(self) -> None:
        """Release what it holds."""


T = TypeVar("T", bound=Openable)


class Keeper(Generic[T]):
    """Keeps one end open. `take` gives what was opened since; all else happens on the keeper's thread.

    `open_end` opens what a text names (AudioError where it cannot), with longer buffers the more often it stumbled;
    `rescan` lets it see what was plugged in since.
    """

    def __init__(self, kind: str, text: str, open_end: Callable[[str, int], T], rescan: Callable[[], bool]) -> None:
        self._kind, self._open, self._rescan = kind, open_end, rescan
        self.text = text
        """What is open, or waited for: a device's name or number, or a file."""
        self.lost = False
        """Whether it is gone and looked for."""
        self._stumbled = 0
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._opened: queue.SimpleQueue[T] = queue.SimpleQueue()
        self._notices: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._rescanned_s = 0.0

    def take(self) -> T | None:
        """What was opened and started since the last call."""
        return _pop(self._opened)

    def notice(self) -> str | None:
        """The next sentence about the device for the user."""
        return _pop(self._notices)

    def change(self, text: str) -> None:
        """Open another one; the present one stays where that fails, and a notice says why."""
        self._do(lambda: self._change(text))

    def begin(self, end: T) -> None:
        """Start the first one, which may take as long as opening it; `take` gives it once it runs."""
        self._do(lambda: self._begin(end))

    def stumble(self, end: T) -> None:
        """Close what has one xrun after another, and open it again with longer buffers."""
        self._stumbled += 1
        self.dispose(end)
        self._do(self._look)

    def dispose(self, end: T) -> None:
        """Close what is no longer used."""
        self._do(lambda: _close(end))

    def lose(self, end: T, why: str = "") -> None:
        """Close what stopped working, and look for it until it is back."""
        self._tell(f"{self._kind} {self.text!r} is gone{why}; the call goes on without until it is back")
        self.lost = True
        self.dispose(end)

    def stop(self) -> None:
        """End the thread and close what was opened but not taken."""
        if self._thread is not None:
            self._jobs.put(None)
            self._thread.join(timeout=STUCK_S)
            self._thread = None
        while (end := self.take()) is not None:
            _close(end)

    def _do(self, job: Callable[[], None]) -> None:
        self._jobs.put(job)
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name=f"{self._kind} keeper", daemon=True)
            self._thread.start()

    def _work(self) -> None:
        while True:
            try:
                job = self._jobs.get(timeout=RETRY_S if self.lost else None)
            except queue.Empty:
                job = self._look
            if job is None:
                return
            job()

    def _change(self, text: str) -> None:
        end = self._try(text)
        if isinstance(end, AudioError):
            self._tell(f"{end}; the {self._kind} stays {self.text!r}")
            return
        self.text, self.lost = text, False
        self._tell(f"the {self._kind} is {text!r} now")
        self._opened.put(end)

    def _begin(self, end: T) -> None:
        started = self._started(end)
        if isinstance(started, AudioError):
            self.lose(end, f" ({started})")
        else:
            self._opened.put(end)

    def _look(self) -> None:
        end = self._try(self.text)
        if isinstance(end, AudioError):
            self.lost = True
            return
        if self.lost:
            self._tell(f"{self._kind} {self.text!r} is back")
        self.lost = False
        self._opened.put(end)

    def _try(self, text: str) -> T | AudioError:
        """Opened and started, after a look for new devices where that helps; or why not."""
        end = self._start(text)
        if isinstance(end, AudioError) and time.monotonic() >= self._rescanned_s + RESCAN_S:
            self._rescanned_s = time.monotonic()
            with contextlib.suppress(AudioError, OSError, ValueError):
                if self._rescan():
                    return self._start(text)
        return end

    def _start(self, text: str) -> T | AudioError:
        try:
            end = self._open(text, self._stumbled)
        except AudioError as error:
            return error
        return self._started(end)

    def _started(self, end: T) -> T | AudioError:
        try:
            end.start(time.monotonic_ns())
        except AudioError as error:
            _close(end)
            return error
        return end

    def _tell(self, text: str) -> None:
        _log.warning("%s", text)
        self._notices.put(text)


def _close(end: Openable) -> None:
    with contextlib.suppress(AudioError, OSError):
        end.close()


def _pop(waiting: queue.SimpleQueue[Any]) -> Any:
    try:
        return waiting.get_nowait()
    except queue.Empty:
        return None
