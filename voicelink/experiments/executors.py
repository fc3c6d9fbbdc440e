"""Where a sweep's pieces of work run: processes of this machine, or a Dask cluster.

Both take few pieces at a time, give back each with its outcome as it finishes, and do again what a worker was at when
it was killed; a piece that kills its worker three times is given up and recorded as failed.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any, Final

from voicelink.errors import ConfigError, first_line
from voicelink.experiments.work import Outcome, Unit, failed, run_unit

ATTEMPTS: Final = 3
CONNECT_S: Final = 10
#: Read by the numeric libraries when a worker loads them: a worker is a core.
THREADS: Final = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")

Finished = Iterator[tuple[Unit, Outcome]]


def local(units: Iterable[Unit], workers: int) -> Finished:
    """Run on `workers` processes of this machine."""
    waiting, attempts = deque(units), Counter[int]()
    while waiting:
        with _one_thread(), _pool(workers) as pool:
            try:
                yield from _drain(pool, waiting, workers)
            except _Broken as broken:
                # The pool is lost with all that ran in it, and does not say which piece it was: all of them go again,
                # one after the other from the second time on, so that only the guilty one reaches the limit.
                attempts.update(unit.number for unit in broken.running)
                given_up = [unit for unit in broken.running if attempts[unit.number] >= ATTEMPTS]
                yield from ((unit, failed(unit, f"its worker died {ATTEMPTS} times")) for unit in given_up)
                again = [unit for unit in broken.running if unit not in given_up]
                waiting.extendleft(reversed(again))
                workers = 1 if any(attempts[unit.number] > 1 for unit in again) else workers


def cluster(units: Iterable[Unit], address: str) -> Finished:
    """Run on the workers of the Dask scheduler at `address`, which must have the same voicelink installed.

    Raises ConfigError where the scheduler cannot be reached.
    """
    from distributed import as_completed  # noqa: PLC0415

    waiting = deque(units)
    with _client(address) as client:
        threads = max(1, sum(client.nthreads().values()))
        running: dict[Any, Unit] = {}
        done: Any = as_completed(loop=client.loop)  # type: ignore[no-untyped-call]
        while waiting or running:
            while waiting and len(running) < 2 * threads:
                unit = waiting.popleft()
                future = client.submit(run_unit, unit, pure=False, retries=0)
                running[future] = unit
                done.add(future)
            future = next(done)
            unit = running.pop(future)
            yield unit, _result(unit, future)


class _Broken(Exception):  # noqa: N818 (not an error of ours: a signal from one helper to another)
    def __init__(self, running: list[Unit]) -> None:
        super().__init__("a worker died")
        self.running = running


def _drain(pool: ProcessPoolExecutor, waiting: deque[Unit], workers: int) -> Finished:
    """Work off `waiting`. Raises _Broken with what was running when a worker died."""
    running: dict[Future[Outcome], Unit] = {}
    try:
        while waiting or running:
            while waiting and len(running) < workers:
                running[pool.submit(run_unit, waiting[0])] = waiting[0]
                waiting.popleft()
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                outcome = future.result()
                yield running.pop(future), outcome
    except BrokenProcessPool:
        raise _Broken(list(running.values())) from None
    except BaseException:  # Ctrl-C, or the caller has gone: what is half done is not waited for
        for child in multiprocessing.active_children():
            child.terminate()
        raise


def _pool(workers: int) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), initializer=_begin)


def _begin() -> None:
    """In a worker: the parent alone hears Ctrl-C, and ends the workers; they do not outlive it where it is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Let processes started meanwhile use one thread each."""
    before = {name: os.environ.get(name) for name in THREADS}
    os.environ.update(dict.fromkeys(THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def _client(address: str) -> Any:
    from distributed import Client  # noqa: PLC0415 (heavy, and only a cluster needs it)

    try:
        return Client(address, timeout=CONNECT_S, set_as_default=False)  # type: ignore[no-untyped-call]
    except (OSError, ValueError, TimeoutError) as error:
        raise ConfigError(
            f"--scheduler {address}: cannot be reached ({first_line(error)}); is `dask scheduler` running there?"
        ) from None


def _result(unit: Unit, future: Any) -> Outcome:
    try:
        outcome: Outcome = future.result()
    except Exception as error:  # killed again and again, or lost on the way back
        return failed(unit, f"{type(error).__name__}: {first_line(error)}")
    return outcome
