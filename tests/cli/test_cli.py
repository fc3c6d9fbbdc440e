"""The command line in this process: usage, errors, and what needs no model."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import typer

from voicelink import cli
from voicelink.errors import CallError
from voicelink.settings import Settings


def subcommands() -> list[list[str]]:
    """All there are, groups walked through, hidden ones left out."""
    found = []
    for name, command in typer.main.get_command(cli.app).commands.items():
        inner = getattr(command, "commands", {"": command})
        found += [[name, *filter(None, [key])] for key, leaf in inner.items() if not leaf.hidden]
    return found


@pytest.fixture(autouse=True)
def _logging_as_before(monkeypatch: pytest.MonkeyPatch):
    loggers = [logging.getLogger(n) for n in (None, "voicelink", "voicelink_client", "voicelink_server")]
    before = [(logger, logger.level, logger.handlers[:]) for logger in loggers]
    monkeypatch.setenv("COLUMNS", "120")
    yield
    for logger, level, handlers in before:
        logger.setLevel(level)
        logger.handlers[:] = handlers


def failure(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """Exit code and the one line on stderr."""
    code = cli.main(arguments)
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.strip().splitlines()) == 1
    assert err.startswith("voicelink: ")
    assert "Traceback" not in err
    return code, err


@pytest.mark.parametrize("command", subcommands(), ids=" ".join)
def test_help_tells_what_and_shows_an_example(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([*command, "--help"]) == 0
    out, _ = capsys.readouterr()
    assert f"Usage: voicelink {' '.join(command)}" in out
    assert f"Example: voicelink {' '.join(command)}" in " ".join(out.split())
    assert "--json" in out


def test_the_commands_of_the_first_slice_are_there() -> None:
    assert {" ".join(command) for command in subcommands()} >= {
        *("demo", "listen", "call", "server", "devices", "encode", "decode", "info", "config", "bench codec"),
        *("weights list", "weights verify", "weights import", "weights export"),
        *("train prepare", "train codec", "train vocoder", "train export", "train evaluate"),
    }


def test_version_and_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("voicelink 0.")
    assert cli.main(["--help"]) == 0
    assert "demo" in capsys.readouterr().out


def test_help_is_fast_because_nothing_heavy_is_imported() -> None:
    code = (
        "import sys; from voicelink.cli import main; main(['demo', '--help']); "
        "sys.exit(str({'numpy', 'onnxruntime', 'soundfile', 'torch', 'asyncio'} & set(sys.modules) or ''))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == ""


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nonsense"], "nonsense"),
        (["demo", "--nonsense"], "--nonsense"),
        (["demo", "--bitrate", "9000"], "--bitrate"),
        (["demo", "--bitrate", "fast"], "integer"),
        (["demo", "--loss", "2"], "link.loss"),
        (["demo", "--frames-per-packet", "9"], "frames_per_packet"),
        (["encode", "only-one"], "OUT.vlk"),
        (["call", "bob", "--server", "nowhere"], "HOST:PORT"),
        (["listen", "--server", "127.0.0.1:1"], "--name"),
        (["listen", "--bitrate", "5000-100"], "--bitrate"),
        (["listen", "--bitrate", "x"], "--bitrate"),
        (["info", "/nowhere.vlk"], "/nowhere.vlk"),
        (["encode", "/nowhere.wav", "never-written.vlk"], "/nowhere.wav: no such file"),
        (["weights", "verify", "nope"], "nope: no such model"),
        (["config", "--config", "/nowhere.toml"], "/nowhere.toml"),
        (["demo", "--engine", "tpu"], "tpu"),
        (["demo", "--model", "nope"], "nope: no such model"),
        (["encode", "/nowhere.wav", "."], "cannot be written"),
        (["train", "evaluate", "/nowhere", "--bitrate", "9"], "--bitrate"),
        (["train", "codec", "--data", "/nowhere", "--out", "/nowhere/x", "--recipe", "vocoder"], "is of kind vocoder"),
        (
            ["train", "vocoder", "--data", "/nowhere", "--out", "/nowhere/x", "--coder", "y"],
            "for --recipe pitch, finetune, balance and bigvgan",
        ),
        (["train", "codec", "--data", "/nowhere", "--out", "/nowhere/x"], "/nowhere: not a prepared folder"),
        (["train", "prepare", "/nowhere", "--out", "/nowhere/x"], "no audio files under /nowhere"),
        (["train", "export", "--coder", "/nowhere", "--vocoder", "/x", "--out", "/tmp"], "no model folder"),
    ],
)
def test_bad_usage_and_input_are_one_line_and_exit_2(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, line = failure(arguments, capsys)
    assert code == 2
    assert says in line


def test_a_demo_below_the_models_least_rate_does_not_start(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("voicelink.codec.model_folder.find_model", lambda model: SimpleNamespace(name="f", min_bits=64))
    code, line = failure(["demo", "--bitrate", "3000"], capsys)
    assert code == 2
    assert "model f needs at least 5513 bit/s" in line


def raising(error: BaseException):
    def load(*args: object, **kwargs: object) -> Settings:
        raise error

    return load


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (CallError("nobody answers"), 1, "voicelink: nobody answers"),
        (RuntimeError("boom\nboom"), 1, "voicelink: unexpected RuntimeError: boom boom; run again with -v for details"),
        (ModuleNotFoundError("No module", name="onnxruntime.capi"), 2, "pip install 'voicelink[call]'"),
        (ModuleNotFoundError("No module", name="textual.app"), 2, "pip install 'voicelink[call]'"),
        (ModuleNotFoundError("No module", name="torch"), 2, "pip install 'voicelink[train]'"),
        (PermissionError(13, "Permission denied", "/x/y"), 1, "voicelink: /x/y: Permission denied"),
        (MemoryError(), 1, "not enough memory"),
        (ModuleNotFoundError("No module", name="pesq"), 2, "pip install 'voicelink[metrics]'"),
    ],
)
def test_what_goes_wrong_is_one_line(
    error: Exception, code: int, says: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("voicelink.config.load", raising(error))
    found, line = failure(["config"], capsys)
    assert found == code
    assert says in line


def test_interrupted(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("voicelink.config.load", raising(KeyboardInterrupt()))
    assert cli.main(["config"]) == 130
    assert capsys.readouterr().err == ""


def test_interrupted_while_an_extension_loads(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    error = ImportError("initialization failed")
    error.__cause__ = KeyboardInterrupt()
    monkeypatch.setattr("voicelink.config.load", raising(error))
    assert cli.main(["config"]) == 130
    assert capsys.readouterr().err == ""


def test_verbose_shows_the_traceback(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("voicelink.config.load", raising(RuntimeError("boom")))
    assert cli.main(["config", "-v"]) == 1
    err = capsys.readouterr().err
    assert "Traceback" in err
    assert err.strip().splitlines()[-1].startswith("voicelink: unexpected RuntimeError: boom")


def test_settings_come_from_file_environment_and_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "s.toml").write_text("[session]\nredundancy = 2\nbits_max = 40\n")
    monkeypatch.setenv("VOICELINK_SESSION_REDUNDANCY", "3")
    assert cli.main(["config", "--config", str(tmp_path / "s.toml"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])["settings"]
    assert found["session.bits_max"] == {"value": 40, "source": str(tmp_path / "s.toml")}
    assert found["session.redundancy"] == {"value": 3, "source": "VOICELINK_SESSION_REDUNDANCY"}
    assert cli.main(["config", "--print"]) == 0
    assert "redundancy = 3" in capsys.readouterr().out


def test_the_sample_can_be_read_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["config"]) == 0
    sample = capsys.readouterr().out
    assert "redundancy" in sample
    (tmp_path / "s.toml").write_text(sample)
    assert cli.main(["config", "--print", "--config", str(tmp_path / "s.toml")]) == 0


def test_a_warning_goes_to_stderr_plain_or_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    soundfile.write(tmp_path / "s.wav", np.zeros((100, 2)), 22_050)
    for flags in ([], ["--log-json"]):
        cli.main(["encode", str(tmp_path / "s.wav"), str(tmp_path / "o.vlk"), "--model", "nope", *flags])
        first = capsys.readouterr().err.splitlines()[0]
        text = json.loads(first)["message"] if flags else first
        assert text.endswith("using the first of 2 channels")


def test_server_says_where_and_stops_when_its_input_closes() -> None:
    command = [sys.executable, "-m", "voicelink.cli", "server", "--listen", "127.0.0.1:0", "--json"]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"}
    with subprocess.Popen(
        [*command, "--until-input-closes"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert json.loads(process.stdout.readline())["listening"].startswith("127.0.0.1:")
        process.stdin.close()
        assert process.wait(10) == 0


@pytest.mark.parametrize(
    ("address", "local"), [("[::1]:5", "[::]:0"), ("192.0.2.1:5", "0.0.0.0:0"), ("bob", "0.0.0.0:0")]
)
def test_own_address_is_of_the_family_of_the_target(address: str, local: str) -> None:
    from voicelink.commands.call import _any_port_towards

    assert _any_port_towards(address) == local
