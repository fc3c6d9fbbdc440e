"""Recorded losses and arrivals from files, as `Replay` takes them.

* `*_is_lost.txt` as in Microsoft's PLC challenge (Interspeech 2022), and any text of flags: 0 or 1 for each packet,
  apart or together; in a file of that name one flag is 20 ms.
* CSV with a header: a column `lost` (0 or 1), or `sent_s` and `arrived_s` (or `_ms`, `_us`; empty: lost).
* pcap (not pcapng) of RTP, or of a call of ours: the largest flow; sequence numbers tell what was lost, and arrival
  times against evenly sent packets tell the delay.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from voicelink.errors import ConfigError
from voicelink.settings import LinkSettings
from voicelink.sim.link import Link
from voicelink.sim.pcap import largest_flow
from voicelink.sim.replay import LOST_ENTRY

PLC_CHALLENGE_MS: Final = 20.0
_UNITS_US: Final = {"_s": 1e6, "_ms": 1e3, "_us": 1.0}
_MAX_BYTES: Final = 1 << 28
#: Ten thousand years: beyond it, microseconds are lost in a float.
_MOST_US: Final = 3.2e17


@dataclass(frozen=True)
class TraceFile:
    """`entries`: delay over the fastest packet in us, -1: lost; each stands for `interval_ms` (0: not known)."""

    entries: tuple[int, ...]
    interval_ms: float


def read_trace(path: Path) -> TraceFile:
    """What the file at `path` holds. Raises ConfigError where it cannot be read or holds nothing of use."""
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise ConfigError(f"trace {path} is larger than {_MAX_BYTES >> 20} MB; cut it")
        data = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"cannot read the trace {path}: {error.strerror or error}") from None
    try:
        if path.suffix == ".pcap":
            found = _from_arrivals(*largest_flow(data))
        elif path.suffix == ".csv":
            found = _from_csv(data.decode())
        else:
            found = _from_flags(data.decode(), PLC_CHALLENGE_MS if path.stem.endswith("is_lost") else 0.0)
    except (ValueError, OverflowError, csv.Error) as error:
        raise ConfigError(f"trace {path}: {error}") from None
    if not found.entries:
        raise ConfigError(f"trace {path} holds no packets")
    return found


def with_trace(settings: LinkSettings, folder: Path | None = None) -> tuple[LinkSettings, tuple[int, ...]]:
    """`settings` with the interval of their trace file, where they leave it to the file, and the file's entries."""
    needed = "trace" in (settings.loss_model, settings.jitter_model)
    if not settings.trace:
        if needed:
            raise ConfigError("a trace is to be replayed, and none is named; set trace to its file")
        return settings, ()
    if not needed:
        raise ConfigError(f"trace {settings.trace} is of no use; set loss_model or jitter_model to trace as well")
    found = read_trace((folder or Path()) / settings.trace)
    return replace(settings, trace_interval_ms=settings.trace_interval_ms or found.interval_ms), found.entries


def open_link(settings: LinkSettings, way: int = 0) -> Link:
    """A link with its trace read from its file. Raises ConfigError."""
    complete, entries = with_trace(settings)
    return Link(complete, way, entries)


# ---- helpers -------------------------------------------------------------------------------------
def _from_flags(text: str, interval_ms: float) -> TraceFile:
    flags = "".join(text.split())
    if set(flags) - {"0", "1"}:
        raise ValueError("not a text of 0 and 1, a flag for each packet (1: lost); CSV files end in .csv")
    return TraceFile(tuple(LOST_ENTRY if flag == "1" else 0 for flag in flags), interval_ms)


def _from_csv(text: str) -> TraceFile:
    rows = csv.DictReader(text.splitlines(), skipinitialspace=True)
    names = [name.strip().lower() for name in rows.fieldnames or ()]
    rows.fieldnames = names
    if "lost" in names or "is_lost" in names:
        column = "lost" if "lost" in names else "is_lost"
        return _from_flags("\n".join(row[column] or "" for row in rows), 0.0)
    for suffix, unit_us in _UNITS_US.items():
        if {f"sent{suffix}", f"arrived{suffix}"} <= set(names):
            pairs = [(row[f"sent{suffix}"] or "", row[f"arrived{suffix}"] or "") for row in rows]
            sent = [_time_us(a, unit_us) for a, _ in pairs]
            return _from_times(sent, [_time_us(b, unit_us) if b.strip() else None for _, b in pairs])
    raise ValueError("its header names neither lost, nor sent_s and arrived_s (or _ms, _us)")


def _time_us(text: str, unit_us: float) -> float:
    value = float(text) * unit_us
    if not abs(value) < _MOST_US:
        raise ValueError(f"the time {text.strip()!r} is out of range")
    return value


def _from_times(sent_us: Sequence[float], came_us: Sequence[float | None]) -> TraceFile:
    pairs = list(zip(sent_us, came_us, strict=True))
    delays = [None if came is None else came - sent for sent, came in pairs]
    known = [delay for delay in delays if delay is not None]
    least = min(known, default=0.0)
    entries = tuple(LOST_ENTRY if delay is None else round(delay - least) for delay in delays)
    span_us = sent_us[-1] - sent_us[0] if len(sent_us) > 1 else 0.0
    return TraceFile(entries, span_us / 1000 / (len(sent_us) - 1) if span_us > 0 else 0.0)


def _from_arrivals(numbers: Iterable[int], came_us: Sequence[float]) -> TraceFile:
    """From sequence numbers (unwrapped) and arrival times, for packets sent at even times."""
    came: dict[int, float] = {}
    for number, when_us in zip(numbers, came_us, strict=True):
        came.setdefault(number, when_us)
    first, last = min(came), max(came)
    if last - first < 1:
        raise ValueError("its largest flow holds fewer than two packets")
    interval_us = (came[last] - came[first]) / (last - first)
    sent = [interval_us * i for i in range(last - first + 1)]
    return _from_times(sent, [came.get(first + i) for i in range(last - first + 1)])
