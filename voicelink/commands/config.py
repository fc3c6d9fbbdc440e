"""`voicelink config`."""

from __future__ import annotations

from typing import Annotated

import typer

from voicelink.commands.common import Common, command


def register(app: typer.Typer) -> None:
    """Add the subcommand."""
    command(app, "config", "voicelink config --print --config my.toml")(config)


def config(
    common: Common,
    effective: Annotated[
        bool, typer.Option("--print", help="Show the effective settings, each with where it came from.")
    ] = False,
) -> None:
    """A commented sample of the settings file; with --print or --config the settings in force and their sources.

    Settings come from the file given with --config, then VOICELINK_* environment variables, then the command line.
    """
    from voicelink.config import as_dict, describe, load, sample  # noqa: PLC0415

    settings = load(common.config)
    shown = describe(settings) if effective or common.config is not None else sample()
    common.result({"settings": as_dict(settings)}, [shown.rstrip("\n")])
