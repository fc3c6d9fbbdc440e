"""What is heard for frames that did not come: pure functions over log-mel frames, with the state given and returned.

`stream.Decoder` takes the prior's most likely code for a lost one, so speech goes on as the model expects. After 100 ms
no phoneme can be guessed any more: the mel fades toward comfort noise, whose spectrum is learned from the quietest
received frames. Fading after 100 ms follows deep PLC in Opus (Valin et al., Interspeech 2022).
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from voicelink.codec.engine import Array
from voicelink.codec.mel import N_MELS

#: 104 ms as the model expects, then 139 ms of fading.
HOLD_FRAMES: Final = 9
FADE_FRAMES: Final = 12
#: Log-mel (natural log) of near silence.
_START_LEVEL = -10.0
#: Shares of the way to a received frame by which the noise follows it down (58 ms) and up (5.8 s).
_FALL, _RISE = 0.2, 0.002
#: No frame counts as louder than this above the noise (log-mel; 26 dB).
_MAX_STEP = 3.0


def initial_comfort() -> Array:
    """Comfort-noise log-mel [1, 80] before anything was received: near silence."""
    return np.full((1, N_MELS), _START_LEVEL, np.float32)


def track_comfort(comfort: Array, mel: Array) -> Array:
    """Follow a received frame of each stream [B, 80]: down fast, up slowly, so that speech does not raise the noise."""
    quieter = mel.mean(axis=-1, keepdims=True) < comfort.mean(axis=-1, keepdims=True)
    rate = np.where(quieter, np.float32(_FALL), np.float32(_RISE))
    followed: Array = comfort + rate * (np.minimum(mel, comfort + _MAX_STEP) - comfort)
    return followed


def fade(mel: Array, comfort: Array, concealed: int | NDArray[np.int64]) -> Array:
    """Log-mel [B, 80] to play for the `concealed`-th frame in a row without a code: 1 = first; [B, 1] or one number."""
    share: Array = np.asarray(np.clip((concealed - HOLD_FRAMES) / FADE_FRAMES, 0.0, 1.0), np.float32)
    down: Array = np.minimum(comfort, mel) - mel
    faded: Array = mel + share * down
    return faded
