"""`voicelink train`: from a folder of speech to a model folder. Needs the train extra."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from voicelink.commands.common import MAX_BITRATE_BPS, MIN_BITRATE_BPS, CodecOptions, Common, command
from voicelink.errors import ConfigError

Data = Annotated[Path, typer.Option(metavar="DIR", help="Prepared folder, from `voicelink train prepare`.")]
Run = Annotated[Path, typer.Option(metavar="DIR", help="Run folder; a run that is there goes on where it stopped.")]
Threads = Annotated[int, typer.Option(min=1, max=256, help="Processor threads.")]
#: Kinds of recipes that go on from a coder's and a vocoder's run.
LATER = ("pitch", "finetune", "balance", "bigvgan")
Steps = Annotated[int | None, typer.Option(min=1, help="Steps in all (default: the recipe's).")]


def register(app: typer.Typer) -> None:
    """Add the subcommands."""
    group = typer.Typer(no_args_is_help=True, help="Train a model, from a folder of speech to a model folder.")
    command(group, "prepare", "voicelink train prepare speech/ --out data --dev-speakers 0.05")(prepare)
    command(group, "codec", "voicelink train codec --data data --out runs/coder --threads 2")(coder)
    command(group, "vocoder", "voicelink train vocoder --data data --out runs/vocoder")(vocoder)
    command(group, "export", "voicelink train export --coder runs/coder --vocoder runs/finetune --out model")(export)
    command(group, "evaluate", "voicelink train evaluate references/ --bitrate 5500 --bitrate 1400")(evaluate)
    app.add_typer(group, name="train")


def prepare(
    common: Common,
    folders: Annotated[list[Path], typer.Argument(metavar="FOLDER...", help="Audio files, any rate and format.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Prepared folder to write.")],
    dev_speakers: Annotated[float, typer.Option(min=0, max=0.9, help="Share of speakers kept for development.")] = 0.0,
    workers: Annotated[int, typer.Option(min=1, max=256, help="Processes.")] = 1,
) -> None:
    """Resample, normalise and track F0 of every audio file; may be interrupted and started again.

    A file's source is its folder's name, its speaker the file's.
    """
    from voicelink.train.prepare import prepare as run  # noqa: PLC0415
    from voicelink.units import FRAME_SAMPLES, SAMPLE_RATE_HZ  # noqa: PLC0415

    try:
        clips = run(folders, out, dev_speakers=dev_speakers, workers=workers)
    except KeyboardInterrupt:
        sys.stderr.write(f"{out}: stopped; the same command goes on\n")
        raise
    hours = sum(clip.frames for clip in clips) * FRAME_SAMPLES / SAMPLE_RATE_HZ / 3600
    dev = sum(clip.split == "dev" for clip in clips)
    figures = {"files": len(clips), "dev_files": dev, "hours": round(hours, 3), "out": str(out)}
    common.result(figures, [f"{out}: {len(clips)} files ({dev} for development), {hours:.2f} hours"])


def coder(
    common: Common,
    data: Data,
    out: Run,
    recipe: Annotated[str, typer.Option(metavar="FILE.toml", help="Recipe (default: the shipped one).")] = "coder",
    steps: Steps = None,
    threads: Threads = 1,
) -> None:
    """Train the BVRNN coder. Ctrl-C saves and stops (exit code 130); the same command goes on."""
    _run(common, ("coder",), recipe, data, out, threads, steps=steps)


def vocoder(
    common: Common,
    data: Data,
    out: Run,
    recipe: Annotated[
        str,
        typer.Option(
            metavar="FILE.toml|pitch|finetune|balance|bigvgan", help="Recipe (default: the shipped first stage)."
        ),
    ] = "vocoder",
    coder: Annotated[Path | None, typer.Option(metavar="DIR", help="Later stages: run folder of the coder.")] = None,
    vocoder: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Later stages: run folder of the stage before.")
    ] = None,
    steps: Steps = None,
    threads: Threads = 1,
) -> None:
    """Train the harmonic vocoder; by --recipe pitch, finetune or balance a later stage, by bigvgan another vocoder."""
    runs = {"coder_run": coder and str(coder), "vocoder_run": vocoder and str(vocoder)}
    _run(common, ("vocoder", *LATER), recipe, data, out, threads, steps=steps, **runs)


def export(
    common: Common,
    coder: Annotated[Path, typer.Option(metavar="DIR", help="Run folder of the coder.")],
    vocoder: Annotated[Path, typer.Option(metavar="DIR", help="Run folder of the vocoder (either stage).")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Model folder to write; its name is the model's.")],
    licence: Annotated[str, typer.Option(help="Licence of the weights.")] = "CC-BY-4.0",
    notes: Annotated[str, typer.Option(help="A line on how it was made.")] = "",
) -> None:
    """Write a model folder from two training runs. Then --model DIR selects it."""
    from voicelink.train.export import export_model  # noqa: PLC0415

    model_id = export_model(coder, vocoder, out, licence=licence, notes=notes)
    common.result({"model_id": model_id, "out": str(out)}, [f"{out}: model {model_id}"])


def evaluate(
    common: Common,
    codec: CodecOptions,
    references: Annotated[Path, typer.Argument(metavar="FOLDER", help="Audio files, or one folder an item with ref.*")],
    bitrate: Annotated[
        list[int] | None,
        typer.Option(
            metavar="BPS", min=MIN_BITRATE_BPS, max=MAX_BITRATE_BPS, help="Bitrate to code at; may be repeated."
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Keep decoded WAV files here.")] = None,
    metric: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Metric; may be repeated. Default: all at hand.")
    ] = None,
    rounds: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=0, max=8, help="Rounds of the encoder search. Default: the model's.", show_default=False
        ),
    ] = None,
    seconds: Annotated[
        float | None, typer.Option(metavar="S", min=1, help="Of each file the first so many seconds. Default: all.")
    ] = None,
    by_source: Annotated[
        bool, typer.Option("--by-source", help="Also the figures of each folder below FOLDER by itself.")
    ] = False,
    robustness: Annotated[
        bool,
        typer.Option(
            "--robustness", help="Instead: lost frames, noise, levels, silence, two talkers, music; 5.5 kbps."
        ),
    ] = False,
) -> None:
    """Score a model by every metric at hand, uncoded (vocoder alone) and at each bitrate, beside other codecs' audio.

    Other audio files in the items' folders (ITEM/*.flac beside ITEM/ref.flac) are scored as further conditions.
    """
    settings = common.settings(codec.options()).codec
    from voicelink.codec import load_codec  # noqa: PLC0415
    from voicelink.train.evaluate import METRICS, usable  # noqa: PLC0415
    from voicelink.train.evaluate import evaluate as run  # noqa: PLC0415

    model = load_codec(settings.model or None, engine=settings.engine)  # type: ignore[arg-type]
    if robustness:
        from voicelink.train.robustness import robustness as measure  # noqa: PLC0415

        found = {name: round(value, 4) for name, value in measure(model, references).items()}
        common.result({"model": model.model_id, **found}, [f"{name:24} {value:9.3f}" for name, value in found.items()])
        return
    names, missing = usable(metric or METRICS)
    for line in missing:
        typer.echo(f"left out: {line}", err=True)
    rows = run(model, references, bitrate or [5500, 2750, 1400], out, names, rounds, seconds, by_source)
    common.result({"model": model.model_id, "conditions": rows}, _table(rows, names))


def _run(
    common: Common, kinds: tuple[str, ...], recipe: str, data: Path, out: Path, threads: int, **changes: Any
) -> None:
    """Train by a recipe of one of the `kinds`. Raises KeyboardInterrupt where it was stopped before the end."""
    from voicelink.train.recipe import KINDS, load_recipe, run_recipe, with_sources_of  # noqa: PLC0415

    kind = load_recipe(recipe)["kind"]
    if kind not in kinds:
        raise ConfigError(f"--recipe {recipe}: is of kind {kind}; this command trains by {' or '.join(kinds)}")
    if kind not in LATER and any(changes.get(run) for run in ("coder_run", "vocoder_run")):
        raise ConfigError("--coder and --vocoder are for --recipe pitch, finetune, balance and bigvgan")
    chosen = load_recipe(recipe, **changes)
    if recipe in KINDS:
        chosen = with_sources_of(chosen, data)
    reached = run_recipe(chosen, data, out, threads)
    done = reached >= chosen["steps"]
    text = "done" if done else "stopped; the same command goes on"
    common.result({"step": reached, "steps": chosen["steps"], "out": str(out)}, [f"{out}: step {reached}, {text}"])
    if not done:
        raise KeyboardInterrupt


def _table(rows: list[dict[str, Any]], names: list[str]) -> list[str]:
    """Mean and 95 % confidence half-width of each metric, a condition a line."""
    columns = [*names, "mel_db"]
    lines = ["condition   " + "".join(f"{name[:17]:>18}" for name in columns)]
    source = None
    for row in rows:
        if row["source"] != source:
            source = row["source"]
            lines.append(f"{source}, {row['items']} items")
        cells = [_with_interval(row.get(name), row.get(f"{name}_ci95")) for name in columns]
        lines.append(f"{row['condition']:12}" + "".join(f"{cell:>18}" for cell in cells))
    return lines


def _with_interval(mean: float | None, half: float | None) -> str:
    if mean is None:
        return "-"
    return f"{mean:.3f}" + ("" if half is None else f" +- {half:.3f}")
