"""The bundled speech clips."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from voicelink.audio.files import read_audio
from voicelink.audio.repeat import fill
from voicelink.audio.resampler import resample
from voicelink.errors import AudioError
from voicelink.units import SAMPLE_RATE_HZ

FOLDER: Final = Path(__file__).parent / "clips"


def bundled_clips() -> list[Path]:
    """The clips that come with the program, sorted. Raises AudioError where there are not two."""
    found = sorted(FOLDER.glob("*.flac"))
    if len(found) < 2:
        raise AudioError(f"{FOLDER}: the bundled speech clips are missing; install voicelink again")
    return found


def clip_for(path: Path, seconds: float) -> NDArray[np.float32]:
    """A clip at 22 050 Hz, said again and again with pauses between until `seconds` are full."""
    speech, rate_hz = read_audio(path)
    return fill(resample(speech, rate_hz, SAMPLE_RATE_HZ), round(seconds * SAMPLE_RATE_HZ))
