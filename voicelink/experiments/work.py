"""One piece of a sweep's work, done in a worker process: simulate, render, score; rows and files come back.

A piece is a pure function of its `Unit`: which worker does it, when, and after what else changes nothing, so that a
resumed sweep and one on a cluster give the same rows.
"""

from __future__ import annotations

import io
import json
import tempfile
import threading
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

import voicelink
from voicelink.errors import VoicelinkError, WeightsError, first_line
from voicelink.experiments import metrics, network, peers
from voicelink.experiments.clips import Clip
from voicelink.experiments.plan import OURS
from voicelink.sim.call import simulate
from voicelink.sim.render import aligned, render, speech_of
from voicelink.sim.scenario import Scenario
from voicelink.sim.trace import Trace
from voicelink.units import SAMPLE_RATE_HZ

if TYPE_CHECKING:
    from voicelink.codec import Codec

Row = dict[str, Any]
LISTENER: Final = 1
#: Judges keep state of their own; a cluster's worker may have several threads.
_ONE_AT_A_TIME = threading.Lock()


@dataclass(frozen=True)
class Model:
    """The codec model that renders: name or folder, engine, and the identity that it must have."""

    name: str
    engine: str
    model_id: str
    sha256: str


@dataclass(frozen=True)
class Job:
    """One row to make: a cell's scenario under one seed. `keep`: its trace and audio too."""

    cell: int
    seed: int
    scenario: Scenario
    keep: bool = False


@dataclass(frozen=True)
class Unit:
    """Jobs of one codec and clip, rendered together. `clip` and `model` are None where only the protocol runs."""

    number: int
    codec: str
    clip: Clip | None
    jobs: tuple[Job, ...]
    metrics: tuple[str, ...]
    model: Model | None


@dataclass
class Outcome:
    """Rows in the order of the jobs, and files to keep by their path within the sweep's folder."""

    rows: list[Row]
    files: dict[str, bytes] = field(default_factory=dict)


def run_unit(unit: Unit) -> Outcome:
    """Do a piece of work. What goes wrong in a job is told in its row, not raised."""
    with _ONE_AT_A_TIME:
        outcome = Outcome([])
        traces = [_attempt(_simulated, unit, replace(job.scenario, seed=job.seed)) for job in unit.jobs]
        heard = _heard(unit, traces)
        for job, trace, sound in zip(unit.jobs, traces, heard, strict=True):
            row, files = _attempt_row(unit, job, trace, sound)
            outcome.rows.append(row)
            outcome.files |= files
        return outcome


def failed(unit: Unit, reason: str) -> Outcome:
    """What is recorded for a unit that no worker could finish."""
    return Outcome([_identity(unit, job) | {"error": reason} for job in unit.jobs])


# ---- helpers -------------------------------------------------------------------------------------
def _attempt(function: Any, *arguments: Any) -> Any:
    """What `function` returns, or the error that it raised."""
    try:
        return function(*arguments)
    except Exception as error:
        return error


def _simulated(unit: Unit, scenario: Scenario) -> Trace:
    """The call; where pauses are left out, those of the clip."""
    if not scenario.dtx or unit.clip is None:
        return simulate(scenario)
    speech = speech_of(unit.clip.said(scenario.seconds))
    return simulate(scenario, speech=(speech, speech))


def _heard(unit: Unit, traces: list[Any]) -> list[Any]:
    """What was heard in each trace, or the error that kept it from being rendered; None for other codecs."""
    if unit.codec != OURS or unit.clip is None or unit.model is None:
        return [None] * len(traces)
    codec = _attempt(load, unit.model)
    if isinstance(codec, Exception):
        return [codec] * len(traces)
    made: list[Any] = list(traces)
    for seconds in dict.fromkeys(trace.seconds for trace in traces if isinstance(trace, Trace)):
        at = [i for i, trace in enumerate(traces) if isinstance(trace, Trace) and trace.seconds == seconds]
        sounds = _attempt(render, [traces[i] for i in at], unit.clip.said(seconds), codec, LISTENER)
        for place, i in enumerate(at):
            made[i] = sounds if isinstance(sounds, Exception) else sounds[place]
    return made


def _attempt_row(unit: Unit, job: Job, trace: Any, sound: Any) -> tuple[Row, dict[str, bytes]]:
    identity = _identity(unit, job)
    try:
        for found in (trace, sound):
            if isinstance(found, Exception):
                raise found
        figures, files = _row(unit, job, trace, sound)
    except Exception as error:
        text = str(error) if isinstance(error, VoicelinkError) else f"{type(error).__name__}: {first_line(error)}"
        return identity | {"error": text}, {}
    return identity | figures | {"error": None}, files


def _identity(unit: Unit, job: Job) -> Row:
    """Everything that says which row it is and what made it."""
    settings = {
        key: json.dumps(value, sort_keys=True) if isinstance(value, (list, dict)) else value
        for key, value in job.scenario.to_mapping().items()
        if key != "seed"
    }
    model, clip = unit.model, unit.clip
    return {
        "codec": unit.codec, "clip": clip.name if clip else "", "cell": job.cell, "seed": job.seed,
        "version": voicelink.__version__,
        "model": model.model_id if model else "", "model_sha256": model.sha256 if model else "",
        "engine": model.engine if model else "", "clip_sha256": clip.sha256 if clip else "",
    } | settings  # fmt: skip


def _row(unit: Unit, job: Job, trace: Trace, sound: Any) -> tuple[Row, dict[str, bytes]]:
    figures: Row = {"trace_digest": trace.digest()} | network.figures(trace, LISTENER)
    files: dict[str, bytes] = {}
    if unit.codec == OURS and job.keep:
        files[f"traces/cell{job.cell:04}-seed{job.seed}.npz"] = _saved(trace)
    if unit.clip is None:
        return figures, files
    said = unit.clip.said(trace.seconds)
    if unit.codec == OURS:
        reference, decoded = aligned(trace.ends[LISTENER], said, sound)
        rate = SAMPLE_RATE_HZ
    else:
        chosen = peers.plan(unit.codec, figures["wire_kbps"])
        if chosen is None:
            raise peers.impossible(unit.codec, figures["wire_kbps"])
        made = peers.call(chosen, said, replace(job.scenario, seed=job.seed), figures["buffer_mean_ms"] or 0.0)
        figures = dict.fromkeys(figures) | made.figures
        reference, decoded, sound, rate = said, made.heard, made.heard, made.rate_hz
    if job.keep:
        place = f"audio/{unit.clip.name}"
        files[f"{place}/{unit.codec}-cell{job.cell:04}-seed{job.seed}.flac"] = flac(sound, rate)
        files[f"{place}/said.flac"] = flac(said, SAMPLE_RATE_HZ)
    return figures | _scores(unit.metrics, reference, decoded, rate), files


def _scores(names: tuple[str, ...], reference: NDArray[np.float32], decoded: NDArray[np.float32], rate: int) -> Row:
    found = metrics.score(names, reference, SAMPLE_RATE_HZ, decoded, rate)
    return {name: round(value, 5) if np.isfinite(value) else None for name, value in found.items()}


@lru_cache(2)
def load(model: Model) -> Codec:
    """The codec, once a process. Raises WeightsError where it is not the one that the sweep was planned with."""
    from voicelink.codec import load_codec  # noqa: PLC0415

    codec = load_codec(model.name or None, engine=model.engine)  # type: ignore[arg-type]
    if codec.model_id != model.model_id:
        raise WeightsError(f"this worker has model {codec.model_id}, the sweep was planned with {model.model_id}")
    return codec


def flac(samples: NDArray[np.float32], rate_hz: int) -> bytes:
    """16-bit FLAC of float32 [samples] in +-1."""
    import soundfile  # noqa: PLC0415

    data = io.BytesIO()
    soundfile.write(data, np.clip(samples, -1, 1), rate_hz, format="FLAC", subtype="PCM_16")
    return data.getvalue()


def _saved(trace: Trace) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.npz"
        trace.save(path)
        return path.read_bytes()
