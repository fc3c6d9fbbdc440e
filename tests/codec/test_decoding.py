"""Healing, waiting, lag, silence: what the decoder's state goes through, against the lossless decoder's."""

from __future__ import annotations

import numpy as np
import pytest

from tests.models import speech_like
from voicelink.codec import decoding
from voicelink.codec.api import Codec
from voicelink.codec.decoding import HEAL_STEPS, MOST_GUESSES
from voicelink.codec.stream import Decoder
from voicelink.frame import Frame
from voicelink.units import HEAL_FRAMES, LAG_STEPS

COUNT = 90


class Counted:
    """An engine that counts its decoder's steps."""

    def __init__(self, codec: Codec) -> None:
        self._engine, self.steps = codec.engine, 0

    def __getattr__(self, name: str):
        return getattr(self._engine, name)

    def decode_step(self, code: np.ndarray, state: np.ndarray):
        self.steps += 1
        return self._engine.decode_step(code, state)


@pytest.fixture(scope="module")
def frames(harmonic_codec: Codec) -> list[Frame]:
    return harmonic_codec.encoder(bits=64).push(speech_like(256 * (COUNT + 3)))[:COUNT]


@pytest.fixture(scope="module")
def lossless(harmonic_codec: Codec, frames: list[Frame]) -> list[np.ndarray]:
    """The coder's state after each frame."""
    decoder, states = harmonic_codec.decoder(), []
    for frame in frames:
        decoder.play(frame)
        states.append(decoder.state.coder.state)
    return states


def decoder_at(codec: Codec, frames: list[Frame], upto: int) -> Decoder:
    decoder = codec.decoder()
    for frame in frames[:upto]:
        decoder.play(frame)
    return decoder


def test_five_frames_60_ms_late_leave_no_trace(
    harmonic_codec: Codec, frames: list[Frame], lossless: list[np.ndarray]
) -> None:
    """Overtaken: concealed, played past, and then there, all at once: exact from the next frame on."""
    decoder = decoder_at(harmonic_codec, frames, 20)
    for _ in range(5):
        decoder.conceal()
    for frame in frames[25:30]:  # 58 ms
        decoder.play(frame)
    assert not np.array_equal(decoder.state.coder.state, lossless[29])
    for frame in frames[20:25]:
        decoder.heal(frame)
    decoder.play(frames[30])
    assert np.array_equal(decoder.state.coder.state, lossless[30])
    assert decoder.state.coder.past == ()


def test_frames_each_60_ms_late_heal_one_by_one(
    harmonic_codec: Codec, frames: list[Frame], lossless: list[np.ndarray]
) -> None:
    decoder = decoder_at(harmonic_codec, frames, 20)
    for index in range(20, 30):
        if index >= 25:
            decoder.heal(frames[index - 5])
            decoder.play(frames[index])
        else:
            decoder.conceal()
    decoder.play(frames[30])
    assert np.array_equal(decoder.state.coder.state, lossless[30])


def test_frames_that_were_waited_for_take_the_guesses_back(
    harmonic_codec: Codec, frames: list[Frame], lossless: list[np.ndarray]
) -> None:
    decoder = decoder_at(harmonic_codec, frames, 20)
    for _ in range(7):
        decoder.conceal()
    decoder.play(frames[20])
    assert np.array_equal(decoder.state.coder.state, lossless[20])
    assert decoder.state.coder.concealed == 0


def test_slots_that_stood_for_lost_frames_count_and_the_rest_is_taken_back(
    harmonic_codec: Codec, frames: list[Frame]
) -> None:
    """Seven slots waited, two frames were lost: as if exactly two had been concealed; they may still heal."""
    waited, exact = (decoder_at(harmonic_codec, frames, 20) for _ in range(2))
    for decoder, slots in ((waited, 7), (exact, 2)):
        for _ in range(slots):
            decoder.conceal()
        decoder.play(frames[22])
    assert np.array_equal(waited.state.coder.state, exact.state.coder.state)
    assert len(waited.state.coder.past) == 3


def test_a_frame_left_out_while_missing_is_guessed(
    harmonic_codec: Codec, frames: list[Frame], lossless: list[np.ndarray]
) -> None:
    decoder = decoder_at(harmonic_codec, frames, 20)
    decoder.play(frames[21])
    assert len(decoder.state.coder.past) == 2
    decoder.heal(frames[20])
    decoder.play(frames[22])
    assert np.array_equal(decoder.state.coder.state, lossless[22])


def test_a_long_way_is_healed_in_bounded_steps_a_slot(
    harmonic_codec: Codec, frames: list[Frame], lossless: list[np.ndarray]
) -> None:
    counted = Counted(harmonic_codec)
    decoder = Decoder(counted, harmonic_codec.vocoder)  # type: ignore[arg-type]
    for frame in frames[:20]:
        decoder.play(frame)
    decoder.conceal()
    for frame in frames[21:50]:
        decoder.play(frame)
    decoder.heal(frames[20])
    for index in range(50, 54):
        before = counted.steps
        decoder.play(frames[index])
        assert counted.steps - before <= HEAL_STEPS + 1
    assert np.array_equal(decoder.state.coder.state, lossless[53])
    assert decoder.state.coder.past == ()


def test_what_is_kept_is_bounded_and_what_is_too_old_is_let_be(
    harmonic_codec: Codec, frames: list[Frame], lossless: list[np.ndarray]
) -> None:
    decoder = decoder_at(harmonic_codec, frames, 20)
    decoder.conceal()
    for frame in frames[21 : 21 + HEAL_FRAMES + 5]:
        decoder.play(frame)
        assert len(decoder.state.coder.past) <= HEAL_FRAMES
    assert decoder.state.coder.past == ()
    decoder.heal(frames[20])
    decoder.heal(frames[3])
    decoder.play(frames[21 + HEAL_FRAMES + 5])
    for _ in range(3 * HEAL_FRAMES):
        decoder.conceal()
    assert len(decoder.state.coder.past) == HEAL_FRAMES


def test_any_course_of_events_heals_when_all_has_come(
    harmonic_codec: Codec, frames: list[Frame], lossless: list[np.ndarray]
) -> None:
    """Frames missing at random, each healed some slots later: whenever nothing is missing, the state is exact."""
    rng = np.random.default_rng(1)
    decoder, due, exact = decoder_at(harmonic_codec, frames, 5), dict[int, list[int]](), 0
    for index in range(5, COUNT):
        for late in due.pop(index, []):
            decoder.heal(frames[late])
        if rng.random() < 0.2:
            decoder.conceal()
            due.setdefault(index + int(rng.integers(1, 9)), []).append(index)
        else:
            decoder.play(frames[index])
        if not due and decoder.state.coder.dirty == len(decoder.state.coder.past):
            assert np.array_equal(decoder.state.coder.state, lossless[index])
            exact += 1
    assert exact > 10


def test_a_jump_of_the_index_is_not_guessed_through(harmonic_codec: Codec, frames: list[Frame]) -> None:
    decoder = decoder_at(harmonic_codec, frames, 20)
    before = decoder.state.coder.state
    decoder.play(frames[20 + MOST_GUESSES + 1])
    assert decoder.state.coder.past == ()
    one_step = decoder.state.coder.state
    other = decoder_at(harmonic_codec, frames, 20)
    assert np.array_equal(other.state.coder.state, before)
    decoder.play(frames[3])  # and back: a sender that begins anew
    assert decoder.state.coder.expected == 4
    assert not np.array_equal(decoder.state.coder.state, one_step)


def mel_of(decoder: Decoder, frame: Frame, lag: int) -> np.ndarray:
    from voicelink.codec.bits import unpack_code

    steps = decoding.play(decoder.state.coder, frame.index, unpack_code(frame)[None], frame.bits, lag)
    return decoding.run(decoder._engine, steps)[0]


def test_a_lag_lies_between_two_frames(harmonic_codec: Codec, frames: list[Frame]) -> None:
    decoder = decoder_at(harmonic_codec, frames, 20)
    before, now = decoder.state.coder.mel, mel_of(decoder, frames[20], 0)
    for lag in range(LAG_STEPS):
        between = mel_of(decoder, frames[20], lag)
        np.testing.assert_allclose(between, now + lag / LAG_STEPS * (before - now), atol=1e-5)


def test_silence_is_the_background_and_leaves_the_coder_alone(
    harmonic_codec: Codec, frames: list[Frame], lossless: list[np.ndarray]
) -> None:
    decoder = decoder_at(harmonic_codec, frames, 20)
    decoder.conceal()
    decoder.conceal()  # the silence was not known yet
    for index in range(22, 42):
        decoder.comfort_noise(index)
    assert np.array_equal(decoder.state.coder.state, lossless[19])
    np.testing.assert_allclose(decoder.state.coder.mel, decoder.state.coder.comfort, atol=1e-3)
    assert decoder.quiet
    moved = Frame(42, frames[20].bits, frames[20].payload)  # what the sender, which stood still as well, codes next
    decoder.play(moved)
    assert np.array_equal(decoder.state.coder.state, lossless[20])


def test_a_stretched_slot_is_heard_on_and_leaves_the_coder_alone(
    harmonic_codec: Codec, frames: list[Frame], lossless: list[np.ndarray]
) -> None:
    decoder = decoder_at(harmonic_codec, frames, 20)
    block = decoder.stretch()
    assert block.shape == (256,)
    assert np.array_equal(decoder.state.coder.state, lossless[19])


def test_speed_changes_and_returns_make_no_clicks(harmonic_codec: Codec, frames: list[Frame]) -> None:
    """Steps between samples at joins are no larger than those within the blocks beside them."""
    decoder, blocks = harmonic_codec.decoder(), []
    for frame in frames[:20]:
        blocks.append(decoder.play(frame))
    decoder.skip(frames[20])
    for number, frame in enumerate(frames[21:30]):
        blocks.append(decoder.play(frame, 18 - 2 * number))
    for number, frame in enumerate(frames[30:39]):
        blocks.append(decoder.play(frame, 2 * number + 2))
    blocks.append(decoder.stretch())
    blocks += [decoder.conceal() for _ in range(30)]
    blocks += [decoder.play(frame) for frame in frames[39:50]]
    for join in range(15, len(blocks)):
        within = np.abs(np.diff(np.concatenate(blocks[max(0, join - 2) : join + 2]))).max()
        assert abs(blocks[join][0] - blocks[join - 1][-1]) <= within
