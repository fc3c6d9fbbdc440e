"""The demonstration with its processes, with a codec that carries loudness (tests/client/fake_codec.py)."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from voicelink_client.demo import DemoPlan, run_demo
from voicelink_client.demo_view import DemoScreen, summary

from voicelink.errors import AudioError, CallError
from voicelink.net.loop import run
from voicelink.settings import LinkSettings

FAKE_END = (sys.executable, str(Path(__file__).parent / "fake_codec.py"))
KEYS = {
    "bitrate_bps", "wire_kbps", "frames_sent", "frames_played", "frames_concealed", "packets_lost",
    "mouth_to_ear_ms", "buffer_ms", "estoi", "cpu_rtf", "out",
}  # fmt: skip


class Quiet:
    def __init__(self) -> None:
        self.phases: list[str] = []
        self.messages: list[tuple[str, dict[str, Any]]] = []

    def phase(self, text: str) -> None:
        self.phases.append(text)

    def message(self, name: str, message: dict[str, Any]) -> None:
        self.messages.append((name, message))


@pytest.fixture
def clips(tmp_path: Path) -> tuple[Path, Path]:
    t = np.arange(24_000) / 24_000
    for name, hz in (("a", 3.0), ("b", 5.0)):
        loudness = np.abs(np.sin(2 * np.pi * hz * t))
        soundfile.write(tmp_path / f"{name}.flac", 0.3 * loudness * np.sin(2 * np.pi * 441 * t), 24_000)
    return tmp_path / "a.flac", tmp_path / "b.flac"


def test_a_call_with_loss_is_measured_and_reported(tmp_path: Path, clips: tuple[Path, Path]) -> None:
    view, out = Quiet(), tmp_path / "out"
    link = LinkSettings(loss=0.1, burst=2, seed=3)
    figures = run(run_demo(DemoPlan(out, 3.0, 3000, link=link, clips=clips, end_command=FAKE_END), view))
    assert figures.keys() >= KEYS
    assert figures["bitrate_bps"] == 3015
    assert set(figures["estoi"]) == {"alice_to_bob", "bob_to_alice"}
    assert figures["frames_sent"] > 2 * 0.7 * 3 * 86
    assert figures["frames_concealed"] > 0
    assert figures["packets_lost"] > 0
    # Nothing can be faster than look-ahead, bundling and one output period.
    assert 34.8 + 11.6 < figures["mouth_to_ear_ms"]["p50"] < 2_000
    assert {p.name for p in out.iterdir()} == {
        *(f"{name}_{what}.wav" for name in ("alice", "bob") for what in ("said", "heard")),
        *("spectrogram.png", "report.html", "figures.json"),
    }
    assert json.loads((out / "figures.json").read_text()) == figures
    assert (out / "spectrogram.png").read_bytes().startswith(b"\x89PNG")
    html = (out / "report.html").read_text()
    assert html.count("data:audio/flac;base64,") == 4
    assert "data:image/png;base64," in html
    assert not re.search(r'(?:src|href)="(?!data:)', html)
    assert len(summary(figures)) == 5
    assert {name for name, _ in view.messages} == {"alice", "bob"}


def test_an_end_that_fails_is_one_line_with_its_name(tmp_path: Path, clips: tuple[Path, Path]) -> None:
    failing = (sys.executable, "-c", "import sys; sys.exit('no model today')")
    with pytest.raises(CallError, match=r"^alice: no model today$"):
        run(run_demo(DemoPlan(tmp_path / "out", 2.0, clips=clips, end_command=failing), Quiet()))


def test_a_folder_that_cannot_be_made(tmp_path: Path, clips: tuple[Path, Path]) -> None:
    with pytest.raises(AudioError, match="choose another --out"):
        run(run_demo(DemoPlan(clips[0] / "out", 2.0, clips=clips, end_command=FAKE_END), Quiet()))


SCRIPT = """
import sys
from pathlib import Path
from voicelink.net.loop import run
from voicelink_client.demo import DemoPlan, run_demo
from voicelink_client.demo_view import DemoScreen
clips = tuple(Path(p) for p in sys.argv[2:4])
plan = DemoPlan(Path(sys.argv[1]), 30.0, clips=clips, end_command=tuple(sys.argv[4:]))
with DemoScreen() as screen:
    run(run_demo(plan, screen))
"""


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="looks for processes in /proc")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_the_children_end_with_their_parent(tmp_path: Path, clips: tuple[Path, Path], number: int) -> None:
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "out"), *map(str, clips), *FAKE_END]
    with subprocess.Popen(command, stderr=subprocess.PIPE, env=environment) as process:
        wait_for(lambda: len(children(tmp_path)) == 2 and (tmp_path / "out" / "bob_heard.wav").exists())
        process.send_signal(number)
        process.communicate(timeout=20)
        assert process.returncode != 0
    wait_for(lambda: not children(tmp_path))


def test_the_screen_shows_both_ends(capsys: pytest.CaptureFixture[str]) -> None:
    status = {
        "event": "status", "seconds": 1.0, "said_dbfs": -20.0, "heard_dbfs": -30.0, "wire_kbps": 15.0,
        "buffer_ms": 60.0, "played": 80, "concealed": 2, "lost": 1,
    }  # fmt: skip
    with DemoScreen() as screen:
        screen.phase("a calls b")
        screen.message("alice", {"event": "Connected", "text": "connected"})
        screen.message("alice", status)
        table = screen._table()
    assert [column.header for column in table.columns][:3] == ["", "time", "speaks"]
    assert table.row_count == 1
    assert "played 80, concealed 2, lost 1" in capsys.readouterr().err


def children(scratch: Path) -> list[str]:
    """Command lines of the ends, whose specification lies in `scratch`."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = entry.read_bytes().decode(errors="replace")
        except OSError:
            continue
        if f"{scratch}/voicelink-demo-" in line:
            found.append(line)
    return found


def wait_for(condition: Any, limit_s: float = 30.0) -> None:
    until = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.05)
