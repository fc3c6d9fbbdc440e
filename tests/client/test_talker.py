from __future__ import annotations

import numpy as np
import pytest
from voicelink_client.talker import Talker

from tests.client.fake_codec import FakeEncoder
from voicelink.frame import Frame, Pause

BLOCK = np.full(480, 0.1, np.float32)


def test_a_change_of_bits_holds_from_the_next_frame_on() -> None:
    talker = Talker(FakeEncoder(22_050, 32), 22_050)
    for bits in (32, 8, 64):
        assert {f.bits for f in talker.push(np.zeros(2_560, np.float32), bits)} == {bits}


def test_second_descriptions_are_made_while_they_are_wanted() -> None:
    coder = FakeEncoder(22_050, 32)
    talker = Talker(coder, 22_050)
    for twice in (True, False):
        talker.push(BLOCK, 32, twice=twice)
        assert coder.describes_twice == twice


@pytest.mark.parametrize("rate_hz", [22_050, 48_000, 16_000])
def test_indices_go_on_with_time_while_nothing_is_sent(rate_hz: int) -> None:
    coder = FakeEncoder(rate_hz, 32)
    talker = Talker(coder, rate_hz)
    first = [f for _ in range(100) for f in talker.push(BLOCK, 32)]
    coded = coder._index
    assert [f for _ in range(1_000) for f in talker.push(BLOCK, 0)] == []
    assert coder._index == coded  # the encoder stood still
    second = [f for _ in range(100) for f in talker.push(BLOCK, 32)]
    gap = second[0].index - first[-1].index - 1
    assert gap == pytest.approx(480_000 * 22_050 / rate_hz / 256, abs=1)
    indices = [f.index for f in first + second]
    assert indices == sorted(set(indices))


def test_pauses_are_told_and_their_indices_go_on_too() -> None:
    talker = Talker(FakeEncoder(22_050, 32, pauses=True), 22_050)
    silence, sound = np.zeros(2_560, np.float32), np.full(2_560, 0.1, np.float32)
    items = [item for block in (sound, silence, sound) for item in talker.push(block, 32)]
    assert [isinstance(item, Pause) for item in items] == [False] * 10 + [True] * 10 + [False] * 8
    assert talker.push(silence, 0) == []
    items += talker.push(silence, 32)
    assert [item.index for item in items] == [*range(28), *range(38, 48)]


def test_a_constant_rate_codes_silence_where_nothing_is_to_be_sent_and_never_other_bits() -> None:
    talker = Talker(FakeEncoder(22_050, 32), 22_050, constant_bits=16)
    loud = np.full(2_560, 0.1, np.float32)
    frames = [f for bits in (32, 0, 8) for f in talker.push(loud, bits)]
    assert [f.index for f in frames] == list(range(28))
    assert {f.bits for f in frames} == {16}
    assert [isinstance(f, Frame) and f.payload[0] > 0 for f in frames] == [True] * 10 + [False] * 10 + [True] * 8
