"""Streaming encoder and decoder: samples in, frames out; frames in, samples out.

Offline coding is these very classes fed with the whole signal, so streaming equals offline by construction. Algorithmic
latency is 768 samples (34.83 ms): frame t needs samples up to 256t+767, and gives samples from 256t on.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from voicelink.audio.resampler import StreamResampler
from voicelink.codec import decoding
from voicelink.codec.bits import pack_code, sent_mask, unpack_code, unpack_second
from voicelink.codec.compensation import Compensation, share
from voicelink.codec.decoding import CoderState, Steps
from voicelink.codec.descriptions import second_code
from voicelink.codec.engine import Array, Engine
from voicelink.codec.mel import INPUT_SCALE, PAD_LEFT, PAD_RIGHT, log_mel_frame
from voicelink.codec.pauses import PauseDetector
from voicelink.codec.vocoder import Vocoder, VocoderState
from voicelink.errors import LocalProtocolError
from voicelink.frame import Frame, Pause
from voicelink.units import FRAME_SAMPLES, MAX_BITS_PER_FRAME, SAMPLE_RATE_HZ, WINDOW_SAMPLES

#: Rounds of the encoder search where nothing else is asked: 2 of at most 3 that still improve speech.
SEARCH_ROUNDS: Final = 2
#: A call must keep time on half a core, so unless asked otherwise (`--search`) its encoder takes the network's own
#: codes, as do simulated calls. Each round of the search costs another 1 ms a frame (a tenth of a core), and hearing
#: the vocoder beforehand, which goes with any, 2 ms; second descriptions cost the encoder and the rounds once more.
CALL_SEARCH_ROUNDS: Final = 0
_SHORTEST = PAD_RIGHT + FRAME_SAMPLES


class Encoder:
    """One stream's encoder. `bits` a frame may be set at any time and holds from the next frame on; so may `rounds` of
    the encoder search (`codec.search`), which trade processor time for quality. With any, an encoder that
    `compensates` also asks for what the vocoder would miss (`codec.compensation`; the harmonic one only), and one that
    `describes_twice`, which may be set at any time, gives each frame a second code (`codec.descriptions`).

    The first 256 samples before the stream are its reflection, as offline; `flush` reflects the end.

    With `pauses` frames in which nothing is said are left out, and the coder stands still meanwhile, as a decoder does
    over announced silence: `hear` tells of them.
    """

    def __init__(
        self,
        engine: Engine,
        sample_rate: int = SAMPLE_RATE_HZ,
        bits: int = MAX_BITS_PER_FRAME,
        rounds: int = SEARCH_ROUNDS,
        *,
        pauses: bool = False,
        compensates: bool = False,
    ) -> None:
        self._engine = engine
        self.rounds = rounds
        self.describes_twice = False
        self._compensation = Compensation(engine) if compensates else None
        self._resampler = StreamResampler(sample_rate, SAMPLE_RATE_HZ) if sample_rate != SAMPLE_RATE_HZ else None
        self.bits = bits
        self._pauses = PauseDetector() if pauses else None
        self._state = engine.coder_state()
        self._index = 0
        self._begun = self._ended = False
        self._pending: NDArray[np.float32] = np.zeros(0, np.float32)

    @property
    def bits(self) -> int:
        """Bits a frame, 1..64."""
        return self._bits

    @bits.setter
    def bits(self, bits: int) -> None:
        if not 1 <= bits <= MAX_BITS_PER_FRAME:
            raise LocalProtocolError(f"{bits} bits a frame is outside 1..{MAX_BITS_PER_FRAME}")
        self._bits = bits
        self._sent = sent_mask(bits)[None]

    def push(self, block: NDArray[np.float32]) -> list[Frame]:
        """Take any number of samples, float32 [n] in +-1 at the stream's rate; return the frames they complete."""
        return [frame for frame in self.hear(block) if isinstance(frame, Frame)]

    def hear(self, block: NDArray[np.float32]) -> list[Frame | Pause]:
        """As `push`, with a Pause for each frame that was left out."""
        if self._ended:
            raise LocalProtocolError("push after flush: make a new encoder for a new stream")
        if self._resampler is not None:
            block = self._resampler.push(block)
        return self._take(block)

    def flush(self) -> list[Frame]:
        """End the stream: the frames that hold its last samples."""
        if self._ended:
            return []
        tail = self._resampler.flush() if self._resampler is not None else np.zeros(0, np.float32)
        frames = self._take(tail)
        self._ended = True
        return [frame for frame in frames + self._reflect_end() if isinstance(frame, Frame)]

    def _take(self, block: NDArray[np.float32]) -> list[Frame | Pause]:
        return self._feed(np.asarray(block, np.float32) * np.float32(INPUT_SCALE))

    def _feed(self, scaled: NDArray[np.float32]) -> list[Frame | Pause]:
        """Add scaled samples and code every frame whose window is complete.

        `_pending` starts at sample 256t-256 of the next frame t once the left reflection stands before it.
        """
        self._pending = np.concatenate([self._pending, scaled])
        if not self._begun:
            if len(self._pending) < _SHORTEST:
                return []
            self._begun = True
            self._pending = np.concatenate([self._pending[PAD_LEFT:0:-1], self._pending])
        frames: list[Frame | Pause] = []
        while len(self._pending) >= WINDOW_SAMPLES:
            frames.append(self._code(self._pending[:WINDOW_SAMPLES]))
            self._pending = self._pending[FRAME_SAMPLES:]
        return frames

    def _reflect_end(self) -> list[Frame | Pause]:
        """Pad with zeros to whole frames (three at least), reflect 512 samples, code what is left."""
        uncoded = len(self._pending) - (PAD_LEFT if self._begun else 0)
        if not uncoded:
            return []
        frames_left = -(-uncoded // FRAME_SAMPLES)
        whole = frames_left * FRAME_SAMPLES if self._begun else _SHORTEST
        frames = self._feed(np.zeros(whole - uncoded, np.float32))
        frames += self._feed(self._pending[-2 : -2 - PAD_RIGHT : -1])
        return frames[:frames_left]

    def _code(self, window: NDArray[np.float32]) -> Frame | Pause:
        mel, index, pauses = log_mel_frame(window), self._index, self._pauses
        self._index += 1
        lacks = self._compensation.step(mel, window) if self._compensation is not None and self.rounds else None
        if pauses is not None and pauses.step(mel):
            return Pause(index, pauses.noise)
        if lacks is not None:
            mel = mel + share(self._bits) * lacks
        engine, given, rounds = self._engine, (self._sent, self._state), self.rounds
        code, decoded, self._state = engine.encode_step(mel[None], *given, rounds)
        twice = self.describes_twice and rounds
        second = second_code(engine, mel[None], decoded, *given, rounds)[0] if twice else None
        return pack_code(index, code[0], self._bits, second)


class DecoderState(NamedTuple):
    """All that a decoder carries from frame to frame; immutable, so it can be kept, forked and replayed from."""

    coder: CoderState
    vocoder: VocoderState


class Decoder:
    """One stream's decoder: what fills a slot gives the next 256 samples, float32 [256] at 22 050 Hz.

    `decoding.py` says what becomes of frames that come late. Frames are told apart by their index.
    """

    def __init__(self, engine: Engine, vocoder: Vocoder) -> None:
        self._engine, self._vocoder = engine, vocoder
        self.state = DecoderState(decoding.initial(engine), vocoder.initial_state())

    @property
    def quiet(self) -> bool:
        """Whether the last frame was as quiet as the background: here nobody hears one more or less."""
        return self.state.coder.quiet

    def play(self, frame: Frame, lag: int = 0) -> NDArray[np.float32]:
        """Decode a frame that came; heard `lag` twentieths of a frame before it."""
        block, self.state = self.play_step(frame, self.state, lag)
        return block

    def conceal(self) -> NDArray[np.float32]:
        """Stand in for a frame that did not come. It may still: as the next to `play`, or to `heal`."""
        block, self.state = self.conceal_step(self.state)
        return block

    def stretch(self) -> NDArray[np.float32]:
        """A slot without a new frame."""
        block, self.state = self._sound(decoding.stretch(self.state.coder), self.state)
        return block

    def comfort_noise(self, index: int, noise: bytes = b"") -> NDArray[np.float32]:
        """A slot of silence that the sender announced, in place of frame `index`; `noise` as in a Pause, where it
        told what the background is like."""
        block, self.state = self._sound(decoding.comfort_noise(self.state.coder, index, noise), self.state)
        return block

    def skip(self, frame: Frame) -> None:
        """Decode a frame that is not heard; no slot is filled."""
        steps = decoding.play(self.state.coder, frame.index, unpack_code(frame)[None], frame.bits)
        _, coder = decoding.run(self._engine, steps)
        self.state = self.state._replace(coder=coder)

    def heal(self, frame: Frame) -> None:
        """Take a frame that came after others were played past it; no slot is filled."""
        coder = decoding.heal(self.state.coder, frame.index, unpack_code(frame)[None])
        self.state = self.state._replace(coder=coder)

    def play_step(self, frame: Frame, state: DecoderState, lag: int = 0) -> tuple[NDArray[np.float32], DecoderState]:
        """Pure form of `play`."""
        code, second = unpack_code(frame)[None], unpack_second(frame)
        second = None if second is None else second[None]
        return self._sound(decoding.play(state.coder, frame.index, code, frame.bits, lag, second), state)

    def conceal_step(self, state: DecoderState) -> tuple[NDArray[np.float32], DecoderState]:
        """Pure form of `conceal`."""
        return self._sound(decoding.conceal(state.coder), state)

    def _sound(
        self, steps: Steps[tuple[Array, CoderState]], state: DecoderState
    ) -> tuple[NDArray[np.float32], DecoderState]:
        mel, coder = decoding.run(self._engine, steps)
        block, vocoder = self._vocoder.step(mel, state.vocoder)
        return block, DecoderState(coder, vocoder)
