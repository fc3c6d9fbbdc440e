"""Where a call's sound comes from and goes to, and files and silence paced like a sound card.

A paced source or sink behaves as a sound card with a period of one frame (256 samples, 11.6 ms) and two
periods of output buffer: a block can be read once its last sample was captured, and a block must be
written one period before its first sample leaves the loudspeaker.
"""

from __future__ import annotations

from array import array
from pathlib import Path
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from voicelink.audio.files import read_audio
from voicelink.audio.resampler import resample
from voicelink.audio.wav import WavWriter
from voicelink.errors import AudioError
from voicelink.units import FRAME_SAMPLES, SAMPLE_RATE_HZ, frames_to_ns, samples_to_ns

#: Time between a block's handing over and its first sample leaving the modelled loudspeaker.
OUTPUT_LATENCY_NS: Final = frames_to_ns(1)
#: A source that fell so far behind drops what it holds: the machine is too slow, and delay would only grow.
MAX_BACKLOG_FRAMES: Final = 43


class Source(Protocol):
    """Captured sound. All times are `time.monotonic_ns()`; one thread uses it."""

    rate_hz: int
    overruns: int
    """Times that sound was lost because nobody read it in time."""
    device_xruns: int
    """Times that the device itself said that it lost sound."""

    def start(self, now_ns: int) -> None:
        """Begin to capture."""

    def read(self, now_ns: int) -> NDArray[np.float32] | None:
        """The next block that was captured by `now_ns`, float32 [n], or None."""

    def due_ns(self, now_ns: int) -> int:
        """When to ask again."""

    def idle_ns(self, now_ns: int) -> int:
        """How long ago sound last moved: a device that stands still is about to be given up."""

    @property
    def ended(self) -> bool:
        """Whether only silence will come from now on."""

    def close(self) -> None:
        """Release what it holds."""


class Sink(Protocol):
    """A loudspeaker. All times are `time.monotonic_ns()`; one thread uses it."""

    rate_hz: int
    underruns: int
    """Times that the loudspeaker had nothing to play."""
    device_xruns: int
    """Times that the device itself said that it lacked sound."""

    def start(self, now_ns: int) -> None:
        """Begin to play."""

    def wants(self, now_ns: int) -> bool:
        """Whether 256 codec samples' worth of sound must be written now."""

    def write(self, block: NDArray[np.float32], now_ns: int) -> int:
        """Take float32 [n] at `rate_hz`; returns when its first sample leaves the loudspeaker, ns."""

    def due_ns(self, now_ns: int) -> int:
        """When to ask again."""

    def idle_ns(self, now_ns: int) -> int:
        """How long ago sound last moved: a device that stands still is about to be given up."""

    def close(self) -> None:
        """Release what it holds."""


class PacedSource:
    """Samples at 22 050 Hz as a sound card would deliver them; silence after their end.

    Sample s is captured at `started_ns` + s / 22 050; block k can be read when its last sample was captured.
    `blocks` holds the numbers of the blocks that were read: 0, 1, 2 ... but for those lost to overruns.
    """

    rate_hz = SAMPLE_RATE_HZ
    device_xruns = 0

    def __init__(self, samples: NDArray[np.float32]) -> None:
        self._samples = samples
        self._block = 0
        self.blocks = array("q")
        self.started_ns = 0
        self.overruns = 0

    def start(self, now_ns: int) -> None:
        """Block 0 begins now."""
        self.started_ns = now_ns

    def read(self, now_ns: int) -> NDArray[np.float32] | None:
        """The next block of 256 samples once its time is over.

        More than 0.5 s behind, it goes on with the present and counts an overrun.
        """
        if now_ns < self.due_ns(now_ns):
            return None
        if now_ns > self.due_ns(now_ns) + frames_to_ns(MAX_BACKLOG_FRAMES):
            self.overruns += 1
            while now_ns >= self.due_ns(now_ns):
                self._block += 1
            return None
        first = self._block * FRAME_SAMPLES
        self.blocks.append(self._block)
        self._block += 1
        block = self._samples[first : first + FRAME_SAMPLES]
        return np.pad(block, (0, FRAME_SAMPLES - len(block))) if len(block) < FRAME_SAMPLES else block

    def due_ns(self, now_ns: int) -> int:
        """When the next block's last sample was captured."""
        return self.started_ns + frames_to_ns(self._block + 1)

    def idle_ns(self, now_ns: int) -> int:
        """Never idle."""
        return 0

    @property
    def ended(self) -> bool:
        """Whether all samples were read."""
        return self._block * FRAME_SAMPLES >= len(self._samples) > 0

    def close(self) -> None:
        """Nothing to release."""


class PacedSink:
    """A loudspeaker that plays nothing, or into a WAV file, at the pace of the clock.

    Sample s leaves at `started_ns` + s / 22 050 and one frame; the block that it begins is wanted that frame earlier.
    Where a block comes after its time, the frames missed are silent and an underrun is counted, as with a sound card.
    """

    rate_hz = SAMPLE_RATE_HZ
    device_xruns = 0

    def __init__(self, path: Path | None = None) -> None:
        self._sample = 0
        self.started_ns = 0
        self.underruns = 0
        self._writer = _open_wav(path) if path is not None else None

    def start(self, now_ns: int) -> None:
        """The clock starts; the first block is wanted at once."""
        self.started_ns = now_ns

    def wants(self, now_ns: int) -> bool:
        """Whether the next block is to be handed over."""
        return now_ns >= self.due_ns(now_ns)

    def write(self, block: NDArray[np.float32], now_ns: int) -> int:
        """Play float32 [n] from the next sample on whose time has not come."""
        late_ns = now_ns - self._leave_ns()
        if late_ns > 0:
            self.underruns += 1
            missed = 0
            while now_ns > self._leave_ns():
                self._sample += FRAME_SAMPLES
                missed += 1
            self._save(np.zeros(missed * FRAME_SAMPLES, np.float32))
        leave_ns = self._leave_ns()
        self._save(block)
        self._sample += len(block)
        return leave_ns

    def due_ns(self, now_ns: int) -> int:
        """When the next block is wanted."""
        return self.started_ns + samples_to_ns(self._sample)

    def idle_ns(self, now_ns: int) -> int:
        """Never idle."""
        return 0

    def close(self) -> None:
        """Finish the file."""
        if self._writer is not None:
            self._writer.close()

    def _leave_ns(self) -> int:
        return self.started_ns + samples_to_ns(self._sample + FRAME_SAMPLES)

    def _save(self, block: NDArray[np.float32]) -> None:
        if self._writer is not None:
            self._writer.write(block)


def file_source(path: Path) -> PacedSource:
    """A file's first channel as a microphone. Raises AudioError."""
    speech, rate_hz = read_audio(path)
    return PacedSource(resample(speech, rate_hz, SAMPLE_RATE_HZ))


def null_source() -> PacedSource:
    """A microphone that hears nothing."""
    return PacedSource(np.zeros(0, np.float32))


def _open_wav(path: Path) -> WavWriter:
    try:
        return WavWriter(path, SAMPLE_RATE_HZ)
    except OSError as error:
        raise AudioError(f"{path}: cannot be written ({error.strerror or error})") from error
