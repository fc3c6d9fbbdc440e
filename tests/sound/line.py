"""Two `voicelink` processes, each with a room of a PulseAudio server as its devices, in a call with each other."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tests.sound.delays import delays_ms, understood
from tests.sound.pulse import RATE_HZ, Pulse
from voicelink.audio.files import read_audio
from voicelink.audio.resampler import resample

ROOT = Path(__file__).parents[2]
CLIPS = sorted((ROOT / "client" / "clips").glob("*.*ac"))
NAMES = ("alice", "bob")


class Line:
    """The call. In room `alice` alice's microphone hears what is said there, and bob's loudspeaker plays."""

    def __init__(self, pulse: Pulse, folder: Path, *options: str) -> None:
        for room in NAMES:
            pulse.room(room)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind(("127.0.0.1", 0))
            where = f"127.0.0.1:{sock.getsockname()[1]}"
        self._folder, self._pulse = folder, pulse
        self._ends: dict[str, subprocess.Popen[bytes]] = {}
        self._start("bob", "listen", "--local", where, *options)
        time.sleep(6)  # until its model is loaded
        self._start("alice", "call", where, *options)

    def wait_connected(self, limit_s: float = 60) -> None:
        """Until both ends run."""
        for name in NAMES:
            self.wait_for(name, "Connected", limit_s)

    def wait_for(self, name: str, text: str, limit_s: float) -> None:
        """Until `text` stands in what that end wrote."""
        end_s = time.monotonic() + limit_s
        while text not in self.log(name):
            assert self._ends[name].poll() is None, self.log(name)
            assert time.monotonic() < end_s, f"no {text!r}: {self.log(name)}"
            time.sleep(0.1)

    def log(self, name: str) -> str:
        """What that end wrote to standard error."""
        return (self._folder / f"{name}.log").read_text()

    def resident_mb(self, name: str) -> float:
        """Memory of that end."""
        pages = int(Path(f"/proc/{self._ends[name].pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6

    def hang_up(self) -> dict[str, dict[str, Any]]:
        """End the call; both ends' figures."""
        self._ends["alice"].send_signal(signal.SIGINT)
        figures = {}
        for name, process in self._ends.items():
            process.wait(timeout=30)
            lines = (self._folder / f"{name}.json").read_text().splitlines()
            assert lines, self.log(name)
            figures[name] = json.loads(lines[-1])
        return figures

    def close(self) -> None:
        """End both processes in any case."""
        for process in self._ends.values():
            if process.poll() is None:
                process.kill()
            process.wait(timeout=10)

    def _start(self, name: str, *command: str) -> None:
        other = NAMES[1 - NAMES.index(name)]
        environ = os.environ | self._pulse.client(f"{name}_mic", f"{other}_box")
        options = ("--input", "pulse", "--output", "pulse", "--headless", "--json", "--log-json")
        options += ("--keys", str(self._folder / f"{name}-keys"))
        with (self._folder / f"{name}.json").open("wb") as out, (self._folder / f"{name}.log").open("wb") as log:
            self._ends[name] = subprocess.Popen(
                [sys.executable, "-m", "voicelink.cli", *command, *options],
                cwd=ROOT, env=environ, stdout=out, stderr=log,
            )  # fmt: skip


@dataclass
class Heard:
    """What came out of one room's recording."""

    estoi: float
    delays_ms: np.ndarray = field(repr=False)

    @property
    def p50_ms(self) -> float:
        return float(np.percentile(self.delays_ms, 50))

    @property
    def p95_ms(self) -> float:
        return float(np.percentile(self.delays_ms, 95))


def clip(number: int) -> np.ndarray:
    """A bundled clip at 48 kHz after 0.5 s, and 1 s of silence after it."""
    speech, rate_hz = read_audio(CLIPS[number % len(CLIPS)])
    speech = resample(speech, rate_hz, RATE_HZ)
    return np.concatenate([np.zeros(RATE_HZ // 2), speech, np.zeros(RATE_HZ)]).astype(np.float32)


def talk(pulse: Pulse, rooms: tuple[str, ...] = NAMES) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Say a clip in each of the rooms at once; what was said and heard there, float32 [n] each at 48 kHz."""
    recordings = {room: pulse.record(room) for room in rooms}
    time.sleep(0.3)
    talkers = [pulse.say(room, clip(number)) for number, room in enumerate(rooms)]
    for talker in talkers:
        talker.wait(timeout=60)
    time.sleep(0.5)
    return {room: recording.stop() for room, recording in recordings.items()}


def warm_up(pulse: Pulse) -> None:
    """Talk until the jitter buffer knows its path."""
    talk(pulse)


def heard_of(sound: dict[str, tuple[np.ndarray, np.ndarray]]) -> dict[str, Heard]:
    """How well and how late it was heard, by room."""
    heard = {}
    for room, (said, came) in sound.items():
        delays = delays_ms(said, came, RATE_HZ)
        assert len(delays) >= 3, f"hardly anything of what was said in {room}'s room was recognised"
        heard[room] = Heard(understood(said, came, RATE_HZ, float(np.median(delays))), delays)
    return heard


def report(heard: dict[str, Heard], figures: dict[str, dict[str, Any]]) -> None:
    """Both directions and both ends, printed."""
    for room, what in heard.items():
        sys.stdout.write(
            f"\nsaid by {room}: ESTOI {what.estoi:.3f}, mouth to ear p50 {what.p50_ms:.0f} ms, p95 {what.p95_ms:.0f} ms"
        )
    keys = ("seconds", "underruns", "overruns", "device_xruns", "stalls", "stalled_ms", "cpu_rtf", "buffer_ms")
    keys += ("frames_concealed",)
    for name, end in figures.items():
        sys.stdout.write(f"\n{name}: " + ", ".join(f"{key} {end[key]}" for key in keys))
    sys.stdout.write("\n")
