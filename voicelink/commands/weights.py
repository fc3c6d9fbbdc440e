"""`voicelink weights`: the models that are there, and bringing in others."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from voicelink.commands.common import Common, command
from voicelink.errors import WeightsError

if TYPE_CHECKING:
    from voicelink.codec.model_folder import ModelInfo


def register(app: typer.Typer) -> None:
    """Add the subcommands."""
    group = typer.Typer(no_args_is_help=True, help="Codec models: list, verify, import, export.")
    command(group, "list", "voicelink weights list")(list_models)
    command(group, "verify", "voicelink weights verify my-model")(verify)
    command(group, "import", "voicelink weights import --bvrnn bvrnn_var_bitrate --vocoder bigvgan_causal --out paper")(
        import_
    )
    command(group, "export", "voicelink weights export h512-harmonic --out copy")(export)
    app.add_typer(group, name="weights")


def list_models(common: Common) -> None:
    """The shipped models, the default one first."""
    from voicelink.codec.model_folder import shipped_models  # noqa: PLC0415

    models = [_row(info) for info in shipped_models()]
    common.result({"models": models}, [_line(row) for row in models])


def verify(
    common: Common,
    models: Annotated[list[str] | None, typer.Argument(metavar="[NAME|DIR]...", help="Default: all shipped.")] = None,
) -> None:
    """Compare every file of a model with its checksum."""
    from voicelink.codec.model_folder import find_model, shipped_models, verify, verify_manifest  # noqa: PLC0415

    if not models:
        verify_manifest()
    infos = [find_model(model) for model in models] if models else shipped_models()
    for info in infos:
        verify(info)
    rows = [_row(info) | {"verified": True} for info in infos]
    common.result({"models": rows}, [f"{_line(row)}: every checksum is right" for row in rows])


def import_(
    common: Common,
    bvrnn: Annotated[Path, typer.Option(metavar="FILE", help="The authors' BVRNN checkpoint (64-bit or variable).")],
    vocoder: Annotated[Path, typer.Option(metavar="FILE", help="The authors' BigVGAN checkpoint.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Model folder to write.")],
    config: Annotated[
        Path | None, typer.Option(metavar="FILE.toml", help="The authors' configuration of the checkpoints.")
    ] = None,
) -> None:
    """Convert the checkpoints released with the paper to a model folder; they are under CC BY-NC 4.0.

    Then --model DIR selects it in every command that codes. Needs the train extra.
    """
    from voicelink.codec.checkpoint_import import import_checkpoints  # noqa: PLC0415
    from voicelink.codec.model_folder import read_info  # noqa: PLC0415

    row = _row(read_info(import_checkpoints(bvrnn, vocoder, out, config)))
    common.result({"models": [row]}, [f"wrote {_line(row)}"])


def export(
    common: Common,
    model: Annotated[str, typer.Argument(metavar="NAME|DIR", help="Model to export.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Model folder to write.")],
) -> None:
    """Write a model's ONNX graphs anew from its weights, beside a copy of them. Needs the train extra."""
    from voicelink.codec.engine_torch import load_modules  # noqa: PLC0415
    from voicelink.codec.model_folder import find_model, read_info, verify  # noqa: PLC0415
    from voicelink.codec.model_writer import save_model  # noqa: PLC0415

    info = find_model(model)
    verify(info)
    if out.exists():
        raise WeightsError(f"{out}: is there already; give a new folder")
    bvrnn, vocoder = load_modules(info)
    save_model(
        out, name=info.name, bvrnn=bvrnn, vocoder=vocoder, licence=info.licence, notes=info.notes,
        min_bits=info.min_bits, half=info.half,
    )  # fmt: skip
    row = _row(read_info(out))
    common.result({"models": [row]}, [f"wrote {_line(row)}"])


def _row(info: ModelInfo) -> dict[str, Any]:
    return {
        "name": info.name,
        "model_id": info.model_id,
        "folder": str(info.folder),
        "hidden": info.hidden,
        "min_bits": info.min_bits,
        "max_bits": info.bits,
        "vocoder": info.vocoder,
        "licence": info.licence,
        "size_bytes": info.size_bytes,
    }


def _line(row: dict[str, Any]) -> str:
    size = row["size_bytes"] / 1e6
    return f"{row['model_id']}: h = {row['hidden']}, {row['vocoder']}, {size:.1f} MB, {row['licence']}, {row['folder']}"
