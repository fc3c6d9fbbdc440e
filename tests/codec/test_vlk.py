from __future__ import annotations

import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicelink.codec.vlk import EncodedSpeech
from voicelink.errors import AudioError
from voicelink.frame import Frame


def frame(index: int, bits: int, seed: int) -> Frame:
    value = (0x9E3779B97F4A7C15 * (seed + 1) ^ seed) & (1 << bits) - 1
    size = (bits + 7) // 8
    return Frame(index, bits, (value << (8 * size - bits)).to_bytes(size, "big"))


def speech(bits: list[int], rate: int = 22_050, model: str = "h512-test-0badcafe") -> EncodedSpeech:
    samples = max(0, len(bits) * 256 * rate // 22_050 - 1)
    return EncodedSpeech(model, rate, samples, tuple(frame(i, b, i) for i, b in enumerate(bits)))


def resealed(data: bytes) -> bytes:
    return data[:-4] + struct.pack("<I", zlib.crc32(data[:-4]))


def parse(data: bytes) -> EncodedSpeech | AudioError:
    try:
        return EncodedSpeech.from_bytes(data, "x.vlk")
    except AudioError as error:
        return error


bit_lists = st.lists(st.integers(1, 64), min_size=0, max_size=40)


@given(bits=bit_lists, rate=st.sampled_from([8_000, 16_000, 22_050, 44_100, 48_000]))
def test_round_trip(bits: list[int], rate: int) -> None:
    coded = speech(bits, rate)
    data = coded.to_bytes()
    assert EncodedSpeech.from_bytes(data) == coded
    assert len(data) == 22 + len(coded.model_id) + 5 * len(coded.runs()) + coded.payload_bytes + 4


def test_bytes_are_those_of_the_table() -> None:
    coded = EncodedSpeech("m", 22_050, 700, (Frame(0, 3, b"\xa0"), Frame(1, 3, b"\x60"), Frame(2, 6, b"\xfc")))
    body = bytes.fromhex("89564c4b 01 01 22560000 bc02000000000000 02000000 6d 02000000 03 01000000 06") + bytes(
        [0b10101111, 0b11110000]
    )
    assert coded.to_bytes() == body + struct.pack("<I", zlib.crc32(body))


def test_figures() -> None:
    coded = speech([35] * 861 + [64])
    assert coded.runs() == [(861, 35), (1, 64)]
    assert coded.payload_bits == 861 * 35 + 64
    assert coded.payload_bytes == -(-(861 * 35 + 64) // 8)
    assert coded.bitrate_bps == pytest.approx((861 * 35 + 64) / 862 * 22_050 / 256)
    assert coded.seconds == pytest.approx(862 * 256 / 22_050, abs=1e-4)


@given(st.binary(max_size=200))
def test_any_bytes_give_a_value_or_audio_error(data: bytes) -> None:
    for candidate in (data, b"\x89VLK\x01" + data, resealed(b"\x89VLK\x01" + data + b"1234")):
        parsed = parse(candidate)
        if isinstance(parsed, AudioError):
            assert str(parsed).startswith("x.vlk: ")
            assert "\n" not in str(parsed)
        else:
            assert parsed.to_bytes() == candidate


@given(
    bits=st.lists(st.integers(1, 64), min_size=1, max_size=20),
    at=st.integers(0, 10**6),
    flip=st.integers(1, 255),
)
def test_every_damaged_byte_is_found(bits: list[int], at: int, flip: int) -> None:
    data = bytearray(speech(bits).to_bytes())
    data[at % len(data)] ^= flip
    with pytest.raises(AudioError):
        EncodedSpeech.from_bytes(bytes(data))


@given(
    bits=st.lists(st.integers(1, 64), min_size=1, max_size=20),
    at=st.integers(0, 10**6),
    flip=st.integers(1, 255),
)
def test_damage_with_a_right_checksum_is_a_value_or_audio_error(bits: list[int], at: int, flip: int) -> None:
    data = bytearray(speech(bits).to_bytes())
    data[at % (len(data) - 4)] ^= flip
    sealed = resealed(bytes(data))
    parsed = parse(sealed)
    assert isinstance(parsed, AudioError) or parsed.to_bytes() == sealed


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda d: b"", "empty"),
        (lambda d: b"RIFF....WAVEfmt ", "not a .vlk file"),
        (lambda d: d[:3], "not a .vlk file"),
        (lambda d: d[:20], "truncated"),
        (lambda d: d[:-1], "truncated or damaged"),
        (lambda d: d[:4] + b"\x02" + d[5:], "version 2"),
        (lambda d: resealed(d[:10] + b"\xff" * 8 + d[18:]), "do not fit"),
        (lambda d: resealed(d[:18] + b"\xff" * 4 + d[22:]), "runs do not fit"),
        (lambda d: resealed(d[:6] + bytes(4) + d[10:]), "sample rate 0 Hz"),
        (lambda d: resealed(d[:22] + b"\x07" + d[23:]), "model id"),
        (lambda d: resealed(d[:40] + b"\xff\xff\xff\xff" + d[44:]), "announced"),
    ],
)
def test_bad_files_say_what_is_wrong(make, says: str) -> None:
    with pytest.raises(AudioError, match=says):
        EncodedSpeech.from_bytes(make(speech([16] * 30).to_bytes()), "f.vlk")


@pytest.mark.parametrize(
    ("model", "rate", "samples", "indices"),
    [("", 22_050, 256, [0]), ("a b", 22_050, 256, [0]), ("m" * 65, 22_050, 256, [0]), ("é", 22_050, 256, [0]),
     ("m", 3_999, 256, [0]), ("m", 22_050, 100_000, [0]), ("m", 22_050, -1, []), ("m", 22_050, 256, [1])],
)  # fmt: skip
def test_values_that_could_not_be_written_are_refused(model: str, rate: int, samples: int, indices: list[int]) -> None:
    with pytest.raises(AudioError):
        EncodedSpeech(model, rate, samples, tuple(frame(i, 8, i) for i in indices))


def test_more_than_twelve_hours_are_refused_before_any_frame_is_made() -> None:
    hour = 3600 * 22_050
    frames = -(-13 * hour // 256)
    head = struct.pack("<4sBBIQI", b"\x89VLK", 1, 1, 22_050, 13 * hour, 1)
    data = head + b"m" + struct.pack("<IB", frames, 1) + bytes(-(-frames // 8))
    found = parse(data + struct.pack("<I", zlib.crc32(data)))
    assert isinstance(found, AudioError)
    assert "13.0 hours; 12 are the most" in str(found)
