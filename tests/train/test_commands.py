"""The training commands: interruption, wrong folders, other people's data."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.models import speech_like
from voicelink import cli
from voicelink.codec.api import Codec
from voicelink.errors import AudioError, ConfigError, WeightsError
from voicelink.train import evaluate, prepare
from voicelink.train.data import SpeechData
from voicelink.train.export import load_coder
from voicelink.train.loop import run
from voicelink.train.recipe import load_recipe, with_sources_of


@pytest.fixture(scope="module")
def speech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("speech") / "studio"
    folder.mkdir()
    for number in range(4):
        soundfile.write(folder / f"s{number}.wav", speech_like(22_050 * 5, seed=number), 22_050)
    return folder


@pytest.fixture(scope="module")
def data(speech: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("data")
    prepare.prepare([speech], out)
    return out


def interrupted_after(text: str, command: list[str]) -> tuple[int, str]:
    """Ctrl-C for the whole process group as soon as `text` is on stderr; exit code and stderr."""
    process = subprocess.Popen(
        [sys.executable, "-m", "voicelink.cli", *command],
        stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, start_new_session=True,
    )  # fmt: skip
    assert process.stderr is not None
    with process:
        lines = []
        for line in process.stderr:
            lines.append(line)
            if text in line:
                os.killpg(process.pid, signal.SIGINT)
                break
        lines += process.stderr.readlines()
        return process.wait(60), "".join(lines)


def test_prepare_stops_at_ctrl_c_and_goes_on(tmp_path: Path, speech: Path) -> None:
    many = tmp_path / "many"
    shutil.copytree(speech, many / "studio")
    for number in range(60):
        shutil.copy(speech / "s0.wav", many / "studio" / f"t{number}.wav")
    command = ["train", "prepare", str(many), "--out", str(tmp_path / "out")]
    code, err = interrupted_after("1/64 files", command)
    assert code == 130
    assert "Traceback" not in err
    assert err.strip().endswith("stopped; the same command goes on")
    done = len(json.loads((tmp_path / "out" / "index.json").read_text()))
    assert 1 <= done < 64
    assert cli.main([*command, "--json"]) == 0
    clips = prepare.load_index(tmp_path / "out")
    assert len({clip.path for clip in clips}) == 64
    assert (tmp_path / "out" / "f0.f32").stat().st_size == 4 * sum(clip.frames for clip in clips)


def test_training_stops_at_ctrl_c_with_130(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = tmp_path / "tiny.toml"
    text = Path(prepare.__file__).with_name("recipes").joinpath("coder.toml").read_text().partition("[model]")[0]
    recipe.write_text(text.replace("batch = 128", "batch = 2") + "[model]\nhidden = 16\n")
    arguments = ["train", "codec", "--data", str(data), "--out", str(tmp_path / "run"), "--recipe", str(recipe)]
    code, err = interrupted_after("/4800 steps", arguments)
    assert code == 130
    assert "Traceback" not in err
    assert (tmp_path / "run" / "checkpoint.pt").is_file()
    load_coder(tmp_path / "run")
    capsys.readouterr()


def test_silent_short_and_broken_files(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    soundfile.write(folder / "a.wav", np.zeros(30_000), 22_050)
    soundfile.write(folder / "b.wav", np.full(100, 0.5), 22_050)
    (folder / "dir.wav").mkdir()
    clips = prepare.prepare([folder], tmp_path / "out")
    assert [(clip.speaker, clip.frames, clip.band_hz) for clip in clips] == [("a", 117, 11_025.0), ("b", 0, 11_025.0)]
    soundfile.write(folder / "c.wav", np.full(9_000, np.nan), 22_050, subtype="FLOAT")
    with pytest.raises(AudioError, match=r"c\.wav: 9000 samples are not numbers"):
        prepare.prepare([folder], tmp_path / "out")
    assert len(prepare.load_index(tmp_path / "out")) == 2
    with pytest.raises(AudioError, match="longer than 400 frames"):
        SpeechData(tmp_path / "out")


def test_truncated_data_are_refused(data: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(data, tmp_path / "copy"))
    os.truncate(copy / "audio.i16", 1_000)
    with pytest.raises(AudioError, match=r"audio\.i16: missing or shorter"):
        SpeechData(copy)


def test_a_shipped_recipe_takes_other_peoples_data(data: Path) -> None:
    recipe = load_recipe("coder")
    assert "sources" not in with_sources_of(recipe, data)
    assert with_sources_of({**recipe, "sources": {"studio": 1.0}}, data)["sources"] == {"studio": 1.0}
    with pytest.raises(AudioError, match="a share of 0"):
        SpeechData(data, {"studio": 0.0})


def test_damaged_runs_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "checkpoint.pt").write_bytes(b"rubbish")
    (tmp_path / "recipe.toml").write_text("kind = 'coder'")
    with pytest.raises(WeightsError, match="damaged or no checkpoint"):
        load_coder(tmp_path)
    with pytest.raises(WeightsError, match="not found"):
        load_coder(tmp_path / "none")
    with pytest.raises(ConfigError, match="cannot be made"):
        run(object(), {}, tmp_path / "checkpoint.pt")  # type: ignore[arg-type]
    (tmp_path / "recipe.toml").write_text("kind =")
    with pytest.raises(ConfigError, match=r"recipe\.toml: damaged"):
        run(object(), {}, tmp_path)  # type: ignore[arg-type]


def test_evaluate_keeps_files_of_one_name_apart_and_says_what_cannot_be_scored(
    harmonic_codec: Codec,
    tmp_path: Path,
) -> None:
    for speaker in ("anna", "ben"):
        (tmp_path / "in" / speaker).mkdir(parents=True)
        soundfile.write(tmp_path / "in" / speaker / "1.wav", speech_like(22_050), 22_050)
    assert list(evaluate.find_items(tmp_path / "in")) == ["anna/1", "ben/1"]
    rows = evaluate.evaluate(harmonic_codec, tmp_path / "in" / "anna", [3000, 3000], tmp_path / "out")
    assert [(row["condition"], row["items"], row["pesq_wb_ci95"]) for row in rows] == [
        ("uncoded", 1, None),
        ("3000bps", 1, None),
    ]
    soundfile.write(tmp_path / "in" / "ben" / "2.wav", speech_like(22_050 * 3), 22_050)
    rows = evaluate.evaluate(harmonic_codec, tmp_path / "in", [], tmp_path / "cut", seconds=1.5, by_source=True)
    assert [(row["source"], row["items"]) for row in rows] == [(None, 3), ("anna", 1), ("ben", 2)]
    assert [len(soundfile.read(tmp_path / "cut" / "uncoded" / f"ben/{i}.wav")[0]) for i in (1, 2)] == [22_050, 33_075]
    scores = [row["estoi"] for row in rows]
    assert scores[0] == pytest.approx((scores[1] + 2 * scores[2]) / 3)
    soundfile.write(tmp_path / "in" / "anna" / "2.wav", np.zeros(3_000), 22_050)
    with pytest.raises(AudioError, match=r"2\.wav: cannot be scored"):
        evaluate.evaluate(harmonic_codec, tmp_path / "in", [])
