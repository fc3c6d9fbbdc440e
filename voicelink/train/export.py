"""Training runs -> a model folder, and the manifest of shipped models."""

from __future__ import annotations

from pathlib import Path

import toml
import torch

from voicelink.codec.bvrnn import Bvrnn, BvrnnConfig
from voicelink.codec.harmonic import HarmonicConfig, HarmonicVocoder
from voicelink.codec.model_folder import read_info, sha256
from voicelink.codec.model_writer import save_model
from voicelink.errors import WeightsError


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
    bvrnn = load_coder(coder_run)
    vocoder = load_vocoder(vocoder_run)
    save_model(out, name=name or out.name, bvrnn=bvrnn, vocoder=vocoder, licence=licence, notes=notes)
    return read_info(out).model_id


def load_coder(run: Path) -> Bvrnn:
    """Coder of a run's last checkpoint, in evaluation mode."""
    recipe, state = _checkpoint(run, "bvrnn")
    model = Bvrnn(BvrnnConfig(**recipe.get("model", {})))
    model.load_state_dict(state)
    return model.eval()


def load_vocoder(run: Path) -> HarmonicVocoder:
    """Vocoder of a run's last checkpoint, in evaluation mode; the averaged weights where the run keeps them."""
    recipe, state = _checkpoint(run, "vocoder")
    model = HarmonicVocoder(HarmonicConfig(**recipe.get("model", {})))
    model.load_state_dict(state)
    return model.eval()


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
    if not path.exists():
        raise WeightsError(f"{path}: not found; give the folder of a training run")
    state = torch.load(path, map_location="cpu", weights_only=True)
    if module not in state["modules"]:
        raise WeightsError(f"{path}: holds {', '.join(state['modules'])}, not '{module}'; the runs may be swapped")
    return toml.load(run / "recipe.toml"), state["modules"][module]
