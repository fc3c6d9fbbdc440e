"""Streaming equals offline, latency is what the design says, and state is the caller's."""

import numpy as np
import pytest

from tests.models import speech_like
from voicelink.codec.api import Codec
from voicelink.codec.mel import log_mel
from voicelink.codec.stream import Encoder
from voicelink.errors import LocalProtocolError
from voicelink.units import ALGORITHMIC_LATENCY_SAMPLES

CODECS = ["harmonic_codec", "bigvgan_codec"]


@pytest.fixture(params=CODECS)
def codec(request: pytest.FixtureRequest) -> Codec:
    return request.getfixturevalue(request.param)


@pytest.mark.parametrize("rate", [22_050, 48_000, 8_000])
def test_encoder_is_bit_exact_for_any_block_size(harmonic_codec: Codec, rate: int) -> None:
    speech = speech_like(9_000, rate)
    whole = harmonic_codec.encode(speech, rate, 2750).frames
    for size in (1, 100, 256, 1000, len(speech)):
        encoder = harmonic_codec.encoder(rate, bits=32)
        frames = [f for i in range(0, len(speech), size) for f in encoder.push(speech[i : i + size])]
        assert tuple(frames + encoder.flush()) == tuple(whole), f"block size {size}"


class MelSpy:
    """An engine that keeps the mels it is given."""

    def __init__(self, codec: Codec) -> None:
        self.codec, self.mels = codec, []

    def coder_state(self):
        return self.codec.engine.coder_state()

    def encode_step(self, mel, sent, state):
        self.mels.append(mel[0])
        return self.codec.engine.encode_step(mel, sent, state)


def _mels(codec: Codec, speech: np.ndarray, *, flush: bool = True) -> np.ndarray:
    spy = MelSpy(codec)
    encoder = Encoder(spy, bits=16)
    encoder.push(speech)
    if flush:
        encoder.flush()
    return np.stack(spy.mels)


def test_encoder_sees_the_offline_mel(harmonic_codec: Codec) -> None:
    speech = speech_like(256 * 30)
    assert np.array_equal(_mels(harmonic_codec, speech), log_mel(speech))


@pytest.mark.parametrize("samples", [1, 255, 256, 257, 511, 767, 768, 769, 1023, 1024, 1280, 5000])
def test_exact_length_back_from_any_length(harmonic_codec: Codec, samples: int) -> None:
    speech = speech_like(samples)
    coded = harmonic_codec.encode(speech, 22_050, 1400)
    assert len(coded.frames) == -(-samples // 256)
    assert [f.index for f in coded.frames] == list(range(len(coded.frames)))
    assert len(harmonic_codec.decode(coded)) == samples


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100, 48_000])
def test_exact_length_back_at_the_sources_rate(harmonic_codec: Codec, rate: int) -> None:
    speech = speech_like(rate // 3 + 17, rate)
    assert len(harmonic_codec.decode(harmonic_codec.encode(speech, rate))) == len(speech)


def test_algorithmic_latency_by_impulses(harmonic_codec: Codec) -> None:
    """An impulse at sample p first changes frame f, whose output begins at 256 f: the codec looks p - 256 f ahead.

    The largest look-ahead over all phases of the hop, plus the sample itself, is the latency.
    """
    speech = speech_like(256 * 12)
    reference = _mels(harmonic_codec, speech, flush=False)
    looks_ahead = []
    for position in range(256 * 7, 256 * 8):
        clicked = speech.copy()
        clicked[position] += 100.0  # the Hann window is only 1e-5 near its ends
        changed = np.abs(_mels(harmonic_codec, clicked, flush=False) - reference).max(axis=1) > 1e-6
        looks_ahead.append(position - 256 * int(np.flatnonzero(changed)[0]))
    assert max(looks_ahead) + 1 == ALGORITHMIC_LATENCY_SAMPLES


def test_output_is_there_after_the_latency(codec: Codec) -> None:
    """Pushing one sample at a time, output 256 t .. 256 t + 255 comes as soon as sample 256 t + 767 is in."""
    times = _blocks_as_they_come(codec, speech_like(256 * 8))
    assert {taken - 256 * index for index, taken in times} == {ALGORITHMIC_LATENCY_SAMPLES}


def test_frame_depends_on_no_later_sample(codec: Codec) -> None:
    """Impulse test of causality: a click at sample n leaves all frames alone whose window ends before n."""
    speech = speech_like(256 * 12)
    reference = codec.encoder(bits=64).push(speech)
    for position in (256 * 6 + 3, 256 * 6 + 767, 256 * 6 + 768, 256 * 7 + 10):
        clicked = speech.copy()
        clicked[position:] += 0.5
        frames = codec.encoder(bits=64).push(clicked)
        first_allowed = (position - 767 + 255) // 256
        assert frames[:first_allowed] == reference[:first_allowed]


def _blocks_as_they_come(codec: Codec, speech: np.ndarray) -> list[tuple[int, int]]:
    """(frame index, samples pushed when its 256 output samples were there), pushing one sample at a time."""
    encoder, decoder, out = codec.encoder(bits=64), codec.decoder(), []
    for taken in range(1, len(speech) + 1):
        for frame in encoder.push(speech[taken - 1 : taken]):
            assert len(decoder.play(frame)) == 256
            out.append((frame.index, taken))
    return out


def test_prefix_property_of_the_decoder(codec: Codec) -> None:
    frames = codec.encoder(bits=64).push(speech_like(256 * 20))
    whole = _decode(codec, frames)
    np.testing.assert_allclose(_decode(codec, frames[:7]), whole[: 7 * 256], atol=1e-6)


def test_two_interleaved_streams_are_two_separate_ones(codec: Codec) -> None:
    a = codec.encoder(bits=64).push(speech_like(256 * 10, seed=1))
    b = codec.encoder(bits=20).push(speech_like(256 * 10, seed=2)[::-1].copy())
    one, two = codec.decoder(), codec.decoder()
    mixed = [(one.play(x), two.play(y)) for x, y in zip(a, b, strict=True)]
    np.testing.assert_array_equal(np.concatenate([x for x, _ in mixed]), _decode(codec, a))
    np.testing.assert_array_equal(np.concatenate([y for _, y in mixed]), _decode(codec, b))


def test_a_kept_state_replays(codec: Codec) -> None:
    frames = codec.encoder(bits=64).push(speech_like(256 * 12))
    decoder = codec.decoder()
    for frame in frames[:4]:
        decoder.play(frame)
    kept = decoder.state
    first = [decoder.play(frame) for frame in frames[4:]]
    decoder.state = kept
    decoder.conceal()
    decoder.state = kept
    again = [decoder.play(frame) for frame in frames[4:]]
    np.testing.assert_array_equal(np.concatenate(first), np.concatenate(again))


def test_bits_may_change_every_frame(harmonic_codec: Codec) -> None:
    speech = speech_like(256 * 12)
    encoder, frames = harmonic_codec.encoder(bits=64), []
    for start in range(0, len(speech), 256):
        encoder.bits = 1 + start // 256 * 5
        frames += encoder.push(speech[start : start + 256])
    assert len({frame.bits for frame in frames}) == len(frames)
    assert np.isfinite(_decode(harmonic_codec, frames)).all()


def test_misuse_is_told() -> None:
    class NoEngine:
        def coder_state(self):
            return np.zeros((1, 4), np.float32)

    with pytest.raises(LocalProtocolError, match=r"outside 1\.\.64"):
        Encoder(NoEngine(), bits=65)
    encoder = Encoder(NoEngine(), bits=8)
    assert encoder.flush() == []
    with pytest.raises(LocalProtocolError, match="push after flush"):
        encoder.push(np.zeros(3, np.float32))


def _decode(codec: Codec, frames: list) -> np.ndarray:
    decoder = codec.decoder()
    return np.concatenate([decoder.play(frame) for frame in frames])
