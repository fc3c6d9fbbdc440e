"""A PulseAudio server of the test's own, with rooms in place of hardware.

A room is a null sink with two channels on one clock: what is said in it is its left channel, what a client plays into
it is its right one. The client at the other end of the line has the left channel of its own room as microphone.
A recording of a room so holds both on one time axis, to the sample.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

import numpy as np

RATE_HZ: Final = 48_000
PACKAGES: Final = ("pulseaudio", "pulseaudio-utils", "libportaudio2", "libasound2-plugins")


def missing() -> str:
    """Why this machine has no sound server for the test, or nothing; installs it where root and apt-get can."""
    if not sys.platform.startswith("linux"):
        return "the sound path is tested with PulseAudio on Linux"
    if not _complete() and os.geteuid() == 0 and shutil.which("apt-get"):
        environ = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
        install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *PACKAGES]
        for command in (["apt-get", "update", "-qq"], install):
            try:
                subprocess.run(command, env=environ, capture_output=True, timeout=240, check=False)
            except subprocess.TimeoutExpired:
                break
    return "" if _complete() else f"needs {', '.join(PACKAGES)}"


def _complete() -> bool:
    tools = all(shutil.which(tool) for tool in ("pulseaudio", "pactl", "pacat"))
    plugin = any(Path("/usr/lib").glob("**/alsa-lib/libasound_module_pcm_pulse.so"))
    try:
        import sounddevice  # noqa: F401
    except (ImportError, OSError):
        return False
    return tools and plugin


class Pulse:
    """The server; `environ` is what a client needs to reach it."""

    def __init__(self, folder: Path) -> None:
        self._socket, self._folder = folder / "native", folder
        self.environ = {
            "PULSE_SERVER": f"unix:{self._socket}",
            "XDG_RUNTIME_DIR": str(folder),
            "HOME": str(folder),
            "DBUS_SESSION_BUS_ADDRESS": "disabled:",
        }
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        """Start the server, or start it again after `kill`."""
        script = self._folder / "start.pa"
        script.write_text(f"load-module module-native-protocol-unix socket={self._socket} auth-anonymous=1\n")
        self._socket.unlink(missing_ok=True)
        shutil.rmtree(self._folder / "pulse", ignore_errors=True)
        options = ("-n", "-F", str(script), "--daemonize=no", "--exit-idle-time=-1", "--disallow-exit")
        with (self._folder / "pulse.log").open("ab") as log:
            self._process = subprocess.Popen(
                ["pulseaudio", *options, "--realtime=no"],
                env=os.environ | self.environ,
                stdout=log,
                stderr=log,
            )
        end_s = time.monotonic() + 20
        while subprocess.run(["pactl", "info"], env=self._env(), capture_output=True, check=False).returncode:
            assert time.monotonic() < end_s, (self._folder / "pulse.log").read_text()
            time.sleep(0.1)

    def room(self, name: str) -> None:
        """A room, with `name`_mic and `name`_box for a client's microphone and loudspeaker."""
        self._load(f"module-null-sink sink_name={name} rate={RATE_HZ} channels=2 channel_map=front-left,front-right")
        one = "channels=1 channel_map=mono remix=no"
        self._load(
            f"module-remap-source source_name={name}_mic master={name}.monitor {one} master_channel_map=front-left"
        )
        self._load(f"module-remap-sink sink_name={name}_box master={name} {one} master_channel_map=front-right")

    def client(self, source: str, sink: str) -> dict[str, str]:
        """The environment of a client whose devices are these."""
        return self.environ | {"PULSE_SOURCE": source, "PULSE_SINK": sink}

    def say(self, room: str, speech: np.ndarray) -> subprocess.Popen[bytes]:
        """Play float32 [n] at 48 kHz on the room's left channel; the process ends with it."""
        path = self._folder / f"{room}.raw"
        np.stack([speech, np.zeros_like(speech)], axis=1).astype("<f4").tofile(path)
        with path.open("rb") as file:
            return subprocess.Popen(["pacat", "--playback", *_raw(room)], stdin=file, env=self._env())

    def record(self, room: str) -> Recording:
        """Record both channels from now on."""
        return Recording(self._folder / f"{room}.heard", ["pacat", "--record", *_raw(f"{room}.monitor")], self._env())

    def kill(self) -> None:
        """The server is gone, as hardware pulled out."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(timeout=10)

    def _load(self, module: str) -> None:
        done = subprocess.run(
            ["pactl", "load-module", *module.split()], env=self._env(), capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{module}: {done.stderr}"

    def _env(self) -> dict[str, str]:
        return os.environ | self.environ


class Recording:
    """A room's sound on its way into a file."""

    def __init__(self, path: Path, command: list[str], environ: dict[str, str]) -> None:
        self._path = path
        with path.open("wb") as file:
            self._process = subprocess.Popen(command, stdout=file, env=environ)

    def stop(self) -> tuple[np.ndarray, np.ndarray]:
        """What was said and what was heard there, float32 [n] each at 48 kHz."""
        self._process.terminate()
        self._process.wait(timeout=10)
        sound = np.fromfile(self._path, "<f4")
        both = sound[: len(sound) // 2 * 2].reshape(-1, 2)
        return both[:, 0].copy(), both[:, 1].copy()


def _raw(device: str) -> list[str]:
    sound = ("--raw", "--format=float32le", f"--rate={RATE_HZ}", "--channels=2", "--channel-map=front-left,front-right")
    return [f"--device={device}", *sound, "--latency-msec=20"]
