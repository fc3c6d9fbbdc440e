"""A clip made to fill a call."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from voicelink.units import SAMPLE_RATE_HZ

LEAD_IN_S: Final = 0.3
GAP_S: Final = 0.7
FADE_S: Final = 0.02


def fill(speech: NDArray[np.float32], samples: int) -> NDArray[np.float32]:
    """Float32 [samples] at 22 050 Hz: a short silence, then `speech` and pauses in turn; faded out at the end."""
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
