"""A FLAC file that is valid at every moment: for recordings that must survive a crash.

An encoder writes the number of samples into the header when it closes the file, and a file that says 0 (unknown) many
programs do not read. So we write it there ourselves about once a second (RFC 9639 section 8.2, STREAMINFO).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import numpy as np
import soundfile
from numpy.typing import NDArray

#: From the file's start: `fLaC`, a block header of 4 bytes, block sizes (2 x 2), frame sizes (2 x 3); then rate (20
#: bits), channels less 1 (3), bits a sample less 1 (5), and the number of samples (36).
_BLOCK_SIZE_AT: Final = 8
_COUNT_AT: Final = 18
_COUNT_BITS: Final = 36


class FlacWriter:
    """Appends float32 blocks to a 16-bit FLAC file, as `wav.WavWriter`. Raises OSError where it cannot be written."""

    def __init__(self, path: Path, rate_hz: int, channels: int = 1, *, private: bool = False) -> None:
        self.path, self.rate_hz, self.channels = path, rate_hz, channels
        self.full = False
        self._written = self._told = 0
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600 if private else 0o666))
        try:
            self._file = soundfile.SoundFile(path, "w", rate_hz, channels, format="FLAC", subtype="PCM_16")
        except soundfile.LibsndfileError as error:
            raise OSError(f"{error.error_string}".strip().rstrip(".")) from error
        self._header = path.open("r+b", buffering=0)

    def write(self, block: NDArray[np.float32]) -> None:
        """Append float32 [samples] (or [samples, channels]), clipped at +-1."""
        try:
            self._file.write(np.clip(block, -1.0, 1.0))
        except soundfile.LibsndfileError as error:
            raise OSError(f"{error.error_string}".strip().rstrip(".")) from error
        self._written += len(block)
        if self._written - self._told >= self.rate_hz:
            self._tell()

    def close(self) -> None:
        """Finish the file. May be called twice."""
        self._header.close()
        try:
            self._file.close()
        except soundfile.LibsndfileError as error:
            raise OSError(f"{error.error_string}".strip().rstrip(".")) from error

    def _tell(self) -> None:
        """Write the number of samples in whole FLAC frames, which are in the file by now, into the header."""
        self._told = self._written
        size = int.from_bytes(os.pread(self._header.fileno(), 2, _BLOCK_SIZE_AT), "big")
        if not size:
            return
        told = (self._written - 1) // size * size
        fields = int.from_bytes(os.pread(self._header.fileno(), 8, _COUNT_AT), "big")
        fields = fields >> _COUNT_BITS << _COUNT_BITS | told
        os.pwrite(self._header.fileno(), fields.to_bytes(8, "big"), _COUNT_AT)
