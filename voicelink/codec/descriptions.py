"""Second descriptions: where a frame is sent twice with all its bits, the second code is another one.

Equal copies tell no more than one. Here the encoder looks for a second code of the same frame, from the same state,
that makes up for part of what the first one got wrong. It decodes as near to the frame as the first does; a decoder
that has both takes the mean of their log-mels, which lies nearer (multiple description coding: Goyal, IEEE Signal
Processing Magazine 18, 2001). The recurrence follows the first code, so nothing else changes. Where the second one
alone arrives, it is decoded instead, but then the decoder's state is a little off the sender's, and the frames after
it are worse. So it is sent only where another whole copy of the frame follows. It is part of the encoder search: the
network's own code of the target would be the same but for a few bits.

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
