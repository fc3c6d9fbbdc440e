"""Model folders: finding, describing and checking them. No model runtime is imported here.

A model folder holds

* `model.toml`: format, name, licence, sizes, and the SHA-256 of every other file;
* `bvrnn.safetensors`, `vocoder.safetensors`: the weights, matrices in half precision;
* `encoder.onnx`, `search.onnx`, `decoder.onnx`, `prior.onnx`, `vocoder.onnx`: step graphs without weights of their own.
  Their tensors are external data that point into the safetensors files, so every weight is stored once;
* `encoder.int8.onnx` and so on, but for the search: the same for calls, with weights rounded to 8 bits as they are
  loaded (`int8_graphs.py`). Folders written before there were any do without.

`weights/manifest.toml` (installed as the package `voicelink_weights`) lists the shipped ones and the default.
"""

from __future__ import annotations

import hashlib
import importlib.util
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from voicelink.bounded import read_bounded
from voicelink.errors import WeightsError

#: Raised when files written by older code can no longer be run by this code.
FORMAT: Final = 2
GRAPHS: Final = ("encoder.onnx", "search.onnx", "decoder.onnx", "prior.onnx", "vocoder.onnx")
INT8_GRAPHS: Final = tuple(name.replace(".", ".int8.") for name in GRAPHS if name != "search.onnx")
TENSORS: Final = ("bvrnn.safetensors", "vocoder.safetensors")
VOCODERS: Final = ("harmonic", "bigvgan")
MAX_TOML_BYTES: Final = 1 << 20


@dataclass(frozen=True)
class ModelInfo:
    """What `model.toml` says. `model_id` is the name and the first 8 hex digits of the weights' SHA-256.

    `min_bits`: fewest bits a frame the coder was trained for; equal to `bits` for a fixed-rate model. `half`: whether
    matrices are stored in half precision.
    """

    folder: Path
    name: str
    model_id: str
    licence: str
    notes: str
    hidden: int
    bits: int
    min_bits: int
    half: bool
    vocoder: str
    vocoder_config: dict[str, Any]
    files: dict[str, str]

    @property
    def int8(self) -> bool:
        """Whether there are graphs for calls."""
        return set(INT8_GRAPHS) <= set(self.files)

    @property
    def size_bytes(self) -> int:
        """Bytes of all files together."""
        return sum((self.folder / name).stat().st_size for name in self.files)


def find_model(model: str | Path | None = None) -> ModelInfo:
    """The model called `model` in the shipped weights, or the folder it names; None for the default.

    Raises WeightsError where there is none or it does not fit this code. Checksums are not read: see `verify`.
    """
    if model is not None and _is_folder(Path(model)):
        return read_info(Path(model))
    root = weights_root()
    manifest = _toml(root / "manifest.toml")
    name = str(model) if model is not None else str(manifest.get("default", ""))
    if name not in manifest.get("models", {}):
        known = ", ".join(manifest.get("models", {})) or "none"
        raise WeightsError(f"{name}: no such model; give a model folder or one of: {known}")
    return read_info(root / name)


def shipped_models() -> list[ModelInfo]:
    """All models of the manifest, the default one first."""
    manifest = _toml(weights_root() / "manifest.toml")
    names = sorted(manifest.get("models", {}), key=lambda name: (name != manifest.get("default"), name))
    return [read_info(weights_root() / name) for name in names]


def verify_manifest() -> None:
    """Compare the shipped models' `model.toml` with the manifest. Raises WeightsError at the first that differs."""
    root = weights_root()
    for name, entry in _toml(root / "manifest.toml").get("models", {}).items():
        if sha256(root / name / "model.toml") != entry.get("sha256"):
            raise WeightsError(f"{root / name / 'model.toml'}: differs from manifest.toml; fetch the folder again")


def weights_root() -> Path:
    """Folder of the shipped weights. Raises WeightsError where the package is not installed."""
    spec = importlib.util.find_spec("voicelink_weights")
    if spec is None or not spec.submodule_search_locations:
        raise WeightsError("the shipped weights are not installed; install voicelink with pip, or give --model FOLDER")
    return Path(next(iter(spec.submodule_search_locations)))


def read_info(folder: Path) -> ModelInfo:
    """Parse `folder/model.toml` and check that this code can run the model. Raises WeightsError."""
    table = _toml(folder / "model.toml")
    where = folder / "model.toml"
    if table.get("format") != FORMAT:
        raise WeightsError(
            f"{where}: format {table.get('format')!r}, this code runs format {FORMAT}; export the model again"
        )
    try:
        info = ModelInfo(
            folder, str(table["name"]), str(table["model_id"]), str(table["licence"]), str(table.get("notes", "")),
            int(table["bvrnn"]["hidden"]), int(table["bvrnn"]["bits"]), int(table["bvrnn"]["min_bits"]),
            bool(table["half"]),
            str(table["vocoder"]["kind"]), {k: v for k, v in table["vocoder"].items() if k != "kind"},
            _files(table["files"]),
        )  # fmt: skip
    except (KeyError, TypeError, ValueError) as error:
        raise WeightsError(f"{where}: missing or malformed entry {error}; export the model again") from error
    if info.vocoder not in VOCODERS:
        raise WeightsError(f"{where}: vocoder '{info.vocoder}' is unknown to this code; it runs {', '.join(VOCODERS)}")
    missing = [name for name in info.files if not (folder / name).is_file()]
    if missing:
        raise WeightsError(f"{folder}: {', '.join(missing)} missing; copy the whole folder or export the model again")
    return info


def verify(info: ModelInfo) -> None:
    """Compare files with their SHA-256 in `model.toml`. Raises WeightsError at the first that differs."""
    for name in info.files:
        found = sha256(info.folder / name)
        if found != info.files[name]:
            raise WeightsError(f"{info.folder / name}: checksum differs from model.toml; fetch the file again")


def sha256(path: Path) -> str:
    """SHA-256 of a file in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _files(table: dict[str, Any]) -> dict[str, str]:
    there = [name for name in INT8_GRAPHS if name in table]
    return {name: str(table[name]) for name in (*GRAPHS, *there, *TENSORS)}


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # too long for a path, or within a folder that we may not look into
        return False


def _toml(path: Path) -> dict[str, Any]:
    try:
        text = read_bounded(path, MAX_TOML_BYTES)
        if text is None:
            raise WeightsError(f"{path}: larger than {MAX_TOML_BYTES >> 20} MiB, hence not a model's")
        return tomllib.loads(text.decode())
    except FileNotFoundError as error:
        raise WeightsError(f"{path}: not found; this is not a model folder") from error
    except (OSError, ValueError) as error:
        raise WeightsError(f"{path}: cannot be read ({error})") from error
