"""Playing faster or slower: how far what is heard lies behind the newest decoded frame, slot by slot.

The lag counts in twentieths of a frame. To gain a frame of delay it rises by 2 a slot (10 % slower) until it is a whole
frame, and then a slot goes by without a new one. To lose a frame, two are taken in one slot, which makes the lag almost
a whole frame, and it falls by 2 a slot (10 % faster) to nothing. Both ends of each way meet without a step, and the
vocoder never sees one either: what it gets are mel frames between two neighbours.
"""

from __future__ import annotations

from voicelink.units import LAG_STEPS

#: Twentieths of a frame a slot: 10 % of speed, and 25 % where far too much is held.
ORDINARY, FAST = 2, 5


class TimeScale:
    """The lag, and where it is going."""

    def __init__(self) -> None:
        self.lag = 0
        self._slope = 0
        self.busy = False
        """Whether a change is under way."""

    def slow_down(self) -> None:
        """Begin to gain a frame of delay."""
        self._slope, self.busy = ORDINARY, True

    def speed_up(self, fast: bool) -> None:
        """Begin to lose a frame of delay: the slot at hand takes two frames."""
        self.lag, self._slope, self.busy = LAG_STEPS, -FAST if fast else -ORDINARY, True

    def turn(self) -> None:
        """Go back on gaining a frame: the delay has grown by itself."""
        if self._slope > 0:
            self._slope = -self._slope

    def reset(self) -> None:
        """A gap: there is nothing to go on from."""
        self.lag, self._slope, self.busy = 0, 0, False

    def step(self) -> bool:
        """Go on to the next slot; True where that one takes no new frame (a frame of delay has been gained)."""
        self.lag += self._slope
        if 0 < self.lag < LAG_STEPS:
            return False
        gained = self.lag >= LAG_STEPS
        self.reset()
        return gained
