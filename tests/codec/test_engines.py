"""ONNX Runtime and torch give the same, and interoperate; a call's engine does not drag torch in."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.models import speech_like
from voicelink.codec.api import load_codec


@pytest.mark.parametrize("folder", ["harmonic_folder", "bigvgan_folder"])
def test_engines_agree_and_interoperate(folder: str, request: pytest.FixtureRequest) -> None:
    path = request.getfixturevalue(folder)
    onnx, torch = load_codec(path), load_codec(path, engine="torch")
    speech = speech_like(22_050)
    for bits in (1, 16, 64):
        ours, theirs = (_encode(codec, speech, bits) for codec in (onnx, torch))
        assert ours == theirs
        heard = [_decode(codec, ours) for codec in (onnx, torch)]
        assert np.abs(heard[0]).max() > 1e-4, "the comparison needs a signal"
        np.testing.assert_allclose(heard[0], heard[1], atol=1e-4)


def test_concealment_agrees(harmonic_folder: Path) -> None:
    frames = _encode(load_codec(harmonic_folder), speech_like(256 * 40), 32)
    heard = []
    for engine in ("onnx", "torch"):
        decoder = load_codec(harmonic_folder, engine=engine).decoder()
        blocks = [decoder.conceal() if 10 <= f.index < 30 else decoder.play(f) for f in frames]
        heard.append(np.concatenate(blocks))
    np.testing.assert_allclose(heard[0], heard[1], atol=1e-4)


def test_the_call_engine_imports_no_torch(harmonic_folder: Path) -> None:
    code = (
        "import sys, numpy, voicelink; c = voicelink.load_codec(sys.argv[1]);"
        "c.decode(c.encode(numpy.zeros(2000, 'float32'), 22050)); sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(harmonic_folder)], check=True)


def _encode(codec, speech, bits):
    encoder = codec.encoder(bits=bits)
    return encoder.push(speech) + encoder.flush()


def _decode(codec, frames):
    decoder = codec.decoder()
    return np.concatenate([decoder.play(frame) for frame in frames])
