"""Training runs -> a model folder, and the manifest of shipped models."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import toml
from torch import nn

from voicelink.codec.bigvgan import BigVgan
from voicelink.codec.bvrnn import Bvrnn, BvrnnConfig
from voicelink.codec.engine_torch import load_modules, make_vocoder
from voicelink.codec.harmonic import HarmonicVocoder
from voicelink.codec.model_folder import read_info, sha256
from voicelink.codec.model_writer import check_target, save_model
from voicelink.errors import WeightsError, first_line
from voicelink.train.loop import read_checkpoint

Module = TypeVar("Module", bound=nn.Module)


def export_model(
    coder_run: Path,
    vocoder_run: Path,
    out: Path,
    *,
    name: str | None = None,
    licence: str = "CC-BY-4.0",
    notes: str = "",
) -> str:
    """Write the model folder `out` from two run folders; returns its model id. Raises WeightsError."""
    out = out.resolve()
    check_target(out, name or out.name)
    bvrnn = load_coder(coder_run)
    vocoder = load_any_vocoder(vocoder_run)
    save_model(out, name=name or out.name, bvrnn=bvrnn, vocoder=vocoder, licence=licence, notes=notes)
    return read_info(out).model_id


def load_coder(run: Path) -> Bvrnn:
    """Coder of a run's last checkpoint, or of a model folder, in evaluation mode."""
    if (run / "model.toml").exists():
        return load_modules(read_info(run))[0]
    recipe, state = _checkpoint(run, "bvrnn")
    return _loaded(run, lambda sizes: Bvrnn(BvrnnConfig(**sizes)), recipe, state)


def load_vocoder(run: Path) -> HarmonicVocoder:
    """Harmonic vocoder of a run or a model folder; see `load_any_vocoder`."""
    vocoder = load_any_vocoder(run)
    if not isinstance(vocoder, HarmonicVocoder):
        raise WeightsError(f"{run}: its vocoder is not a harmonic one; training goes on from those only")
    return vocoder


def load_bigvgan(run: Path) -> BigVgan:
    """BigVGAN of a run or a model folder; see `load_any_vocoder`."""
    vocoder = load_any_vocoder(run)
    if not isinstance(vocoder, BigVgan):
        raise WeightsError(f"{run}: its vocoder is not a BigVGAN")
    return vocoder


def load_any_vocoder(run: Path) -> HarmonicVocoder | BigVgan:
    """Vocoder of a run's last checkpoint (the averaged weights where it keeps them), or of a model folder, as above."""
    if (run / "model.toml").exists():
        return load_modules(read_info(run))[1]
    recipe, state = _checkpoint(run, "vocoder")
    kind = "bigvgan" if recipe.get("kind") == "bigvgan" else "harmonic"
    return _loaded(run, lambda sizes: make_vocoder(kind, sizes), recipe, state)


def write_manifest(root: Path, default: str) -> None:
    """`manifest.toml` over all model folders of `root`: the default's name, and each `model.toml`'s SHA-256."""
    models = {
        folder.name: {"model_id": read_info(folder).model_id, "sha256": sha256(folder / "model.toml")}
        for folder in sorted(root.iterdir())
        if (folder / "model.toml").exists()
    }
    if default not in models:
        raise WeightsError(f"{root}: no model folder '{default}' to be the default")
    (root / "manifest.toml").write_text(toml.dumps({"default": default, "models": models}))


def _checkpoint(run: Path, module: str) -> tuple[dict, dict]:
    path = run / "checkpoint.pt"
    try:
        modules, recipe = read_checkpoint(path)["modules"], toml.loads((run / "recipe.toml").read_text())
    except (OSError, ValueError) as error:
        raise WeightsError(f"{run}: not a training run ({first_line(error)}); give a run's folder") from error
    if module not in modules:
        raise WeightsError(f"{path}: holds {', '.join(modules)}, not '{module}'; the runs may be swapped")
    return recipe, modules[module]


def _loaded(run: Path, make: Callable[[dict], Module], recipe: dict, state: dict) -> Module:
    try:
        model = make(recipe.get("model", {}))
        model.load_state_dict(state)
    except (RuntimeError, TypeError) as error:
        raise WeightsError(f"{run}: recipe.toml and checkpoint do not fit ({first_line(error)})") from error
    return model.eval()
