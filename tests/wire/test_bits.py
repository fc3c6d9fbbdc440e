from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicelink.errors import PacketError
from voicelink.wire.bits import pack, unpack


@st.composite
def codes(draw: st.DrawFn) -> list[tuple[bytes, int]]:
    made = []
    for bits in draw(st.lists(st.integers(1, 64), max_size=12)):
        value = draw(st.integers(0, (1 << bits) - 1))
        made.append(((value << (-bits % 8)).to_bytes((bits + 7) // 8, "big"), bits))
    return made


def test_codes_follow_each_other_without_gaps() -> None:
    assert pack([(b"\xa0", 3), (b"\xff\x80", 9), (b"\x00", 2)]) == bytes([0b10111111, 0b11110000])


@given(codes())
def test_unpack_is_the_inverse_of_pack(made: list[tuple[bytes, int]]) -> None:
    packed = pack(made)
    assert len(packed) == (sum(bits for _, bits in made) + 7) // 8
    assert unpack(packed, [bits for _, bits in made]) == [payload for payload, _ in made]


@given(st.binary(max_size=40), st.lists(st.integers(1, 64), max_size=6))
def test_any_bytes_are_codes_or_a_packet_error(data: bytes, widths: list[int]) -> None:
    try:
        found = unpack(data, widths)
    except PacketError:
        return
    assert pack(zip(found, widths, strict=True)) == data


def test_wrong_lengths_and_padding_are_told() -> None:
    with pytest.raises(PacketError, match="2 bytes of codes where 8 bits"):
        unpack(b"\x00\x00", [8])
    with pytest.raises(PacketError, match="not zero"):
        unpack(b"\x01", [7])
