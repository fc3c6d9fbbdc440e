"""One slot of the loudspeaker: ask the session what to play, and make 256 samples of it, or 128 of silence."""

from __future__ import annotations

from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from voicelink.core.events import ComfortNoise, Conceal, Heal, Play, PlayoutDecision, Skip, Stretch
from voicelink.frame import Frame
from voicelink.units import FRAME_SAMPLES

#: More skips for one slot would cost more time than the slot has.
MAX_SKIPS: Final = 4

Block = NDArray[np.float32]


class Decoder(Protocol):
    """A streaming decoder (`voicelink.codec.stream.Decoder`). Blocks are float32 [256] at 22 050 Hz."""

    state: Any
    """Immutable: it can be kept and put back."""

    @property
    def quiet(self) -> bool:
        """Whether what it made last was no more than background."""

    def play(self, frame: Frame, lag: int = ...) -> Block:
        """A frame, heard `lag` twentieths of a frame before it."""

    def conceal(self) -> Block:
        """In place of a missing frame."""

    def stretch(self) -> Block:
        """A slot without a new frame."""

    def comfort_noise(self, index: int, noise: bytes = ...) -> Block:
        """A slot of announced silence in place of frame `index`; what the background is like, where that is known."""

    def skip(self, frame: Frame) -> None:
        """Decode without sound."""

    def heal(self, frame: Frame) -> None:
        """A late frame for the decoder's state."""


class Pull(Protocol):
    """`SessionDriver.pull_frame`."""

    def __call__(self, *, quiet: bool = ...) -> PlayoutDecision:
        """What fills the next slot; `quiet` as Session.pull_frame."""


class Playout:
    """Turns `pull`'s decisions into sound with `decoder`."""

    def __init__(self, decoder: Decoder, pull: Pull) -> None:
        self._decoder, self._pull = decoder, pull

    def next_slot(self) -> tuple[PlayoutDecision, Block]:
        """What the slot's decision was, and its float32 [256] at 22 050 Hz; [128] while there is nothing to play."""
        skips, quiet = 0, self._decoder.quiet
        while True:
            decision = self._pull(quiet=quiet)
            if isinstance(decision, Heal):
                self._decoder.heal(decision.frame)
            elif isinstance(decision, Skip) and skips < MAX_SKIPS:
                self._decoder.skip(decision.frame)
                skips += 1
            else:
                return decision, self._sound(decision)

    def _sound(self, decision: PlayoutDecision) -> Block:
        decoder = self._decoder
        match decision:
            case Play():
                return decoder.play(decision.frame, decision.lag)
            case Skip():
                return decoder.play(decision.frame)
            case Conceal():
                return decoder.conceal()
            case Stretch():
                return decoder.stretch()
            case ComfortNoise():
                return decoder.comfort_noise(decision.index, decision.noise)
        return np.zeros(FRAME_SAMPLES // 2, np.float32)
