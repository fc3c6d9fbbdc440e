"""One slot of the loudspeaker: ask the session what to play, and make 256 samples of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from voicelink.core.events import Conceal, Play, PlayoutDecision, Skip, Stretch
from voicelink.frame import Frame
from voicelink.units import FRAME_SAMPLES

#: More skips for one slot would cost more time than the slot has.
MAX_SKIPS: Final = 4


class Decoder(Protocol):
    """A streaming decoder with an explicit state (`voicelink.codec.stream.Decoder`)."""

    state: Any
    """An immutable named tuple with the fields `coder` and `vocoder`, among others."""

    def play_step(self, frame: Frame, state: Any) -> tuple[NDArray[np.float32], Any]:
        """Samples [256] of a frame, and the state after it."""

    def conceal_step(self, state: Any) -> tuple[NDArray[np.float32], Any]:
        """Samples [256] in place of a missing frame, and the state after it."""


class Playout:
    """Turns `pull`'s decisions into sound with `decoder`."""

    def __init__(self, decoder: Decoder, pull: Callable[[], PlayoutDecision]) -> None:
        self._decoder, self._pull = decoder, pull

    def next_slot(self) -> tuple[PlayoutDecision, NDArray[np.float32]]:
        """What the slot's decision was, and its float32 [256] at 22 050 Hz."""
        decision = self._pull()
        skips = 0
        while isinstance(decision, Skip) and skips < MAX_SKIPS:
            self._skip(decision.frame)
            decision = self._pull()
            skips += 1
        return decision, self._sound(decision)

    def _sound(self, decision: PlayoutDecision) -> NDArray[np.float32]:
        decoder = self._decoder
        if isinstance(decision, (Play, Skip)):
            block, decoder.state = decoder.play_step(decision.frame, decoder.state)
        elif isinstance(decision, Conceal):
            block, decoder.state = decoder.conceal_step(decoder.state)
        elif isinstance(decision, Stretch):
            block = self._stretch()
        else:
            block = np.zeros(FRAME_SAMPLES, np.float32)
        return block

    def _skip(self, frame: Frame) -> None:
        """Leave a frame out before the vocoder: the coder takes it, the waveform goes on without a jump."""
        before = self._decoder.state
        _, after = self._decoder.play_step(frame, before)
        self._decoder.state = after._replace(vocoder=before.vocoder)

    def _stretch(self) -> NDArray[np.float32]:
        """Put a guessed frame in before the vocoder: the coder stays where both ends have it."""
        before = self._decoder.state
        block, after = self._decoder.conceal_step(before)
        self._decoder.state = before._replace(vocoder=after.vocoder)
        return block
