from __future__ import annotations

from voicelink.core.timescale import FAST, ORDINARY, TimeScale
from voicelink.units import LAG_STEPS


def test_slowing_down_gains_a_frame_in_ten_slots() -> None:
    scale = TimeScale()
    scale.slow_down()
    lags = []
    while not scale.step():
        lags.append(scale.lag)
    assert lags == list(range(ORDINARY, LAG_STEPS, ORDINARY))
    assert (scale.lag, scale.busy) == (0, False)


def test_speeding_up_begins_a_frame_behind_and_ends_at_none() -> None:
    for fast, step in ((False, ORDINARY), (True, FAST)):
        scale = TimeScale()
        scale.speed_up(fast)
        lags = []
        while scale.busy:
            assert not scale.step()
            lags.append(scale.lag)
        assert lags == list(range(LAG_STEPS - step, -1, -step))


def test_slowing_down_can_be_taken_back() -> None:
    scale = TimeScale()
    scale.slow_down()
    for _ in range(3):
        scale.step()
    scale.turn()
    lags = []
    while scale.busy:
        scale.step()
        lags.append(scale.lag)
    assert lags == [4, 2, 0]
    scale.speed_up(False)
    scale.step()
    scale.turn()  # a frame that is being lost stays lost
    scale.step()
    assert scale.lag == LAG_STEPS - 2 * ORDINARY
