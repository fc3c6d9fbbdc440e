from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicelink.wire.seq import unwrap


@given(st.integers(0, 1 << 62), st.integers(-32767, 32767))
def test_any_number_within_half_the_range_is_found(expected: int, offset: int) -> None:
    true = expected + offset
    if true >= 0:
        assert unwrap(true & 0xFFFF, expected) == true


@given(st.integers(0, 0xFFFF), st.integers(0, 1 << 62))
def test_the_result_has_the_low_bits_and_is_not_negative(low: int, expected: int) -> None:
    number = unwrap(low, expected)
    assert number & 0xFFFF == low
    assert number >= 0


@pytest.mark.parametrize(
    ("low", "expected", "number"),
    [(0, 0, 0), (0xFFFF, 0, 0xFFFF), (0, 0x10000, 0x10000), (0xFFFF, 0x10000, 0xFFFF), (1, 0xFFFF, 0x10001)],
)
def test_examples(low: int, expected: int, number: int) -> None:
    assert unwrap(low, expected) == number
