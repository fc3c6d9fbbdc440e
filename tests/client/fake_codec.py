"""A codec for tests of the call: it carries each frame's loudness, and answers with a tone of that loudness.

Same framing, look-ahead and interface as the real one (frame t needs samples up to 256 t + 767), no model.
Run as a program, it is one end of a demonstration with this codec.
"""

from __future__ import annotations

import sys
from typing import NamedTuple

import numpy as np

from voicelink.audio.resampler import StreamResampler
from voicelink.frame import Frame, Pause
from voicelink.units import FRAME_SAMPLES, SAMPLE_RATE_HZ

TONE_HZ = 441.0


class FakeEncoder:
    def __init__(self, sample_rate: int, bits: int, rounds: int = 0, pauses: bool = False) -> None:
        self.bits, self.rounds, self.pauses = bits, rounds, pauses
        self.describes_twice = False
        self._resampler = StreamResampler(sample_rate, SAMPLE_RATE_HZ)
        self._pending = np.zeros(0, np.float32)
        self._index = 0

    def push(self, block: np.ndarray) -> list[Frame]:
        return [frame for frame in self.hear(block) if isinstance(frame, Frame)]

    def hear(self, block: np.ndarray) -> list[Frame | Pause]:
        self._pending = np.concatenate((self._pending, self._resampler.push(block)))
        frames: list[Frame | Pause] = []
        while len(self._pending) >= 3 * FRAME_SAMPLES:
            rms = float(np.sqrt(np.mean(self._pending[:FRAME_SAMPLES] ** 2)))
            level = 0 if rms < 1e-3 else max(1, min(255, round(255 * (1 + 20 * np.log10(rms) / 60))))
            payload = bytes([level]) + bytes((self.bits + 7) // 8 - 1)
            silent = self.pauses and not level
            frames.append(Pause(self._index, bytes(8)) if silent else Frame(self._index, self.bits, payload))
            self._index += 1
            self._pending = self._pending[FRAME_SAMPLES:]
        return frames


class FakeState(NamedTuple):
    coder: int
    """Level of the last frame."""
    vocoder: int
    """Samples made so far."""


class FakeDecoder:
    def __init__(self) -> None:
        self.state = FakeState(0, 0)

    quiet = False

    def play(self, frame: Frame, lag: int = 0) -> np.ndarray:
        level, at = frame.payload[0], self.state.vocoder
        self.state = FakeState(level, at + FRAME_SAMPLES)
        return _tone(level, at)

    def conceal(self) -> np.ndarray:
        level, at = self.state
        self.state = FakeState(level // 2, at + FRAME_SAMPLES)
        return _tone(level, at)

    def stretch(self) -> np.ndarray:
        return self.play(Frame(0, 8, bytes([self.state.coder])))

    def comfort_noise(self, index: int, noise: bytes = b"") -> np.ndarray:
        return self.stretch()

    def skip(self, frame: Frame) -> None:
        self.state = self.state._replace(coder=frame.payload[0])

    def heal(self, frame: Frame) -> None:
        pass


class FakeCodec:
    model_id = "fake-1"

    def encoder(
        self, sample_rate: int = SAMPLE_RATE_HZ, bits: int = 32, rounds: int | None = None, pauses: bool = False
    ) -> FakeEncoder:
        return FakeEncoder(sample_rate, bits, rounds or 0, pauses)

    def decoder(self) -> FakeDecoder:
        return FakeDecoder()


def _tone(level: int, at: int) -> np.ndarray:
    gain = 0.0 if level == 0 else 10 ** (3 * (level / 255 - 1))
    t = (at + np.arange(FRAME_SAMPLES)) / SAMPLE_RATE_HZ
    return (np.sqrt(2) * gain * np.sin(2 * np.pi * TONE_HZ * t)).astype(np.float32)


if __name__ == "__main__":
    from voicelink_client.demo_end import main

    sys.exit(main(load=lambda settings: FakeCodec()))
