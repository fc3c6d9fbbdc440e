"""A telephone as its user has it: the screen on a terminal, keys pressed, tones from a loudspeaker; real processes."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.sound.line import ROOT
from tests.sound.pulse import RATE_HZ, Pulse

pytest.importorskip("onnxruntime")
pytest.importorskip("textual")

ESCAPES = re.compile(r"\x1b(\[[0-9;?<=>]*[a-zA-Z]|[()][A-Z0-9]|[=>78]|[P_\]].*?(\x1b\\|\x07))", re.S)


class Terminal:
    """A process on a pseudo-terminal of 80x24: what it wrote, without escapes, and keys to it."""

    def __init__(self, command: list[str], environ: dict[str, str]) -> None:
        self._ours, theirs = pty.openpty()
        size = {"TERM": "xterm-256color", "COLUMNS": "80", "LINES": "24"}
        self.process = subprocess.Popen(
            command, cwd=ROOT, env=os.environ | environ | size, stdin=theirs, stdout=theirs, stderr=theirs,
            start_new_session=True,
        )  # fmt: skip
        os.close(theirs)
        self._raw = b""
        threading.Thread(target=self._read, daemon=True).start()

    @property
    def text(self) -> str:
        return ESCAPES.sub("", self._raw.decode(errors="replace"))

    def press(self, key: str) -> int:
        """Press a key; how much was written before."""
        before = len(self.text)
        os.write(self._ours, key.encode())
        return before

    def wait_for(self, text: str, after: int = 0, limit_s: float = 60) -> None:
        end_s = time.monotonic() + limit_s
        while text not in self.text[after:]:
            assert time.monotonic() < end_s, f"no {text!r} in {self.text[-3000:]}"
            time.sleep(0.05)

    def close(self) -> None:
        self.process.kill()
        self.process.wait(timeout=10)
        os.close(self._ours)

    def _read(self) -> None:
        try:
            while data := os.read(self._ours, 65536):
                self._raw += data
        except OSError:
            pass  # the other side is closed


@pytest.fixture
def ends() -> Iterator[list[Terminal]]:
    made: list[Terminal] = []
    yield made
    for end in made:
        end.close()


def strength(sound: np.ndarray, hz: float) -> float:
    """How much of a tone there is in its loudest 0.1 s, as an amplitude."""
    step = RATE_HZ // 10
    t = np.arange(step) / RATE_HZ
    wave = np.exp(-2j * np.pi * hz * t)
    return max(abs(np.dot(sound[i : i + step], wave)) * 2 / step for i in range(0, len(sound) - step, step // 2))


def test_two_telephones_ring_talk_mute_and_hang_up(
    pulse: Pulse,
    tmp_path: Path,
    ends: list[Terminal],
) -> None:
    def start(name: str, box: str, *command: str) -> Terminal:
        device = ("--input", "null", "--output", "pulse", "--keys", str(tmp_path / name), "--name", name)
        environ = pulse.client(f"{name}_mic", f"{box}_box")
        ends.append(Terminal([sys.executable, "-m", "voicelink.cli", *command, *device], environ))
        return ends[-1]

    for room in ("alice", "bob"):
        pulse.room(room)
    bob = start("bob", "bob", "listen", "--local", "127.0.0.1:47719")
    bob.wait_for("WAITING FOR A CALL")
    rooms = {room: pulse.record(room) for room in ("alice", "bob")}
    alice = start("alice", "alice", "call", "127.0.0.1:47719")
    bob.wait_for("RINGING HERE")
    alice.wait_for("RINGING THERE")
    time.sleep(2.5)
    ringing = {room: recording.stop()[1] for room, recording in rooms.items()}
    assert strength(ringing["bob"], 800) > 0.02
    assert strength(ringing["bob"], 1000) > 0.02
    assert strength(ringing["alice"], 425) > 0.05
    assert strength(ringing["alice"], 800) < 0.01
    bob.press("a")
    for end in (alice, bob):
        end.wait_for("TALKING")
    listed = bob.press("i")
    bob.wait_for("Microphone: Enter takes it", listed)
    chosen = bob.press("\x1b[H\x1b[B\r")
    bob.wait_for("the input device is 'null' now", chosen)
    muted = bob.press("m")
    bob.wait_for("unmute", muted)
    alice.wait_for("the other end is muted")
    held = alice.press("o")
    alice.wait_for("ON HOLD", held)
    bob.wait_for("HELD BY THE OTHER")
    bob.press("q")
    for end in (alice, bob):
        assert end.process.wait(timeout=20) == 0
        assert "ended: " in end.text
    assert "frames in" in bob.text  # the figures, on the terminal as it was
