"""What is heard for frames that did not come: pure functions over log-mel frames, with the state given and returned.

`decoding.conceal` takes the code that the prior expects for a lost one, so speech goes on as the model expects. After
100 ms no phoneme can be guessed any more: the mel fades toward comfort noise, whose spectrum is learned from the
quietest received frames. Fading after 100 ms follows deep PLC in Opus (Valin et al., Interspeech 2022).
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from voicelink.codec.bits import UNSENT
from voicelink.codec.engine import Array
from voicelink.codec.mel import N_MELS

#: 104 ms as the model expects, then 139 ms of fading.
HOLD_FRAMES: Final = 9
FADE_FRAMES: Final = 12
#: Log-mel (natural log) of near silence.
_START_LEVEL = -10.0
#: Shares of the way to a received frame by which the noise follows it down (58 ms) and up (5.8 s).
_FALL, _RISE = 0.2, 0.002
#: A frame whose mean is no more than this above the noise is quiet (log-mel; 6 dB), and noise is approached by this
#: share a frame where silence begins.
_QUIET, _APPROACH = 0.7, 0.5
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


def expected_code(prior: Array, sent: Array) -> Array:
    """Code [B, 64] to decode for a lost frame: the prior's probabilities for bits that were sent, 0.5 for the rest."""
    code: Array = np.where(sent > 0, prior, np.float32(UNSENT))
    return code


def fade(mel: Array, comfort: Array, concealed: int | NDArray[np.int64]) -> Array:
    """Log-mel [B, 80] to play for the `concealed`-th frame in a row without a code: 1 = first; [B, 1] or one number."""
    share: Array = np.asarray(np.clip((concealed - HOLD_FRAMES) / FADE_FRAMES, 0.0, 1.0), np.float32)
    down: Array = np.minimum(comfort, mel) - mel
    faded: Array = mel + share * down
    return faded


def is_quiet(mel: Array, comfort: Array) -> bool:
    """Whether log-mel [1, 80] is about as quiet as the background, so that one frame more or less is not heard."""
    return bool(mel.mean() < comfort.mean() + _QUIET)


def toward_comfort(mel: Array, comfort: Array) -> Array:
    """Log-mel [1, 80] of announced silence after `mel`: a few frames until it is the background itself."""
    approached: Array = mel + np.float32(_APPROACH) * (comfort - mel)
    return approached
