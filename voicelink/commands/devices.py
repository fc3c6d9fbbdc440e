"""`voicelink devices`."""

from __future__ import annotations

import typer

from voicelink.commands.common import Common, command


def register(app: typer.Typer) -> None:
    """Add the subcommand."""
    command(app, "devices", "voicelink devices --json")(devices)


def devices(common: Common) -> None:
    """Sound input and output devices, for --input and --output by name or number."""
    from voicelink_client.devices import list_devices  # noqa: PLC0415

    found = list_devices()
    lines = [
        f"{d['number']:3d}  {d['name']}  in {d['inputs']}, out {d['outputs']}, {d['rate_hz']} Hz"
        + (f"  (default {d['default']})" if d["default"] else "")
        for d in found
    ]
    common.result({"devices": found}, lines or ["no sound devices; use files or null for --input and --output"])
