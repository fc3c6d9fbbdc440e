from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
from voicelink_client.playout import MAX_SKIPS, Playout

from voicelink.core.events import Conceal, Play, PlayoutDecision, Skip, Stretch, Wait
from voicelink.frame import Frame


class State(NamedTuple):
    coder: tuple[str, ...] = ()
    vocoder: tuple[str, ...] = ()
    concealed: int = 0


class Decoder:
    """Notes what each part of the state has been through."""

    def __init__(self) -> None:
        self.state = State()

    def play_step(self, frame: Frame, state: State) -> tuple[np.ndarray, State]:
        return self._step(str(frame.index), state, 0)

    def conceal_step(self, state: State) -> tuple[np.ndarray, State]:
        return self._step("?", state, state.concealed + 1)

    def _step(self, name: str, state: State, concealed: int) -> tuple[np.ndarray, State]:
        block = np.full(256, len(state.vocoder) + 1, np.float32)
        return block, State((*state.coder, name), (*state.vocoder, name), concealed)


def frame(index: int) -> Frame:
    return Frame(index, 8, b"\x00")


def run(*decisions: PlayoutDecision) -> tuple[Decoder, list[tuple[PlayoutDecision, np.ndarray]]]:
    queue, decoder = list(decisions), Decoder()
    playout = Playout(decoder, lambda: queue.pop(0))
    slots = []
    while queue:
        slots.append(playout.next_slot())
    return decoder, slots


def test_frames_and_gaps_step_the_decoder() -> None:
    decoder, slots = run(Wait(), Play(frame(0)), Conceal(1, 1), Conceal(2, 2), Play(frame(3)))
    assert decoder.state.coder == decoder.state.vocoder == ("0", "?", "?", "3")
    assert [block[0] for _, block in slots] == [0, 1, 2, 3, 4]
    assert all(block.shape == (256,) for _, block in slots)


def test_a_skipped_frame_reaches_the_coder_only_and_takes_no_slot() -> None:
    decoder, slots = run(Play(frame(0)), Skip(frame(1)), Play(frame(2)))
    assert decoder.state.coder == ("0", "1", "2")
    assert decoder.state.vocoder == ("0", "2")
    assert [type(decision) for decision, _ in slots] == [Play, Play]


def test_a_stretched_slot_reaches_the_vocoder_only() -> None:
    decoder, slots = run(Play(frame(0)), Stretch(), Play(frame(1)))
    assert decoder.state.coder == ("0", "1")
    assert decoder.state.vocoder == ("0", "?", "1")
    assert len(slots) == 3


@pytest.mark.parametrize("skips", [MAX_SKIPS, MAX_SKIPS + 1, MAX_SKIPS + 2])
def test_skips_without_end_still_fill_the_slot(skips: int) -> None:
    decoder, slots = run(*(Skip(frame(i)) for i in range(skips)), Play(frame(skips)))
    assert decoder.state.coder == tuple(str(i) for i in range(skips + 1))
    assert isinstance(slots[-1][0], Play)
