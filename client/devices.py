"""Sound cards, through PortAudio (the `sounddevice` package), imported only when one is used.

PortAudio's callbacks run on a thread that must not wait: they copy to or from a `Ring` and count, no more.
"""

from __future__ import annotations

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
#: Sound kept ready for the loudspeaker beside PortAudio's own buffer, in codec frames.
READY_FRAMES: Final = 2
RING_SECONDS: Final = 0.5


def list_devices() -> list[dict[str, Any]]:
    """All devices: `number`, `name`, `inputs`, `outputs` (channels), `rate_hz`, `default` (in / out / both).

    Raises AudioError where PortAudio cannot be used.
    """
    sounddevice = _sounddevice()
    try:
        found = sounddevice.query_devices()
    except sounddevice.PortAudioError as error:
        raise AudioError(f"sound devices cannot be listed: {error}") from error
    default_in, default_out = sounddevice.default.device
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


class Microphone:
    """An input device at its own rate, first channel. Raises AudioError where it cannot be opened."""

    def __init__(self, device: str) -> None:
        sounddevice = _sounddevice()
        number, self.rate_hz = _find(sounddevice, device, "input")
        self._ring = Ring(round(RING_SECONDS * self.rate_hz))
        self.overruns = 0
        self._stream = _open(sounddevice.InputStream, sounddevice.PortAudioError, number, self.rate_hz, self._callback)

    def start(self, now_ns: int) -> None:
        """Begin to capture."""
        self._stream.start()

    def read(self, now_ns: int) -> NDArray[np.float32] | None:
        """All that was captured since the last call."""
        ready = len(self._ring)
        if not ready:
            return None
        block = np.empty(ready, np.float32)
        self._ring.pop_into(block)
        return block

    def due_ns(self, now_ns: int) -> int:
        """In 2 ms."""
        return now_ns + POLL_NS

    @property
    def ended(self) -> bool:
        """Never."""
        return False

    def close(self) -> None:
        """Stop and close the device."""
        self._stream.close(ignore_errors=True)

    def _callback(self, block: NDArray[np.float32], frames: int, when: object, status: Any) -> None:
        if self._ring.push(block[:, 0]) < frames or status.input_overflow:
            self.overruns += 1


class Loudspeaker:
    """An output device at its own rate. Raises AudioError where it cannot be opened."""

    def __init__(self, device: str) -> None:
        sounddevice = _sounddevice()
        number, self.rate_hz = _find(sounddevice, device, "output")
        self._ring = Ring(round(RING_SECONDS * self.rate_hz))
        self._ready_samples = READY_FRAMES * FRAME_SAMPLES * self.rate_hz // SAMPLE_RATE_HZ
        self.underruns = 0
        self._stream = _open(sounddevice.OutputStream, sounddevice.PortAudioError, number, self.rate_hz, self._callback)

    def start(self, now_ns: int) -> None:
        """Begin to play; two frames of silence first, so that the first frame does not come too late."""
        self._ring.push(np.zeros(self._ready_samples, np.float32))
        self._stream.start()

    def wants(self, now_ns: int) -> bool:
        """Whether less than two frames lie ready."""
        return len(self._ring) < self._ready_samples

    def write(self, block: NDArray[np.float32], now_ns: int) -> int:
        """Hand over to the callback; the time returned adds what lies before it and the device's latency."""
        waiting_ns = len(self._ring) * NS_PER_S // self.rate_hz
        self._ring.push(block)
        return time.monotonic_ns() + waiting_ns + int(self._stream.latency * NS_PER_S)

    def due_ns(self, now_ns: int) -> int:
        """In 2 ms."""
        return now_ns + POLL_NS

    def close(self) -> None:
        """Stop and close the device."""
        self._stream.close(ignore_errors=True)

    def _callback(self, block: NDArray[np.float32], frames: int, when: object, status: Any) -> None:
        got = self._ring.pop_into(block[:, 0])
        if got < frames:
            block[got:] = 0.0
        if got < frames or status.output_underflow:
            self.underruns += 1


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
    return sounddevice


def _find(sounddevice: Any, device: str, kind: str) -> tuple[int | None, int]:
    """Device number (None: the system's default) and its own rate."""
    wanted: Any = None if device == "default" else int(device) if device.isdecimal() else device
    try:
        found = sounddevice.query_devices(wanted, kind)
    except (ValueError, sounddevice.PortAudioError) as error:
        hint = f"see `voicelink devices`, or use --{kind} FILE or --{kind} null"
        raise AudioError(f"{kind} device {device!r} cannot be used ({_line(error)}); {hint}") from error
    return (None if wanted is None else int(found["index"])), round(found["default_samplerate"])


def _open(make: Callable[..., Any], errors: type[Exception], number: int | None, rate_hz: int, callback: Any) -> Any:
    block_samples = FRAME_SAMPLES * rate_hz // SAMPLE_RATE_HZ
    try:
        return make(
            samplerate=rate_hz,
            blocksize=block_samples,
            device=number,
            channels=1,
            dtype="float32",
            latency="low",
            callback=callback,
        )
    except (ValueError, errors) as error:
        name = "default device" if number is None else f"device {number}"
        raise AudioError(f"{name} cannot be opened at {rate_hz} Hz ({_line(error)})") from error


def _line(error: Exception) -> str:
    return " ".join(str(error).split())


def _default(for_input: bool, for_output: bool) -> str:
    return {(True, True): "both", (True, False): "in", (False, True): "out"}.get((for_input, for_output), "")
