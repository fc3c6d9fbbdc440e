"""Where a talker is silent, judged by the log-mel frames that are coded anyway, and what the background sounds like.

A frame is *quiet* where no group of bands stands out of the background, which is followed down at once and up slowly
(so steady noise counts as silence, wherever it begins, after some seconds). A *pause* begins after HANGOVER quiet
frames, so that no word's end is cut, and ends with the first frame that is not quiet: its window looks 23 ms ahead.

What is sent of the background (`noise`) is the mean log-mel of the last quiet frames in eight groups of ten bands. The
other end lays it over what it knows of the background's finer shape (`spread`).
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from voicelink.codec.engine import Array
from voicelink.codec.mel import N_MELS
from voicelink.frame import NOISE_BYTES

#: Quiet frames before a pause begins: 232 ms; at the start of a stream, where nothing is known yet, a second.
HANGOVER, FIRST_HANGOVER = 20, 86
#: How far one group, and all of them on average, must stand out (natural log of amplitude: 7.8 and 4 dB).
STANDS_OUT, ALL_STAND_OUT = 0.9, 0.45
#: Share of the way down, and the most up (3 dB a second), by which the background follows a frame.
_FALL, _RISE = 0.2, 0.004
#: Share by which the mean of quiet frames follows one.
_MEAN = 0.1
#: A byte of noise is this many times (log-mel + OFFSET).
_STEPS, _OFFSET = 16.0, 12.0
_BANDS: Final = N_MELS // NOISE_BYTES
_CENTRES: Final = np.arange(NOISE_BYTES) * _BANDS + (_BANDS - 1) / 2


class PauseDetector:
    """Judges one stream's frames, in their order."""

    def __init__(self) -> None:
        self._floor: NDArray[np.float32] | None = None
        self._mean = np.zeros(NOISE_BYTES, np.float32)
        self._quiet = HANGOVER - FIRST_HANGOVER

    def step(self, mel: NDArray[np.float32]) -> bool:
        """Take the next log-mel frame, float32 [80]; True where it lies in a pause."""
        levels = mel.reshape(NOISE_BYTES, _BANDS).mean(axis=1)
        if self._floor is None:
            self._floor, self._mean = levels, levels
        above = levels - self._floor
        self._floor = self._floor + np.where(above < 0, np.float32(_FALL) * above, np.minimum(above, _RISE))
        if above.max() > STANDS_OUT or np.maximum(above, 0).mean() > ALL_STAND_OUT:
            self._quiet = min(self._quiet, 0)
            return False
        self._quiet += 1
        self._mean = self._mean + np.float32(_MEAN if self._quiet > 1 else 1.0) * (levels - self._mean)
        return self._quiet > HANGOVER

    @property
    def noise(self) -> bytes:
        """The background in the last quiet frames, as it is sent: NOISE_BYTES bytes."""
        return pack_noise(self._mean)


def pack_noise(levels: NDArray[np.float32]) -> bytes:
    """Mean log-mel of each group of bands, float32 [8], in 1/16 of a neper from -12 on."""
    return bytes(np.clip(np.rint(_STEPS * (levels + _OFFSET)), 0, 255).astype(np.uint8))


def unpack_noise(noise: bytes) -> NDArray[np.float32]:
    """Inverse of `pack_noise`, to 1/32 of a neper (0.3 dB)."""
    levels: NDArray[np.float32] = np.frombuffer(noise, np.uint8).astype(np.float32) / _STEPS - _OFFSET
    return levels


def spread(noise: bytes, comfort: Array) -> Array:
    """`comfort`, log-mel [1, 80], brought to the levels that `noise` tells, without steps between the groups."""
    wanted = unpack_noise(noise) - comfort.reshape(NOISE_BYTES, _BANDS).mean(axis=1)
    moved: Array = comfort + np.interp(np.arange(N_MELS), _CENTRES, wanted).astype(np.float32)[None]
    return moved
