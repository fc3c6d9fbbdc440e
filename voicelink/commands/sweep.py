"""`voicelink sweep` and `voicelink report`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from voicelink.commands.common import CodecOptions, Common, command


def register(app: typer.Typer) -> None:
    """Add the subcommands."""
    command(app, "sweep", "voicelink sweep random-loss --out results --workers 2")(sweep)
    command(app, "report", "voicelink report results --cell loss=0.2 --cell loss=0.2,redundancy=2")(report)


def sweep(
    common: Common,
    codec: CodecOptions,
    plan: Annotated[
        str, typer.Argument(metavar="SWEEP.toml|NAME", help="A sweep's file, or the name of a shipped one.")
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for tables, audio and traces.")],
    workers: Annotated[
        int | None, typer.Option(min=1, max=1024, help="Processes on this machine (default: one a core).")
    ] = None,
    scheduler: Annotated[
        str, typer.Option(metavar="ADDRESS", help="Run on the Dask cluster of this scheduler, such as tcp://host:8786.")
    ] = "",
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the sweep in DIR where it was stopped.")] = False,
) -> None:
    """A grid of simulated calls x seeds x clips, scored: rows to CSV and Parquet as they finish.

    May be interrupted or killed at any time; the same command with --resume goes on. A row that fails is recorded with
    its error. `voicelink report DIR` draws the results.
    """
    effective = common.effective(codec.options())
    settings = effective.settings.codec
    from voicelink.experiments.plan import find_sweep, load_sweep  # noqa: PLC0415
    from voicelink.experiments.progress import Progress  # noqa: PLC0415
    from voicelink.experiments.run import run_sweep  # noqa: PLC0415

    chosen = load_sweep(find_sweep(plan))
    engine = "" if settings.engine == "auto" else settings.engine
    try:
        done = run_sweep(
            chosen, out, model=settings.model, engine=engine, workers=workers or os.cpu_count() or 1,
            scheduler=scheduler, resume=resume, progress=Progress("rows").show,
        )  # fmt: skip
    except KeyboardInterrupt:
        sys.stderr.write(f"{out}: stopped; the same command with --resume goes on\n")
        raise
    figures = {"cells": done.cells, "rows": done.rows, "failed": done.failed, "speed_x": done.speed_x, "out": str(out)}
    failed = f", {done.failed} failed (column error)" if done.failed else ""
    common.result(
        figures,
        [
            f"{out}: {done.rows} rows of {done.cells} cells{failed}; {done.speed_x:.1f} simulated seconds a second",
            f"rows.csv and rows.parquet hold the results; `voicelink report {out}` draws them",
        ],
    )


def report(
    common: Common,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of a sweep, finished or not.")],
    players: Annotated[int, typer.Option(min=0, max=200, help="Most recordings to put into the page.")] = 24,
    cell: Annotated[
        list[str] | None,
        typer.Option(
            metavar="N|KEY=VALUE,...",
            help="Cells whose recordings go into the page: by number, or all with these settings. May be repeated.",
        ),
    ] = None,
) -> None:
    """Figures (PNG, SVG and their numbers as CSV) and one self-contained HTML page from a sweep's folder."""
    from voicelink.experiments.report import write_report  # noqa: PLC0415

    page = write_report(folder, players=players, cells=cell or ())
    common.result(
        {"report": str(page)}, [f"{page}: open it in a browser; the figures are in {page.parent / 'figures'}"]
    )
