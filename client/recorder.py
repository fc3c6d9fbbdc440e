"""Recording of a call: a WAV or FLAC with our own voice on the left and the other's on the right."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from voicelink.audio.flac import FlacWriter
from voicelink.audio.resampler import StreamResampler
from voicelink.audio.wav import WavWriter
from voicelink.errors import AudioError
from voicelink.units import SAMPLE_RATE_HZ

#: The two sides come from two clocks: a side so far behind is filled up with silence.
MAX_APART_SAMPLES = SAMPLE_RATE_HZ

_WRITERS: Final = {".wav": WavWriter, ".flac": FlacWriter}

_log = logging.getLogger(__name__)


class Recorder:
    """Writes both sides at 22 050 Hz, valid after a crash but for the last seconds (see `WavWriter`, `FlacWriter`).

    A disk that fails during the call ends the recording, not the call. Raises AudioError where the file
    cannot be made, or is to be neither .wav nor .flac.
    """

    def __init__(self, path: Path, said_rate_hz: int) -> None:
        self._resampler = StreamResampler(said_rate_hz, SAMPLE_RATE_HZ)
        self._sides = [np.zeros(0, np.float32), np.zeros(0, np.float32)]
        make = _WRITERS.get(path.suffix.lower())
        if make is None:
            raise AudioError(f"{path}: a recording is a .wav or a .flac file; give it such a name")
        try:
            self._writer: WavWriter | FlacWriter | None = make(path, SAMPLE_RATE_HZ, channels=2, private=True)
        except OSError as error:
            raise AudioError(f"{path}: cannot be written ({error.strerror or error})") from error

    def said(self, block: NDArray[np.float32]) -> None:
        """Our voice, float32 [n] at the microphone's rate."""
        self._add(0, self._resampler.push(block))

    def heard(self, block: NDArray[np.float32]) -> None:
        """The other's voice, float32 [n] at 22 050 Hz."""
        self._add(1, block)

    def close(self) -> None:
        """Write what is left and close. May be called twice."""
        self._write(max(map(len, self._sides)))
        if self._writer is not None:
            self._guarded(self._writer.close)
            self._writer = None

    def _add(self, side: int, block: NDArray[np.float32]) -> None:
        self._sides[side] = np.concatenate((self._sides[side], block))
        lengths = [len(held) for held in self._sides]
        self._write(max(min(lengths), max(lengths) - MAX_APART_SAMPLES))

    def _write(self, count: int) -> None:
        if count <= 0 or self._writer is None:
            return
        both = np.zeros((count, 2), np.float32)
        for side, held in enumerate(self._sides):
            both[: len(held), side] = held[:count]
            self._sides[side] = held[count:]
        writer = self._writer
        self._guarded(lambda: writer.write(both))
        if writer.full:
            _log.warning("%s: the WAV format's 4 GiB are full; the recording ends here", writer.path)
            self.close()

    def _guarded(self, write: Callable[[], None]) -> None:
        try:
            write()
        except OSError as error:
            _log.warning("the recording ends here: %s", error.strerror or error)
            if self._writer is not None:
                with contextlib.suppress(OSError):
                    self._writer.close()
            self._writer = None
