"""Graphs of 8-bit weights, as calls use them: close to the reference, and whole with an end that has others."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
import toml

from tests.models import speech_like
from voicelink.codec.api import load_call_codec, load_codec
from voicelink.codec.bits import unpack_code
from voicelink.codec.int8_graphs import to_int8
from voicelink.codec.model_folder import INT8_GRAPHS, find_model, read_info, sha256
from voicelink.errors import WeightsError

SHIPPED = Path(find_model().folder)


@pytest.mark.parametrize("graph", INT8_GRAPHS)
def test_the_shipped_graphs_are_those_of_the_shipped_weights(graph: str) -> None:
    plain = onnx.load(SHIPPED / graph.replace(".int8", ""), load_external_data=False)
    assert to_int8(plain).SerializeToString() == (SHIPPED / graph).read_bytes()


@pytest.mark.parametrize(("part", "layers"), [("encoder", 6), ("decoder", 11), ("prior", 3), ("vocoder", 26)])
def test_every_layer_is_rounded_and_every_weight_stored_once(part: str, layers: int) -> None:
    path = SHIPPED / f"{part}.int8.onnx"
    found = [n.op_type for n in onnx.load(path, load_external_data=False).graph.node]
    assert "Gemm" not in found
    assert found.count("MatMulNBits") >= layers
    assert path.stat().st_size < 700_000


def test_a_call_takes_them_and_files_do_not(harmonic_folder: Path, bigvgan_folder: Path) -> None:
    for folder in (harmonic_folder, bigvgan_folder):
        assert load_call_codec(folder).engine.name == "int8"
        assert load_call_codec(folder, "torch").engine.name == "torch"
        assert load_codec(folder).engine.name == "onnx"


def test_a_folder_without_them_runs_as_before(harmonic_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "older"
    shutil.copytree(harmonic_folder, folder)
    table = toml.loads((folder / "model.toml").read_text())
    for name in INT8_GRAPHS:
        (folder / name).unlink()
        del table["files"][name]
    (folder / "model.toml").write_text(toml.dumps(table))
    assert load_call_codec(folder).engine.name == "onnx"
    with pytest.raises(WeightsError, match=r"no graphs of 8-bit weights; export the model again"):
        load_codec(folder, "int8")


def test_a_damaged_or_missing_one_is_named(harmonic_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(harmonic_folder, folder)
    path = folder / "decoder.int8.onnx"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    assert sha256(path) != read_info(folder).files[path.name]
    with pytest.raises(WeightsError, match=r"decoder\.int8\.onnx: checksum differs"):
        load_call_codec(folder)
    path.unlink()
    with pytest.raises(WeightsError, match=r"decoder\.int8\.onnx missing"):
        load_call_codec(folder)


def test_states_stay_together_and_gains_are_close_whoever_decodes() -> None:
    """What a call's encoder sends, decoded by a call's decoder and by the reference, on the shipped weights."""
    call, exact = (load_codec(engine=engine).engine for engine in ("int8", "onnx"))
    encoder = load_codec(engine="int8").encoder(bits=48, rounds=0)
    codes = encoder.push(speech_like(22_050 * 2))
    states = [call.coder_state(), exact.coder_state()]
    sounds = [call.vocoder_state(), exact.vocoder_state()]
    mel_off, gain_off, other_f0 = [], [], 0
    for frame in codes:
        code = unpack_code(frame)[None]
        mels, spectra = [], []
        for i, engine in enumerate((call, exact)):
            mel, states[i] = engine.decode_step(code, states[i])
            *spectrum, sounds[i] = engine.vocoder_step(mel[None], sounds[i])
            mels.append(mel)
            spectra.append(spectrum)
        mel_off.append(np.abs(mels[0] - mels[1]).mean())
        voiced = [bool(s[1].item()) for s in spectra]
        f0_hz = [s[0].item() for s in spectra]
        other_f0 += voiced[0] != voiced[1] or (voiced[0] and abs(f0_hz[0] / f0_hz[1] - 1) > 0.02)
        gain_off.append(np.abs(spectra[0][2] - spectra[1][2]).mean())
    assert 0 < np.mean(mel_off) < 0.04  # of a logarithm: 0.35 dB
    assert np.mean(mel_off[-20:]) < 0.06, "the states drift apart"
    assert np.mean(gain_off) < 0.08
    assert other_f0 < len(codes) / 20
