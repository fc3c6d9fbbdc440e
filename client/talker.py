"""From captured sound to frames: codes as many bits as the call wants, or nothing while nothing is to be sent or said.

Under a constant rate silence is coded then, so that nothing shows.

While nothing is sent the encoder stands still, as the other end's decoder does, but frame indices go on with time: the
gap that they leave tells the other end how long it was.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from voicelink.frame import Frame, Pause
from voicelink.units import FRAME_SAMPLES, SAMPLE_RATE_HZ


class Encoder(Protocol):
    """A streaming encoder (`voicelink.codec.stream.Encoder`)."""

    bits: int
    rounds: int
    describes_twice: bool

    def hear(self, block: NDArray[np.float32]) -> list[Frame | Pause]:
        """Frames that these samples complete, or pauses in their place."""


class Talker:
    """Feeds `encoder` with sound at `rate_hz`; with `constant_bits`, always at so many bits, and always."""

    def __init__(self, encoder: Encoder, rate_hz: int, constant_bits: int = 0) -> None:
        self._encoder, self._rate_hz, self._constant_bits = encoder, rate_hz, constant_bits
        self._unsent_samples = 0
        """Captured while nothing was sent, at `rate_hz`."""

    def simplify(self) -> None:
        """Code without the encoder search from now on."""
        self._encoder.rounds = 0

    def push(self, block: NDArray[np.float32], bits: int, *, twice: bool = False) -> list[Frame | Pause]:
        """The frames (or pauses) that float32 [n] completes, at `bits` a frame; for 0 bits none, or of silence.

        `twice`: with second descriptions.
        """
        if self._constant_bits:
            block, bits = block if bits else np.zeros_like(block), self._constant_bits
        if not bits:
            self._unsent_samples += len(block)
            return []
        self._encoder.bits, self._encoder.describes_twice = bits, twice
        skipped = self._unsent_samples * SAMPLE_RATE_HZ // (self._rate_hz * FRAME_SAMPLES)
        frames = self._encoder.hear(block)
        return [replace(f, index=f.index + skipped) for f in frames] if skipped else frames
