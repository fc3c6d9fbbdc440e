from __future__ import annotations

import numpy as np
import pytest
from voicelink_client.playout import MAX_SKIPS, Playout

from voicelink.core.events import ComfortNoise, Conceal, Heal, Play, PlayoutDecision, Skip, Stretch, Wait
from voicelink.frame import Frame


class Decoder:
    """Notes what it is asked for; a block holds how many sounding ones there were."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.state = 0

    @property
    def quiet(self) -> bool:
        return self.asked[-1:] == ["noise 7"]

    def _sound(self, what: str) -> np.ndarray:
        self.asked.append(what)
        self.state += 1
        return np.full(256, self.state, np.float32)

    def play(self, frame: Frame, lag: int = 0) -> np.ndarray:
        return self._sound(f"play {frame.index} {lag}")

    def conceal(self) -> np.ndarray:
        return self._sound("conceal")

    def stretch(self) -> np.ndarray:
        return self._sound("stretch")

    def comfort_noise(self, index: int, noise: bytes = b"") -> np.ndarray:
        return self._sound(f"noise {index}")

    def skip(self, frame: Frame) -> None:
        self.asked.append(f"skip {frame.index}")

    def heal(self, frame: Frame) -> None:
        self.asked.append(f"heal {frame.index}")


def frame(index: int) -> Frame:
    return Frame(index, 8, b"\x00")


def run(*decisions: PlayoutDecision) -> tuple[Decoder, list[tuple[PlayoutDecision, np.ndarray]], list[bool]]:
    queue, decoder, told = list(decisions), Decoder(), []

    def pull(*, quiet: bool = False) -> PlayoutDecision:
        told.append(quiet)
        return queue.pop(0)

    playout = Playout(decoder, pull)
    slots = []
    while queue:
        slots.append(playout.next_slot())
    return decoder, slots, told


def test_each_decision_that_fills_a_slot_makes_one_block() -> None:
    made = (Wait(), Play(frame(0)), Conceal(1, 1), Stretch(), ComfortNoise(7), Play(frame(8), 18))
    decoder, slots, told = run(*made)
    assert decoder.asked == ["play 0 0", "conceal", "stretch", "noise 7", "play 8 18"]
    assert [block[0] for _, block in slots] == [0, 1, 2, 3, 4, 5]
    assert [block.shape for _, block in slots] == [(128,), *[(256,)] * 5]  # silence is asked for by halves
    assert told == [False] * 5 + [True]


def test_skips_and_heals_take_no_slot() -> None:
    decoder, slots, _ = run(Play(frame(0)), Heal(frame(0)), Skip(frame(1)), Play(frame(2), 18))
    assert decoder.asked == ["play 0 0", "heal 0", "skip 1", "play 2 18"]
    assert [type(decision) for decision, _ in slots] == [Play, Play]


@pytest.mark.parametrize("skips", [MAX_SKIPS, MAX_SKIPS + 1, MAX_SKIPS + 2])
def test_skips_without_end_still_fill_the_slot(skips: int) -> None:
    decoder, slots, _ = run(*(Skip(frame(i)) for i in range(skips)), Play(frame(skips)))
    assert [int(what.split()[1]) for what in decoder.asked] == list(range(skips + 1))
    assert isinstance(slots[-1][0], Play)
    assert decoder.asked[MAX_SKIPS].startswith("play")
