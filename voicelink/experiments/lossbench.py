"""`voicelink bench loss`: measures the loss table piece by piece, goes on where it stopped, writes the pages."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import voicelink
from voicelink.audio.files import write_bytes
from voicelink.experiments import losspage, losstable, metrics, opus
from voicelink.experiments.losssettings import OPUS, SETTINGS
from voicelink.experiments.store import Store

JUDGES: Final = ("estoi", "plcmos")
#: Rounds of the encoder search: the most effort that keeps time on a core, as Opus has its highest complexity.
SEARCH: Final = 2
#: (codec, wire rate, seed), with its place in the order.
Piece = tuple[int, str, int, int]


def bench_loss(
    out: Path, codec: Any, *, seeds: int, seconds: float, words: bool = False, wires: Sequence[int] = (),
    codecs: Sequence[str] = (), search: int = SEARCH,
    progress: Callable[[int, int, str], None] = lambda done, total, text: None,
) -> dict[str, Any]:  # fmt: skip
    """Measure what is not yet in `out`, and write rows.csv, rows.parquet, loss.md and loss.html there.

    Only `wires`, kbps, and `codecs`, where any are named. Rows there of other settings than those stated now are
    measured anew. voicelink codes with `search` rounds of the encoder search. `progress` hears rows done, rows in all,
    and what was done last. Raises ConfigError where the folder cannot be used or a package is missing.
    KeyboardInterrupt leaves the folder ready to go on.
    """
    judges = [*JUDGES, *([losstable.WORDS] if words else [])]
    metrics.available(judges)
    opus.library()
    pieces = [p for p in _pieces(seeds) if (not wires or p[2] in wires) and (not codecs or p[1] in codecs)]
    each = len(losstable.CONDITIONS)
    store = Store(out, _plan(codec, seconds, judges, search), resume=True)
    try:
        for done, (number, name, wire_kbps, seed) in enumerate(pieces, 1):
            if not _up_to_date(store.done.get(number, ())):
                store.add(number, _rows(name, wire_kbps, seed, seconds, codec, judges, search), {})
            progress(each * done, each * len(pieces), f"{name} {wire_kbps} kbps, seed {seed}")
    finally:
        try:
            store.write_tables()
            made = losspage.cells([row for row in store.rows() if _up_to_date([row])])
            _write_pages(out, made, seeds, seconds, codec, search)
        finally:
            store.close()
    return {
        "seeds": seeds, "seconds": seconds, "model": codec.model_id, "search_rounds": search, "opus": opus.version(),
        "out": str(out), **losspage.summary(made), "cells": made,
    }  # fmt: skip


# ---- helpers -------------------------------------------------------------------------------------
def _pieces(seeds: int) -> Iterator[Piece]:
    """All cells with the first seed come first: what is there after an hour is a whole table."""
    number = 0
    for seed in range(1, seeds + 1):
        for wire_kbps in losstable.WIRE_KBPS:
            for name in (losspage.OPUS, losspage.OURS):
                yield number, name, wire_kbps, seed
                number += 1


def _rows(
    name: str, wire_kbps: int, seed: int, seconds: float, codec: Any, judges: Sequence[str], search: int
) -> list[Any]:
    if name == losspage.OURS:
        return losstable.ours(wire_kbps, losstable.CONDITIONS, seed, seconds, codec, judges, search)
    return [losstable.opus_row(wire_kbps, c, seed, seconds, judges) for c in losstable.CONDITIONS]


def _up_to_date(rows: Sequence[dict[str, Any]]) -> bool:
    """Whether there are rows, all of the settings that are stated now."""
    stated: dict[str, Any] = {losspage.OURS: SETTINGS, losspage.OPUS: OPUS}
    return bool(rows) and all(
        row["setting"] == stated[row["codec"]][row["wire_kbps"], row["loss"], row["burst_ms"]].text for row in rows
    )


def _plan(codec: Any, seconds: float, judges: Sequence[str], search: int) -> dict[str, Any]:
    """What decides the rows, but for the settings, which each row tells. More seeds may be asked for later."""
    return {
        "title": "Loss table", "about": "voicelink beside Opus", "version": voicelink.__version__,
        "model": codec.model_id, "engine": codec.engine.name, "search": search, "opus": opus.version(),
        "seconds": seconds, "metrics": list(judges), "codecs": [losspage.OURS, losspage.OPUS],
    }  # fmt: skip


def _write_pages(
    out: Path, made: Sequence[dict[str, Any]], seeds: int, seconds: float, codec: Any, search: int
) -> None:
    about = (
        f"voicelink ({codec.model_id}, {search} rounds of search) and {opus.version()} at the same rate on the wire, "
        f"all headers of media packets counted; {seeds} seeds of {seconds:g} s, the same losses in time for both. "
        "Leads are means over the seeds with 95 % confidence."
    )
    write_bytes(out / "loss.md", losspage.markdown(made).encode())
    write_bytes(out / "loss.html", losspage.page(made, about).encode())
