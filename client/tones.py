"""The sounds of a telephone, made here: no files. Cadences and 425 Hz as in ITU-T E.180 and ETSI TR 101 041-1."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from voicelink.units import SAMPLE_RATE_HZ

#: Amplitude of a tone, of full scale: -20 dB.
LEVEL: Final = 0.1
#: A tone fades in and out over so long, so that it does not click.
RAMP_S: Final = 0.008
E180_HZ: Final = 425.0


@dataclass(frozen=True)
class Cadence:
    """Parts of a tone one after another: frequency in Hz (0: silence) and length in s."""

    parts: tuple[tuple[float, float], ...]
    repeats: bool = True


_WARBLE: Final = ((800.0, 0.04), (1000.0, 0.04)) * 5


class Tone(Enum):
    """What a telephone sounds like when."""

    RING = Cadence((*_WARBLE, (0.0, 0.2), *_WARBLE, (0.0, 2.0)))
    """Somebody calls us."""
    RING_BACK = Cadence(((E180_HZ, 1.0), (0.0, 4.0)))
    """It rings at the other end."""
    BUSY = Cadence(((E180_HZ, 0.5), (0.0, 0.5)) * 2, repeats=False)
    """The other end is busy, or does not want us."""
    NO_WAY = Cadence(((E180_HZ, 0.25), (0.0, 0.25)) * 4, repeats=False)
    """The other end cannot be reached, or was lost (congestion tone)."""
    HANG_UP = Cadence(((E180_HZ, 0.15), (0.0, 0.1)) * 3, repeats=False)
    """The call is over."""
    HELD = Cadence(((E180_HZ, 0.2), (0.0, 0.2), (E180_HZ, 0.2), (0.0, 5.4)))
    """The other end has put us on hold."""

    @property
    def seconds(self) -> float:
        """Length of one round."""
        return sum(seconds for _, seconds in self.value.parts)


class TonePlayer:
    """Plays one tone from its beginning; one that does not repeat is followed by silence."""

    def __init__(self, tone: Tone) -> None:
        self.tone = tone
        self._at = 0

    def block(self, count: int) -> NDArray[np.float32]:
        """The next float32 [count] at 22 050 Hz."""
        sound, indices = round_of(self.tone), self._at + np.arange(count)
        self._at += count
        if self.tone.value.repeats:
            return sound[indices % len(sound)]
        return np.where(indices < len(sound), sound[np.minimum(indices, len(sound) - 1)], np.float32(0))


@cache
def round_of(tone: Tone) -> NDArray[np.float32]:
    """One round of a tone, float32 [n] at 22 050 Hz; read-only."""
    sound = np.concatenate([_part(hz, seconds) for hz, seconds in tone.value.parts])
    sound.flags.writeable = False
    return sound


def _part(hz: float, seconds: float) -> NDArray[np.float32]:
    count = round(seconds * SAMPLE_RATE_HZ)
    if not hz:
        return np.zeros(count, np.float32)
    ramp = np.minimum(1.0, np.arange(1, count + 1) / (RAMP_S * SAMPLE_RATE_HZ))
    wave = LEVEL * np.sin(2 * np.pi * hz * np.arange(count) / SAMPLE_RATE_HZ)
    return (wave * ramp * ramp[::-1]).astype(np.float32)
