"""`voicelink simulate` as a user runs it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from voicelink.cli import main
from voicelink.sim.trace import Trace


def figures(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    assert main(["simulate", "--seconds", "5", "--json", *arguments]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])
    return found


def test_keys_and_digest(capsys: pytest.CaptureFixture[str]) -> None:
    one = figures(capsys, "--loss", "0.1", "--seed", "1")
    keys = {"bitrate_bps", "wire_kbps", "frames_sent", "frames_played", "frames_concealed", "packets_lost", "late"}
    keys |= {"mouth_to_ear_ms", "buffer_ms", "healed", "interruptions", "trace_digest", "speed_x", "cpu_rtf"}
    assert keys <= set(one)
    assert set(one["mouth_to_ear_ms"]) == {"p50", "p95"}
    assert set(one["buffer_ms"]) == {"mean", "p95"}
    assert figures(capsys, "--loss", "0.1", "--seed", "1")["trace_digest"] == one["trace_digest"]
    assert figures(capsys, "--loss", "0.1", "--seed", "2")["trace_digest"] != one["trace_digest"]


def test_every_option_reaches_the_scenario(capsys: pytest.CaptureFixture[str]) -> None:
    options = {
        "--profile": ("moderate", "profile", "moderate"),
        "--burst": ("2", "burst", 2.0),
        "--delay": ("20", "delay_ms", 20.0),
        "--jitter": ("5", "jitter_ms", 5.0),
        "--jitter-model": ("gamma", "jitter_model", "gamma"),
        "--duplicate": ("0.1", "duplicate", 0.1),
        "--corrupt": ("0.1", "corrupt", 0.1),
        "--rate": ("64", "rate_kbps", 64.0),
        "--queue": ("50", "queue_ms", 50.0),
        "--drift": ("100", "drift_ppm", 100.0),
        "--bitrate": ("1400", "bitrate_bps", 1400),
        "--frames-per-packet": ("3", "frames_per_packet", 3),
        "--redundancy": ("1", "redundancy", 1),
        "--playout-delay": ("80", "playout_delay_ms", 80),
        "--set": ("encode_ms=3.5", "encode_ms", 3.5),
    }
    given = [text for option, (value, _, _) in options.items() for text in (option, value)]
    scenario = figures(capsys, *given, "--reorder", "--relay")["scenario"]
    assert {key: scenario[key] for _, key, _ in options.values()} == {key: v for _, key, v in options.values()}
    assert scenario["reorder"] is scenario["relay"] is True


def test_a_folder_gets_trace_and_figures(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_text("loss = 0.2\nseed = 3\n")
    found = figures(capsys, str(tmp_path / "s.toml"), "--out", str(tmp_path / "out"))
    assert Trace.load(tmp_path / "out" / "trace.npz").digest() == found["trace_digest"]
    assert json.loads((tmp_path / "out" / "figures.json").read_text())["trace_digest"] == found["trace_digest"]


def test_a_trace_is_found_beside_its_scenario_or_from_here(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "x_is_lost.txt").write_text("0001")
    (tmp_path / "sub" / "s.toml").write_text('trace = "x_is_lost.txt"\nloss_model = "trace"\n')
    monkeypatch.chdir(tmp_path)
    beside = figures(capsys, "sub/s.toml")
    here = figures(capsys, "sub/s.toml", "--trace", "sub/x_is_lost.txt")
    assert beside["trace_digest"] == here["trace_digest"]
    assert beside["packets_lost"] > 50


def test_audio_of_both_ends(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    found = figures(capsys, "--seconds", "4", "--loss", "0.05", "--audio", "--out", str(tmp_path))
    assert set(found["estoi"]) == {"a_to_b", "b_to_a"}
    assert all(0.4 < score < 1 for score in found["estoi"].values())
    assert {p.name for p in tmp_path.glob("*.wav")} == {"a_said.wav", "b_said.wav", "a_heard.wav", "b_heard.wav"}


def test_settings_file_and_environment_stand_below_profile_and_options(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "c.toml").write_text("[link]\nloss = 0.25\ndelay_ms = 7.0\n[session]\nredundancy = 2\nbits_max = 40\n")
    monkeypatch.setenv("VOICELINK_SESSION_FRAMES_PER_PACKET", "3")
    config = ("--config", str(tmp_path / "c.toml"))
    scenario = figures(capsys, *config)["scenario"]
    assert (scenario["loss"], scenario["redundancy"], scenario["frames_per_packet"]) == (0.25, 2, 3)
    scenario = figures(capsys, *config, "--profile", "moderate", "--frames-per-packet", "4")["scenario"]
    assert (scenario["loss"], scenario["delay_ms"], scenario["frames_per_packet"]) == (0.05, 100.0, 4)
    (tmp_path / "s.toml").write_text("loss = 0.5\n")
    scenario = figures(capsys, str(tmp_path / "s.toml"), *config)["scenario"]
    assert (scenario["loss"], scenario["delay_ms"]) == (0.5, 7.0)


def test_files_that_cannot_be_written_are_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for name in ("trace.npz", "figures.json"):
        out = tmp_path / name.partition(".")[0]
        (out / name).mkdir(parents=True)
        assert main(["simulate", "--seconds", "1", "--out", str(out)]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert str(out / name) in line
        assert "cannot be written" in line


def test_tc_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate", "--loss", "0.1", "--delay", "20", "--print-netem", "eth1"]) == 0
    assert capsys.readouterr().out.startswith("tc qdisc replace dev eth1 root")


def test_tc_commands_of_both_ways(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_text("loss = 0.1\n[back]\nloss = 0.2\n")
    assert main(["simulate", str(tmp_path / "s.toml"), "--print-netem", "lo"]) == 0
    one, said, back = capsys.readouterr().out.splitlines()
    assert one.endswith("loss random 10%")
    assert said.startswith("#")
    assert back.startswith("# tc qdisc")
    assert back.endswith("loss random 20%")


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["none.toml"], "cannot read the scenario none.toml"),
        (["--set", "drift=3"], "did you mean drift_ppm"),
        (["--set", "drift_ppm"], "is not KEY=VALUE"),
        (["--profile", "wify"], "profile = 'wify' is unknown"),
        (["--loss", "0.95"], "out of range"),
        (["--seconds", "0"], "out of range"),
        (["--trace", "x.csv"], "set loss_model or jitter_model"),
        (["--input", "x.wav"], "add --audio"),
        (["--constant-rate", "--dtx"], "constant_rate hides when somebody talks, and dtx shows it"),
        (["--constant-rate", "--adaptive"], "--constant-rate and --adaptive exclude each other"),
        (["--fixed", "--wire-kbps", "6"], "wire_kbps = 6 is too little: 8 bits a frame, 2 frames a packet take"),
        (["--wire-kbps", "4"], "wire_kbps = 4 is too little: 8 bits a frame, 8 frames a packet take"),
        (["--audio", "--input", "/no/such.wav", "--seconds", "1"], "/no/such.wav"),
        (["--audio", "--model", "nosuch", "--seconds", "1"], "nosuch"),
        (["--out", "/proc/nothing", "--seconds", "1"], "/proc/nothing"),
        (["--profile", "wifi", "--print-netem", "eth0"], "netem has no jitter model spikes"),
    ],
)
def test_mistakes_are_one_line(arguments: list[str], what: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate", *arguments]) == 2
    captured = capsys.readouterr()
    assert what in captured.err
    assert captured.err.count("\n") == 1
