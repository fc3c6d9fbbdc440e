"""The bundled speech clips, and how a clip is made to fill a call."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from voicelink.audio.files import read_audio
from voicelink.audio.resampler import resample
from voicelink.errors import AudioError
from voicelink.units import SAMPLE_RATE_HZ

FOLDER: Final = Path(__file__).parent / "clips"
LEAD_IN_S: Final = 0.3
GAP_S: Final = 0.7
FADE_S: Final = 0.02


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


def fill(speech: NDArray[np.float32], samples: int) -> NDArray[np.float32]:
    """Float32 [samples]: a short silence, then `speech` and pauses in turn; faded out at the end."""
    said = np.zeros(samples, np.float32)
    at = round(LEAD_IN_S * SAMPLE_RATE_HZ)
    while at < samples:
        part = speech[: samples - at]
        said[at : at + len(part)] = part
        at += len(speech) + round(GAP_S * SAMPLE_RATE_HZ)
    fade = min(samples, round(FADE_S * SAMPLE_RATE_HZ))
    if fade:
        said[-fade:] *= np.linspace(1, 0, fade, dtype=np.float32)
    return said
