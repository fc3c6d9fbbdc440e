"""Sound cards, through PortAudio (the `sounddevice` package), imported only when one is used.

PortAudio's callbacks run on a thread that must not wait: they copy to or from a `Ring` and count, no more.
"""

from __future__ import annotations

import contextlib
import ctypes
import ctypes.util
import functools
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from voicelink.audio.ring import Ring
from voicelink.errors import AudioError
from voicelink.units import FRAME_SAMPLES, NS_PER_MS, NS_PER_S, SAMPLE_RATE_HZ

#: How often the codec thread looks at a ring.
POLL_NS: Final = 2 * NS_PER_MS
#: Sound kept ready for the loudspeaker beside PortAudio's own buffer, in half codec frames: at first, and at most on a
#: machine that hands over late or a device that asks in bursts. It falls again where all went well for a while.
READY_HALVES: Final = 4
MAX_READY_HALVES: Final = 8
CALM_NS: Final = 20 * NS_PER_S
RING_SECONDS: Final = 0.5
#: Buffer asked of a device; one that stumbles is opened again with twice as much, up to the last. (Asked for 20 ms,
#: PulseAudio's plugin for ALSA falls apart now and then.)
LATENCIES_S: Final = (0.03, 0.06, 0.12)
#: PortAudio takes 44 100 Hz for the rate of all that goes through ALSA's plugins; sound servers run at 48 000 Hz, and
#: convert, which makes delay.
SERVER_RATE_HZ: Final = 48_000
#: `idle_ns` of a device whose stream is over.
GONE_NS: Final = 1 << 62

#: A call that ends waits no longer for PortAudio.
STUCK_S: Final = 3.0

#: PortAudio's opening, starting and closing are not for two threads at once.
_portaudio = threading.RLock()
_open_devices: set[_Device] = set()


def list_devices() -> list[dict[str, Any]]:
    """All devices: `number`, `name`, `inputs`, `outputs` (channels), `rate_hz`, `default` (in / out / both).

    Raises AudioError where PortAudio cannot be used.
    """
    sounddevice = _sounddevice()
    try:
        with _portaudio:
            found = sounddevice.query_devices()
            default_in, default_out = sounddevice.default.device
    except sounddevice.PortAudioError as error:
        raise AudioError(f"sound devices cannot be listed: {error}") from error
    return [
        {
            "number": number,
            "name": device["name"],
            "inputs": device["max_input_channels"],
            "outputs": device["max_output_channels"],
            "rate_hz": round(device["default_samplerate"]),
            "default": _default(number == default_in, number == default_out),
        }
        for number, device in enumerate(found)
    ]


def is_open_loudspeaker(device: str) -> bool:
    """Whether the output device's name says that others in the room hear it: laptops' do, on macOS and Windows.

    Sound servers on Linux do not say what is behind them. False where there is no such device.
    """
    try:
        sounddevice = _sounddevice()
        with _portaudio:
            name = sounddevice.query_devices(_find(sounddevice, device, "output")[0], "output")["name"]
    except AudioError:
        return False
    return "speaker" in name.lower()


class _Device:
    """An open PortAudio stream and what both directions count. The callback touches nothing else than the ring."""

    def __init__(self, device: str, kind: str, latency_s: float) -> None:
        sounddevice = _sounddevice()
        make = sounddevice.InputStream if kind == "input" else sounddevice.OutputStream
        with _portaudio:
            number, self.rate_hz = _find(sounddevice, device, kind)
            self._ring = Ring(round(RING_SECONDS * self.rate_hz))
            self.device_xruns = 0
            """Times that PortAudio itself said that it lost or lacked sound."""
            self._called_ns = 0
            self._errors = sounddevice.PortAudioError
            # not 10 ms, which would suit the echo canceller: PulseAudio's plugin for ALSA stumbles with those
            block_samples = FRAME_SAMPLES * self.rate_hz // SAMPLE_RATE_HZ
            self._stream = _open(make, self._errors, number, self.rate_hz, block_samples, latency_s, self._callback)
            _open_devices.add(self)

    def idle_ns(self, now_ns: int) -> int:
        """How long ago the device last moved sound; very long where its stream is over."""
        if self._stream is None or not self._stream.active:
            return GONE_NS
        return max(0, now_ns - self._called_ns)

    def due_ns(self, now_ns: int) -> int:
        """In 2 ms."""
        return now_ns + POLL_NS

    def close(self) -> None:
        """Stop and close the device. May be called twice."""
        if not _portaudio.acquire(timeout=STUCK_S):
            return  # PortAudio never came back from a device that died as it was started
        try:
            self._close()
        finally:
            _portaudio.release()

    def _start(self, now_ns: int) -> None:
        self._called_ns = now_ns
        try:
            with _portaudio:
                if self._stream is not None:
                    self._stream.start()
        except self._errors as error:
            raise AudioError(f"the sound device cannot be started ({_line(error)}); see `voicelink devices`") from error

    def _close(self) -> None:
        _open_devices.discard(self)
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.close(ignore_errors=True)

    def _callback(self, block: NDArray[np.float32], frames: int, when: object, status: Any) -> None:
        raise NotImplementedError


class Microphone(_Device):
    """An input device at its own rate, first channel. Raises AudioError where it cannot be opened."""

    def __init__(self, device: str, latency_s: float = LATENCIES_S[0]) -> None:
        self.overruns = 0
        super().__init__(device, "input", latency_s)

    def start(self, now_ns: int) -> None:
        """Begin to capture. Raises AudioError where the device does not."""
        self._start(now_ns)

    def read(self, now_ns: int) -> NDArray[np.float32] | None:
        """All that was captured since the last call."""
        ready = len(self._ring)
        if not ready:
            return None
        block = np.empty(ready, np.float32)
        self._ring.pop_into(block)
        return block

    @property
    def ended(self) -> bool:
        """Never."""
        return False

    def _callback(self, block: NDArray[np.float32], frames: int, when: object, status: Any) -> None:
        self._called_ns = time.monotonic_ns()
        if self._ring.push(block[:, 0]) < frames:
            self.overruns += 1
        if status.input_overflow:
            self.device_xruns += 1


class Loudspeaker(_Device):
    """An output device at its own rate. Raises AudioError where it cannot be opened."""

    def __init__(self, device: str, latency_s: float = LATENCIES_S[0]) -> None:
        self.underruns = 0
        super().__init__(device, "output", latency_s)
        self._halves, self._seen, self._changed_ns = READY_HALVES, 0, 0
        self._latency_ns = int(self._stream.latency * NS_PER_S)

    def start(self, now_ns: int) -> None:
        """Begin to play; silence first, so that the first frame does not come too late. Raises AudioError."""
        self._changed_ns = now_ns
        self._ring.push(np.zeros(self._ready_samples, np.float32))
        self._start(now_ns)

    def wants(self, now_ns: int) -> bool:
        """Whether too little lies ready."""
        if self.underruns != self._seen and now_ns >= self._changed_ns + NS_PER_S:
            self._adapt(+1, now_ns)
        elif now_ns >= self._changed_ns + CALM_NS:
            self._adapt(-1, now_ns)
        return len(self._ring) < self._ready_samples

    def write(self, block: NDArray[np.float32], now_ns: int) -> int:
        """Hand over to the callback; the time returned adds what lies before it and the device's latency."""
        waiting_ns = len(self._ring) * NS_PER_S // self.rate_hz
        self._ring.push(block)
        return time.monotonic_ns() + waiting_ns + self._latency_ns

    @property
    def _ready_samples(self) -> int:
        return self._halves * FRAME_SAMPLES * self.rate_hz // (2 * SAMPLE_RATE_HZ)

    def _adapt(self, halves: int, now_ns: int) -> None:
        self._halves = min(MAX_READY_HALVES, max(READY_HALVES, self._halves + halves))
        self._seen, self._changed_ns = self.underruns, now_ns

    def _callback(self, block: NDArray[np.float32], frames: int, when: object, status: Any) -> None:
        self._called_ns = time.monotonic_ns()
        got = self._ring.pop_into(block[:, 0])
        if got < frames:
            block[got:] = 0.0
            self.underruns += 1
        if status.output_underflow:
            self.device_xruns += 1


def rescan() -> bool:
    """Let PortAudio see devices plugged in since it was started, if there are any; whether there were.

    It lists devices only once, and to start it anew all its streams must be closed: a process of its own looks first.
    Open devices are closed then (`idle_ns` says so), for their owners to open again. Takes half a second.
    """
    names = [d["name"] for d in list_devices()]
    asked = subprocess.run([sys.executable, "-m", __name__], capture_output=True, timeout=20, check=False)
    if asked.returncode or json.loads(asked.stdout) == names:
        return False
    sounddevice = _sounddevice()
    with _portaudio:
        for device in tuple(_open_devices):
            device._close()
        sounddevice._terminate()
        sounddevice._initialize()
    return True


def _sounddevice() -> Any:
    try:
        import sounddevice  # noqa: PLC0415 (only where a device is used: it needs a system library)
    except ModuleNotFoundError as error:
        raise AudioError("sound devices need sounddevice: pip install 'voicelink[call]'") from error
    except OSError as error:
        raise AudioError(
            "sound devices need the PortAudio library, which is not installed (Debian: apt install "
            "libportaudio2); without it use files or null for --input and --output"
        ) from error
    _quiet_alsa()
    return sounddevice


@functools.cache
def _quiet_alsa() -> None:
    """Keep ALSA's library from writing on the user's screen: PortAudio tells us of errors, and we count xruns."""
    name = ctypes.util.find_library("asound") if sys.platform.startswith("linux") else None
    if name is not None:
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(name).snd_lib_error_set_handler(_SAY_NOTHING)


#: snd_lib_error_handler_t without its variable arguments. It must live as long as the process.
_SAY_NOTHING: Final = ctypes.CFUNCTYPE(
    None, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p
)(lambda *_: None)


def _find(sounddevice: Any, device: str, kind: str) -> tuple[int | None, int]:
    """Device number (None: the system's default) and its own rate."""
    wanted: Any = None if device == "default" else int(device) if device.isdecimal() else device
    try:
        found = sounddevice.query_devices(wanted, kind)
    except (ValueError, sounddevice.PortAudioError) as error:
        hint = f"see `voicelink devices`, or use --{kind} FILE or --{kind} null"
        if wanted is None:
            raise AudioError(f"there is no {kind} device; {hint}") from error
        raise AudioError(f"{kind} device {device!r} cannot be used ({_line(error)}); {hint}") from error
    return (None if wanted is None else int(found["index"])), _rate_hz(sounddevice, found, kind)


def _rate_hz(sounddevice: Any, found: dict[str, Any], kind: str) -> int:
    """The device's own rate."""
    own = round(found["default_samplerate"])
    if own == SERVER_RATE_HZ or sounddevice.query_hostapis(found["hostapi"])["name"] != "ALSA":
        return own
    check = sounddevice.check_input_settings if kind == "input" else sounddevice.check_output_settings
    try:
        check(device=found["index"], channels=1, dtype="float32", samplerate=SERVER_RATE_HZ)
    except (ValueError, sounddevice.PortAudioError):
        return own
    return SERVER_RATE_HZ


def _open(
    make: Callable[..., Any],
    errors: type[Exception],
    number: int | None,
    rate_hz: int,
    block_samples: int,
    latency_s: float,
    callback: Any,
) -> Any:
    try:
        return make(
            samplerate=rate_hz,
            blocksize=block_samples,
            device=number,
            channels=1,
            dtype="float32",
            latency=latency_s,
            callback=callback,
        )
    except (ValueError, errors) as error:
        name = "default device" if number is None else f"device {number}"
        raise AudioError(f"{name} cannot be opened at {rate_hz} Hz ({_line(error)})") from error


def _line(error: Exception) -> str:
    return " ".join(str(error).split())


def _default(for_input: bool, for_output: bool) -> str:
    return {(True, True): "both", (True, False): "in", (False, True): "out"}.get((for_input, for_output), "")


if __name__ == "__main__":
    sys.stdout.write(json.dumps([d["name"] for d in list_devices()]))
