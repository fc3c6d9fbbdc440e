"""encode, decode and info with the shipped model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from voicelink_client.clips import bundled_clips

from voicelink import cli
from voicelink.codec.vlk import EncodedSpeech


@pytest.fixture(scope="module")
def speech() -> np.ndarray:
    samples, rate = soundfile.read(bundled_clips()[0], dtype="float32")
    assert rate == 24_000
    return samples[12_000:36_000]


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, Any]:
    code = cli.main([*map(str, arguments), "--json"])
    out, err = capsys.readouterr()
    assert code == 0, err
    figures: dict[str, Any] = json.loads(out.splitlines()[-1])
    return figures


@pytest.mark.parametrize("rate", [8_000, 24_000, 48_000])
def test_there_and_back_at_the_sources_rate_and_length(
    rate: int, speech: np.ndarray, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    samples = speech[: len(speech) // 2 + 77]
    soundfile.write(tmp_path / "s.wav", samples, rate)
    coded = run(capsys, "encode", tmp_path / "s.wav", tmp_path / "s.vlk", "--bitrate", 1400)
    assert coded["seconds"] == pytest.approx(len(samples) / rate, abs=1e-5)
    assert coded["frames"] == -(-len(samples) * 22_050 // (rate * 256))
    assert coded["bitrate_bps"] == pytest.approx(16 * 22_050 / 256, abs=0.01)
    assert coded["payload_bytes"] == 2 * coded["frames"]
    assert 0 < coded["rtf"] < 20
    decoded = run(capsys, "decode", tmp_path / "s.vlk", tmp_path / "d.wav")
    heard, found = soundfile.read(tmp_path / "d.wav")
    assert (found, len(heard)) == (rate, len(samples))
    assert {key: decoded[key] for key in ("frames", "seconds", "bitrate_bps", "payload_bytes")} == {
        key: coded[key] for key in ("frames", "seconds", "bitrate_bps", "payload_bytes")
    }
    assert 0.2 < np.sqrt(np.mean(heard**2)) / np.sqrt(np.mean(samples**2)) < 3


@pytest.fixture(scope="module")
def coded(speech: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("coded")
    soundfile.write(folder / "s.wav", speech[:12_000], 24_000)
    assert cli.main(["encode", str(folder / "s.wav"), str(folder / "s.vlk")]) == 0
    return folder / "s.vlk"


def test_another_rate(coded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, "decode", coded, tmp_path / "d.wav", "--rate", 16_000)
    assert (soundfile.info(tmp_path / "d.wav").samplerate, soundfile.info(tmp_path / "d.wav").frames) == (16_000, 8_000)


def test_losses_are_concealed_and_depend_on_the_seed_only(
    coded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [tmp_path / f"{i}.wav" for i in range(4)]
    clean = run(capsys, "decode", coded, files[0])
    lossy = [
        run(capsys, "decode", coded, file, "--loss", 0.3, "--burst", 2, "--seed", seed)
        for file, seed in zip(files[1:], (1, 1, 2), strict=True)
    ]
    sounds = [file.read_bytes() for file in files]
    assert clean["frames_concealed"] == 0
    assert all(5 < figures["frames_concealed"] < 25 for figures in lossy)
    assert sounds[1] == sounds[2]
    assert len({sounds[0], sounds[1], sounds[3]}) == 3


def test_info(coded: Path, capsys: pytest.CaptureFixture[str]) -> None:
    figures = run(capsys, "info", coded)
    assert figures["runs"] == [[figures["frames"], 35]]
    assert figures["file_bytes"] == coded.stat().st_size
    assert cli.main(["info", str(coded)]) == 0
    assert "0.50 s, 44 frames, 3015 bit/s" in capsys.readouterr().out


def test_decoding_goes_by_the_name_that_is_asked_for(
    coded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [tmp_path / "d.wav", tmp_path / "d.flac"]
    for file in files:
        run(capsys, "decode", coded, file)
    same, flac = (soundfile.read(file, dtype="int16")[0] for file in files)
    assert np.array_equal(same, flac)
    assert soundfile.info(files[1]).format == "FLAC"
    assert cli.main(["decode", str(coded), str(tmp_path / "d.mp3")]) == 2
    assert capsys.readouterr().err.splitlines() == [
        f"voicelink: {tmp_path / 'd.mp3'}: cannot be written as audio of that name; let it end in .wav or .flac"
    ]


def test_a_file_of_another_model_is_one_line(coded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    there = EncodedSpeech.from_bytes(coded.read_bytes())
    other = EncodedSpeech("other-model-12345678", there.sample_rate, there.samples, there.frames)
    (tmp_path / "o.vlk").write_bytes(other.to_bytes())
    assert cli.main(["decode", str(tmp_path / "o.vlk"), str(tmp_path / "d.wav")]) == 2
    err = capsys.readouterr().err
    assert "other-model-12345678" in err
    assert len(err.splitlines()) == 1
    assert not (tmp_path / "d.wav").exists()


def test_damaged_files_are_one_line(coded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "t.vlk").write_bytes(coded.read_bytes()[:-20])
    for command in (["info", str(tmp_path / "t.vlk")], ["decode", str(tmp_path / "t.vlk"), str(tmp_path / "d.wav")]):
        assert cli.main(command) == 2
        err = capsys.readouterr().err
        assert "truncated or damaged" in err
        assert len(err.splitlines()) == 1


def test_weights(capsys: pytest.CaptureFixture[str]) -> None:
    listed = run(capsys, "weights", "list")["models"]
    assert listed[0]["model_id"].startswith(listed[0]["name"])
    assert listed[0]["size_bytes"] > 1_000_000
    assert all(model["verified"] for model in run(capsys, "weights", "verify")["models"])


def test_bench(capsys: pytest.CaptureFixture[str]) -> None:
    figures = run(capsys, "bench", "codec", "--seconds", 0.5)
    assert figures["engine"] == "onnx"
    assert figures["encoder_ms_per_frame"] > 0
    assert figures["duplex_rtf"] == pytest.approx(
        sum(figures[f"{part}_ms_per_frame"] for part in ("encoder", "decoder", "vocoder")) / 11.61, rel=0.01
    )
