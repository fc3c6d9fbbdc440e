from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicelink.errors import PacketError
from voicelink.wire.media import Block, Feedback, MediaPacket, PauseNotice
from voicelink.wire.packet import Header, Kind, is_media, join, split


def payloads(bits: int, low: int, high: int) -> st.SearchStrategy[tuple[bytes, ...]]:
    one = st.integers(0, (1 << bits) - 1).map(lambda v: (v << (-bits % 8)).to_bytes((bits + 7) // 8, "big"))
    return st.lists(one, min_size=low, max_size=high).map(tuple)


@st.composite
def blocks(draw: st.DrawFn) -> Block:
    bits = draw(st.integers(1, 64))
    return Block(draw(st.integers(0, 127)), bits, draw(payloads(bits, 1, 8)))


U16 = st.integers(0, 0xFFFF)
U8 = st.integers(0, 0xFF)
FEEDBACKS = st.builds(Feedback, U16, U16, U8, U8, U16, st.integers(-128, 127), U8, U16)
PAUSES = st.builds(PauseNotice, U16, st.binary(min_size=8, max_size=8))


@st.composite
def packets(draw: st.DrawFn) -> MediaPacket:
    bits, first = draw(st.integers(1, 64)), draw(U16)
    repeated = tuple(draw(st.lists(blocks(), max_size=3)))
    told = draw(st.none() | FEEDBACKS)
    if draw(st.booleans()):
        return MediaPacket(first, 0, (), repeated, feedback=told, pause=draw(PAUSES))
    return MediaPacket(first, bits, draw(payloads(bits, 1, 8)), repeated, draw(st.booleans()), told)


@given(packets())
def test_parse_is_the_inverse_of_bytes(packet: MediaPacket) -> None:
    assert MediaPacket.parse(bytes(packet)) == packet


@given(st.binary(max_size=64))
def test_any_bytes_are_a_packet_or_a_packet_error(data: bytes) -> None:
    try:
        packet = MediaPacket.parse(data)
    except PacketError:
        return
    assert bytes(packet) == data


@given(packets(), st.data())
def test_a_flipped_bit_is_another_packet_or_a_packet_error(packet: MediaPacket, data: Any) -> None:
    damaged = bytearray(bytes(packet))
    at = data.draw(st.integers(0, 8 * len(damaged) - 1))
    damaged[at // 8] ^= 1 << (at % 8)
    try:
        other = MediaPacket.parse(bytes(damaged))
    except PacketError:
        return
    assert other != packet
    assert bytes(other) == bytes(damaged)


def test_the_sizes_that_the_documentation_promises() -> None:
    two = MediaPacket(0, 16, (b"ab", b"cd"))
    assert len(join(Header(Kind.MEDIA, 1, 2), bytes(two))) == 7 + 4 + 4
    again = MediaPacket(2, 16, (b"ef", b"gh"), (Block(0, 16, (b"ab", b"cd")),))
    assert len(bytes(again)) == 4 + 2 + 8
    told = MediaPacket(2, 16, (b"ef", b"gh"), feedback=Feedback(0, 0, 0, 0, 0, 0, 0, 0))
    assert len(bytes(told)) == 4 + 12 + 4
    assert len(bytes(MediaPacket(2, 0, (), pause=PauseNotice(0, bytes(8))))) == 4 + 10


def test_feedback_is_brought_into_its_ranges() -> None:
    big = Feedback(1 << 16, (1 << 16) + 5, 300, 1000, 70_000, 500, 400, 99_999)
    assert big == Feedback(0, 5, 255, 255, 65_535, 127, 255, 65_535)
    assert Feedback(1, 1, -1, -1, -1, -500, -1, -1) == Feedback(1, 1, 0, 0, 0, -128, 0, 0)


@given(st.sampled_from(Kind), st.integers(0, 0xFFFFFFFF), st.integers(0, 1 << 63), st.binary(max_size=99))
def test_headers_are_read_as_written(kind: Kind, connection_id: int, counter: int, body: bytes) -> None:
    data = join(Header(kind, connection_id, counter), body)
    assert split(data) == (Header(kind, connection_id, counter & 0xFFFF), body)
    assert is_media(data) == (kind is Kind.MEDIA)


@given(st.binary(max_size=1300))
def test_any_bytes_are_a_header_or_a_packet_error(data: bytes) -> None:
    try:
        header, body = split(data)
    except PacketError:
        return
    assert join(header, body) == data


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ((1 << 16, 8, (b"a",)), "does not fit 16 bits"),
        ((0, 8, ()), "0 frames in a packet"),
        ((0, 8, (b"a",) * 9), "9 frames in a packet"),
        ((0, 0, (b"a",)), "0 bits a frame"),
        ((0, 65, (b"a" * 9,)), "65 bits a frame"),
        ((0, 8, (b"a",), (Block(0, 8, (b"a",)),) * 4), "4 blocks"),
        ((0, 8, (b"a",), (), False, None, PauseNotice(0, bytes(8))), "a pause that holds frames"),
        ((0, 0, (), (), True, None, PauseNotice(0, bytes(8))), "a pause that .* starts a talk spurt"),
    ],
)
def test_values_without_an_encoding_cannot_be_made(values: tuple[Any, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MediaPacket(*values)


@pytest.mark.parametrize(
    ("kind", "values", "message"),
    [
        (Block, (128, 8, (b"a",)), "distance 128"),
        (Block, (0, 8, ()), "0 frames in a block"),
        (Block, (0, 8, (b"a",) * 9), "9 frames in a block"),
        (Block, (0, 0, (b"a",)), "0 bits a frame"),
        (PauseNotice, (1 << 16, bytes(8)), "a pause of 65536 frames"),
        (PauseNotice, (0, bytes(7)), "comfort noise of 7 bytes"),
    ],
)
def test_parts_without_an_encoding_cannot_be_made(kind: Any, values: tuple[Any, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        kind(*values)
