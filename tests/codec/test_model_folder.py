"""Model folders: what is refused, and with which words."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import toml

from voicelink.codec.api import load_codec
from voicelink.codec.engine_torch import load_modules
from voicelink.codec.model_folder import find_model, read_info, sha256, shipped_models, verify, verify_manifest
from voicelink.codec.model_writer import save_model
from voicelink.errors import AudioError, WeightsError
from voicelink.train.export import write_manifest


@pytest.fixture
def folder(harmonic_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(harmonic_folder, tmp_path / "model"))


def edit(folder: Path, **changes: object) -> None:
    path = folder / "model.toml"
    path.write_text(toml.dumps({**toml.loads(path.read_text()), **changes}))


def test_info_and_checksums(folder: Path) -> None:
    info = read_info(folder)
    assert info.model_id.startswith("tiny-harmonic-")
    assert (info.hidden, info.bits, info.min_bits, info.vocoder) == (32, 64, 1, "harmonic")
    verify(info)


def test_a_damaged_file_is_named(folder: Path) -> None:
    path = folder / "bvrnn.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(WeightsError, match=r"bvrnn\.safetensors: checksum differs"):
        load_codec(folder)


def test_a_missing_file_is_named(folder: Path) -> None:
    (folder / "vocoder.onnx").unlink()
    with pytest.raises(WeightsError, match=r"vocoder\.onnx missing"):
        load_codec(folder)


def test_another_format_is_refused(folder: Path) -> None:
    edit(folder, format=99)
    with pytest.raises(WeightsError, match="format 99, this code runs format 2"):
        load_codec(folder)


@pytest.mark.parametrize("engine", ["onnx", "torch"])
def test_weights_that_do_not_fit_the_graph_are_refused(folder: Path, engine: str, bigvgan_folder: Path) -> None:
    shutil.copy(bigvgan_folder / "bvrnn.safetensors", folder)
    table = toml.loads((folder / "model.toml").read_text())
    table["files"]["bvrnn.safetensors"] = sha256(folder / "bvrnn.safetensors")
    edit(folder, files=table["files"])
    with pytest.raises(WeightsError):
        load_codec(folder, engine=engine)


def test_malformed_toml_and_no_folder(folder: Path, tmp_path: Path) -> None:
    (folder / "model.toml").write_text("format = = 1")
    with pytest.raises(WeightsError, match="cannot be read"):
        load_codec(folder)
    with pytest.raises(WeightsError, match="no such model; give a model folder or one of"):
        find_model("nonesuch")
    with pytest.raises(WeightsError, match="not a model folder"):
        find_model(tmp_path)


def test_unknown_engine(folder: Path) -> None:
    with pytest.raises(WeightsError, match="use 'onnx', 'int8' or 'torch'"):
        load_codec(folder, engine="cuda")  # type: ignore[arg-type]


def test_a_fixed_rate_model_refuses_fewer_bits(folder: Path) -> None:
    table = toml.loads((folder / "model.toml").read_text())
    edit(folder, bvrnn={**table["bvrnn"], "min_bits": 64})
    codec = load_codec(folder)
    with pytest.raises(AudioError, match="trained for at least 64; ask for 5513 bps or more"):
        codec.encode(np.zeros(3000, np.float32), 22050, 3000)
    assert len(codec.encode(np.zeros(3000, np.float32), 22050, 5513).frames) == 12


def test_manifest_lists_folders(folder: Path) -> None:
    write_manifest(folder.parent, "model")
    listed = toml.loads((folder.parent / "manifest.toml").read_text())
    assert listed["default"] == "model"
    assert listed["models"]["model"]["model_id"] == read_info(folder).model_id
    with pytest.raises(WeightsError, match="no model folder"):
        write_manifest(folder.parent, "other")


def test_a_changed_model_toml_is_told_by_the_manifest(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_manifest(folder.parent, "model")
    monkeypatch.setattr("voicelink.codec.model_folder.weights_root", lambda: folder.parent)
    verify_manifest()
    edit(folder, notes="changed")
    with pytest.raises(WeightsError, match=r"model\.toml: differs from manifest"):
        verify_manifest()


def test_shipped_weights_are_whole_and_within_the_limit() -> None:
    models = shipped_models()
    assert models, "no model is shipped"
    for info in models:
        verify(info)
        listed = toml.loads((info.folder.parent / "manifest.toml").read_text())["models"][info.name]
        assert listed == {"model_id": info.model_id, "sha256": sha256(info.folder / "model.toml")}
    assert models[0].size_bytes <= 40_000_000


@pytest.mark.parametrize("change", ["hidden", "kind"])
def test_a_description_of_another_model_than_the_graphs_is_refused(folder: Path, change: str) -> None:
    table = toml.loads((folder / "model.toml").read_text())
    if change == "hidden":
        edit(folder, bvrnn={**table["bvrnn"], "hidden": 64})
    else:
        edit(folder, vocoder={**table["vocoder"], "kind": "bigvgan"})
    with pytest.raises(WeightsError, match="graphs are of different models"):
        load_codec(folder)


def test_a_name_too_long_for_a_path() -> None:
    with pytest.raises(WeightsError, match="no such model"):
        find_model("m" * 300)


def save(folder: Path, source: Path, name: str = "copy") -> None:
    bvrnn, vocoder = load_modules(read_info(source))
    save_model(folder, name=name, bvrnn=bvrnn, vocoder=vocoder, licence="CC0-1.0")


def test_only_a_model_folder_is_replaced_and_its_card_is_kept(folder: Path, tmp_path: Path) -> None:
    (folder / "README.md").write_text("card")
    save(folder, folder)
    assert read_info(folder).name == "copy"
    assert (folder / "README.md").read_text() == "card"
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "thesis.txt").write_text("years of work")
    with pytest.raises(WeightsError, match="no model folder"):
        save(precious, folder)
    assert (precious / "thesis.txt").read_text() == "years of work"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model", "precious"]


@pytest.mark.parametrize("name", ["", "two words", "modèle", "m" * 49])
def test_names_that_no_call_could_carry_are_refused(name: str, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="cannot be a model's name"):
        save(tmp_path / "new", folder, name)


def test_where_nothing_can_be_written(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(WeightsError, match="cannot be written"):
        save(tmp_path / "file" / "new", folder)
