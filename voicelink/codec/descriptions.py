"""Second descriptions: where a frame is sent twice with all its bits, the second code is another one.

Two equal copies tell no more than one. Here the encoder looks for a second code of the same frame, from the same state,
that leaves out what the first one got wrong, by part. Each alone is worth as much as the other; a decoder that has both
takes the mean of their log-mels, which lies nearer (multiple description coding: Goyal, IEEE Signal Processing Magazine
18, 2001). The recurrence follows the first code that came, as without, so nothing else changes, and a decoder that does
not know of this takes the second code for a copy. It is part of the encoder search: the network's own code of the
target would be the same but for a few bits.

`docs/training.md` tells what it gives.
"""

from __future__ import annotations

from typing import Final

from voicelink.codec.engine import Array, Engine

#: Part of the first code's error that the second one is to make up for. With all of it the mean is no better, and the
#: second code alone is worse.
SHARE: Final = 0.5


def second_code(engine: Engine, mel: Array, decoded: Array, sent: Array, state: Array, rounds: int) -> Array:
    """Another code [B, 64] of log-mels [B, 80] whose first one, from `state` [B, h], decodes to `decoded` [B, 80]."""
    code, _, _ = engine.encode_step(mel + SHARE * (mel - decoded), sent, state, rounds)
    return code
