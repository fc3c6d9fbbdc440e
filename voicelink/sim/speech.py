"""When a simulated talker talks: seeded talk spurts and pauses, where no real speech says it.

A frame of speech is b"", one of silence the background that the talker tells of (`frame.Pause`): as `codec/pauses.py`
judges real speech. Lengths are geometric, frame by frame, which is exact on every machine and as good as exponential;
the default means are those of ITU-T P.59 (1993), table 1.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Final

from voicelink.frame import NOISE_BYTES
from voicelink.sim.scenario import Scenario
from voicelink.units import NS_PER_S, frames_to_ns

#: A quiet room: log-mel -8 in each group of bands.
NOISE: Final = bytes([64] * NOISE_BYTES)


def pattern(scenario: Scenario, number: int) -> Iterator[bytes]:
    """Of each frame of end `number`, for ever: b"" or the background; always b"" where pauses are sent like speech."""
    if not scenario.dtx:
        while True:
            yield b""
    rng = random.Random(f"speech {number} {scenario.seed}")
    leave = [frames_to_ns(1) / (seconds * NS_PER_S) for seconds in (scenario.talk_s, scenario.pause_s)]
    silent = False
    while True:
        yield NOISE if silent else b""
        if rng.random() < leave[silent]:
            silent = not silent
