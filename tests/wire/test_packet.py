from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicelink.errors import PacketError
from voicelink.wire.packet import Header, Kind, MediaPacket, is_media, join, split


def payloads(bits: int, low: int, high: int) -> st.SearchStrategy[tuple[bytes, ...]]:
    one = st.integers(0, (1 << bits) - 1).map(lambda v: (v << (-bits % 8)).to_bytes((bits + 7) // 8, "big"))
    return st.lists(one, min_size=low, max_size=high).map(tuple)


@st.composite
def packets(draw: st.DrawFn) -> MediaPacket:
    bits, old_bits = draw(st.integers(1, 64)), draw(st.integers(1, 64))
    old = draw(payloads(old_bits, 0, 8))
    new = draw(payloads(bits, 1, 8))
    return MediaPacket(draw(st.integers(0, 0xFFFF)), bits, new, old_bits if old else 0, old)


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
    again = MediaPacket(2, 16, (b"ef", b"gh"), 16, (b"ab", b"cd"))
    assert len(bytes(again)) == 4 + 1 + 8


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
        ((0, 8, (b"a",), 8, (b"a",) * 9), "9 redundant frames"),
        ((0, 8, (b"a",), 8, ()), "8 bits for 0 redundant frames"),
        ((0, 8, (b"a",), 0, (b"a",)), "0 bits for 1 redundant frames"),
    ],
)
def test_values_without_an_encoding_cannot_be_made(values: tuple[Any, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MediaPacket(*values)
