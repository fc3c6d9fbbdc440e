"""A WAV file that is valid at every moment: for recordings that must survive a crash.

16-bit PCM; the 44-byte header (Microsoft/IBM, "Multimedia Programming Interface and Data Specifications
1.0", 1991) is brought up to date about once a second of sound, so that after a crash or a power cut all but
the last second plays.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

HEADER_BYTES: Final = 44
#: Sizes in the header are 32 bits.
MAX_DATA_BYTES: Final = 2**32 - 1 - HEADER_BYTES


def to_int16(block: NDArray[np.float32]) -> NDArray[np.int16]:
    """float32 at +-1 full scale, any shape -> little-endian int16, rounded and clipped."""
    return np.round(np.clip(block, -1.0, 1.0) * 32767.0).astype("<i2")


class WavWriter:
    """Appends float32 blocks to a 16-bit WAV file. Raises OSError where the file cannot be written.

    `full` becomes True, and further samples are dropped, when the format's 4 GiB are reached (27 hours of
    mono at 22 050 Hz). A `private` file that is not there yet is made for its owner only (mode 0600).
    """

    def __init__(self, path: Path, rate_hz: int, channels: int = 1, *, private: bool = False) -> None:
        self.path, self.rate_hz, self.channels = path, rate_hz, channels
        self.full = False
        self._data_bytes = 0
        self._unsaved = 0
        self._file = path.open("wb") if not private else open(path, "wb", opener=_for_the_owner)  # noqa: SIM115
        self._update_header()

    def write(self, block: NDArray[np.float32]) -> None:
        """Append float32 [samples] (or [samples, channels]), clipped at +-1."""
        data = to_int16(block).tobytes()
        if self._data_bytes + len(data) > MAX_DATA_BYTES:
            self.full = True
            return
        self._file.write(data)
        self._data_bytes += len(data)
        self._unsaved += len(data)
        if self._unsaved >= 2 * self.channels * self.rate_hz:
            self._update_header()

    def close(self) -> None:
        """Bring the header up to date and close. May be called twice."""
        if not self._file.closed:
            try:
                self._update_header()
            finally:
                self._file.close()

    def _update_header(self) -> None:
        self._file.seek(0)
        self._file.write(_header(self._data_bytes, self.rate_hz, self.channels))
        self._file.seek(HEADER_BYTES + self._data_bytes)
        self._file.flush()
        self._unsaved = 0


def _for_the_owner(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _header(data_bytes: int, rate_hz: int, channels: int) -> bytes:
    """RIFF header, PCM format chunk (format 1, 16 bits), data chunk header."""
    frame_bytes = 2 * channels
    return struct.pack(
        "<4sI4s4sIHHIIHH4sI",
        *(b"RIFF", HEADER_BYTES - 8 + data_bytes, b"WAVE"),
        *(b"fmt ", 16, 1, channels, rate_hz, rate_hz * frame_bytes, frame_bytes, 16),
        *(b"data", data_bytes),
    )
