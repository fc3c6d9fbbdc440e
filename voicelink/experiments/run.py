"""Run a sweep: plan its pieces, hand them to workers, keep what comes back, go on where a run was stopped."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import voicelink
from voicelink.errors import ConfigError
from voicelink.experiments import executors, metrics, peers
from voicelink.experiments.clips import Clip
from voicelink.experiments.plan import OURS, Sweep
from voicelink.experiments.store import Store
from voicelink.experiments.work import Job, Model, Unit

#: Jobs that are rendered together. More are quicker to render; fewer are sooner safe from a kill.
BATCH: Final = 8
#: Jobs without sound are short.
PROTOCOL_BATCH: Final = 32
TABLES_EVERY_S: Final = 30.0


@dataclass(frozen=True)
class Done:
    """A sweep's end: what is in the table, and how fast this run made its part."""

    cells: int
    rows: int
    failed: int
    speed_x: float


def run_sweep(
    sweep: Sweep,
    out: Path,
    *,
    model: str = "",
    engine: str = "",
    workers: int = 1,
    scheduler: str = "",
    resume: bool = False,
    progress: Callable[[int, int, str], None] = lambda done, total, text: None,
) -> Done:
    """Run what is not yet in `out`; `progress` hears rows done, rows in all, and what was done last.

    `engine` "" takes torch where it is installed, which renders many calls at once. Raises ConfigError for what
    cannot be started; KeyboardInterrupt leaves the folder ready to go on.
    """
    require(sweep)
    units = list(plan_units(sweep, _model(model, engine) if sweep.clips else None))
    store = Store(out, _plan(sweep, units), resume=resume)
    started, simulated = time.monotonic(), 0.0
    try:
        waiting = [unit for unit in units if unit.number not in store.done]
        rows, tables = len(store.rows()), started
        progress(rows, sweep.rows, "resumed" if rows else "")
        finished = executors.cluster(waiting, scheduler) if scheduler else executors.local(waiting, workers)
        for unit, outcome in finished:
            store.add(unit.number, outcome.rows, outcome.files)
            rows += len(outcome.rows)
            simulated += sum(job.scenario.seconds for job in unit.jobs)
            progress(rows, sweep.rows, f"{unit.codec} {unit.clip.name if unit.clip else ''}")
            if time.monotonic() - tables > TABLES_EVERY_S:
                store.write_tables()
                tables = time.monotonic()
        return _done(sweep, store.rows(), simulated / max(1e-9, time.monotonic() - started))
    finally:
        try:
            store.write_tables()
        finally:
            store.close()


def require(sweep: Sweep) -> None:
    """Raise ConfigError, before any work, where a package that the sweep needs is missing."""
    if find_spec("pyarrow") is None:
        raise ConfigError("sweeps write Parquet by pyarrow, which is not installed: pip install 'voicelink[sweep]'")
    metrics.available(sweep.metrics)
    for codec in sweep.codecs:
        peers.require_peer(codec)


def plan_units(sweep: Sweep, model: Model | None) -> Iterator[Unit]:
    """Its pieces of work, always cut the same way, in the order of the table."""
    clips: tuple[Clip | None, ...] = sweep.clips or (None,)
    size = BATCH if sweep.clips else PROTOCOL_BATCH
    jobs = [Job(c.index, seed, c.scenario, sweep.kept(seed)) for c in sweep.cells for seed in sweep.seeds]
    number = 0
    for codec in sweep.codecs:
        for clip in clips:
            for at in range(0, len(jobs), size):
                used = model if codec == OURS else None
                yield Unit(number, codec, clip, tuple(jobs[at : at + size]), sweep.metrics, used)
                number += 1


# ---- helpers -------------------------------------------------------------------------------------
def _model(name: str, engine: str) -> Model:
    from voicelink.codec.model_folder import find_model, verify  # noqa: PLC0415

    info = find_model(name or None)
    verify(info)
    total = hashlib.sha256("".join(f"{file} {info.files[file]}\n" for file in sorted(info.files)).encode())
    chosen = engine or ("torch" if find_spec("torch") else "onnx")
    return Model(str(Path(name).resolve()) if name and info.folder == Path(name) else name, chosen, info.model_id,
                 total.hexdigest())  # fmt: skip


def _plan(sweep: Sweep, units: list[Unit]) -> dict[str, Any]:
    model = next((unit.model for unit in units if unit.model), None)
    return {
        "version": voicelink.__version__,
        "model": model.model_id if model else "",
        "model_sha256": model.sha256 if model else "",
        "engine": model.engine if model else "",
        "units": len(units),
    } | sweep.describe()


def _done(sweep: Sweep, rows: list[dict[str, Any]], speed_x: float) -> Done:
    return Done(len(sweep.cells), len(rows), sum(row["error"] is not None for row in rows), round(speed_x, 2))
